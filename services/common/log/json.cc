#include "services/common/log/json.h"

#include "absl/strings/str_format.h"

namespace posthouse::log {
namespace {

// Length of the well-formed UTF-8 sequence at the start of `s` (Unicode 15 table
// 3-7: no overlong forms, no surrogates); 0 when there is none.
size_t Utf8Length(absl::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
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
  }
  if (length == 0 || s.size() < length) return 0;
  if (byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
  }
  return length;
}

}  // namespace

void AppendJsonString(absl::string_view value, size_t max_bytes, std::string* out) {
  const size_t limit = max_bytes > out->max_size() - out->size() ? out->max_size() : out->size() + max_bytes;
  out->push_back('"');
  while (!value.empty()) {
    if (out->size() >= limit) {
      out->append("...");
      break;
    }
    const size_t length = Utf8Length(value);
    const char c = value[0];
    if (length == 0) {
      out->append("\xEF\xBF\xBD");  // U+FFFD for each byte that is no text
    } else if (length > 1) {
      out->append(value.data(), length);
    } else if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\r') {
      out->append("\\r");
    } else if (c == '\t') {
      out->append("\\t");
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      absl::StrAppendFormat(out, "\\u%04x", c);
    } else {
      out->push_back(c);
    }
    value.remove_prefix(length == 0 ? 1 : length);
  }
  out->push_back('"');
}

}  // namespace posthouse::log
