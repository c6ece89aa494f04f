#include "services/common/log/json.h"

#include "absl/strings/str_format.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::log {
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
      out->append("\xEF\xBF\xBD");  // U+FFFD for each byte outside well-formed UTF-8
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
