// Character classes of header fields and encodings. No table, no locale.
// Threads: stateless.
#pragma once

namespace posthouse::message {

constexpr bool IsBlank(char c) { return c == ' ' || c == '\t'; }  // WSP (RFC 5234 B.1)
constexpr bool IsSpace(char c) { return IsBlank(c) || c == '\r' || c == '\n'; }
// The value of a hex digit of either case; -1: none.
constexpr int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace posthouse::message
