#include "services/mail_formats/smtp/xtext.h"

namespace posthouse::smtp {
namespace {

// xchar = any ASCII CHAR between "!" (33) and "~" (126), except "+" and "="
bool IsXchar(unsigned char c) { return c >= 33 && c <= 126 && c != '+' && c != '='; }

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  // Departs from RFC 3461 §4: lower case is read too, since it cannot mean anything else.
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string EncodeXtext(absl::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (IsXchar(u)) {
      out.push_back(c);
    } else {
      out.push_back('+');
      out.push_back(kHex[u >> 4]);
      out.push_back(kHex[u & 15]);
    }
  }
  return out;
}

std::optional<std::string> DecodeXtext(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (IsXchar(static_cast<unsigned char>(text[i]))) {
      out.push_back(text[i]);
      continue;
    }
    // hexchar = "+" 2(%x30-39 / %x41-46)
    if (text[i] != '+' || i + 2 >= text.size()) return std::nullopt;
    const int high = HexValue(text[i + 1]);
    const int low = HexValue(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return out;
}

}  // namespace posthouse::smtp
