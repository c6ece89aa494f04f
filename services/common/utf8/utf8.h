// Recognises well-formed UTF-8 (RFC 3629 §4: shortest form, no surrogates, nothing
// above U+10FFFF), for addresses, names, header fields and log lines. Inline, since
// decoders call it for each character. Threads: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse {

// The length, 1 to 4, of the sequence at the front of `text` (which is not empty), and
// its code point. 0: not well-formed. -1: well-formed so far, but `text` ends inside it.
inline int Utf8Sequence(absl::string_view text, uint32_t* code_point) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) {
    *code_point = lead;
    return 1;
  }
  int length = 0;
  uint8_t low = 0x80, high = 0xBF;  // of the second octet
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  uint32_t code = lead & (0xFF >> (length + 1));
  for (int i = 1; i < length; ++i) {
    if (static_cast<size_t>(i) >= text.size()) return -1;
    const auto octet = static_cast<uint8_t>(text[static_cast<size_t>(i)]);
    if (octet < low || octet > high) return 0;
    low = 0x80;
    high = 0xBF;
    code = (code << 6) | (octet & 0x3F);
  }
  *code_point = code;
  return length;
}

// As above without the code point; 0 also when `text` ends inside the sequence.
inline size_t Utf8Length(absl::string_view text) {
  uint32_t code = 0;
  const int length = Utf8Sequence(text, &code);
  return length > 0 ? static_cast<size_t>(length) : 0;
}

// The whole of `text` is valid UTF-8 (Utf8Length).
inline bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

// No byte is 0x80 or above.
inline bool IsAscii(absl::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

inline constexpr uint32_t kReplacementCharacter = 0xFFFD;

// Appends the sequence of `code_point`; U+FFFD for what is no code point (a
// surrogate, or above U+10FFFF).
void AppendUtf8(uint32_t code_point, std::string* out);

// `text` with "?" for each octet that is not part of well-formed UTF-8.
std::string ReplaceInvalidUtf8(absl::string_view text);

}  // namespace posthouse
