#include "services/gateway/pop3/multiline.h"

#include <cstring>

namespace posthouse::gateway::pop3 {

bool Multiline::Feed(absl::string_view chunk, std::string* out) {
  while (!chunk.empty() && !enough_) {
    if (line_start_) {
      if (chunk[0] == '.') out->push_back('.');
      line_start_ = false;
      blank_ = true;
    }
    const void* lf = std::memchr(chunk.data(), '\n', chunk.size());
    const size_t length =
        lf == nullptr ? chunk.size() : static_cast<size_t>(static_cast<const char*>(lf) - chunk.data());
    const absl::string_view text = chunk.substr(0, length);
    if (!text.empty()) {
      out->append(text.data(), text.size());
      last_cr_ = text.back() == '\r';
      if (text != "\r") blank_ = false;
    }
    chunk.remove_prefix(length);
    if (lf == nullptr) break;
    chunk.remove_prefix(1);
    if (!last_cr_) out->push_back('\r');
    out->push_back('\n');
    enough_ = EndLine();
  }
  return !enough_;
}

bool Multiline::EndLine() {
  line_start_ = true;
  last_cr_ = false;
  if (!body_lines_) return false;
  if (in_header_) {
    in_header_ = !blank_;
    return !in_header_ && *body_lines_ == 0;
  }
  return ++lines_ >= *body_lines_;
}

void Multiline::Finish(std::string* out) {
  if (!line_start_) *out += last_cr_ ? "\n" : "\r\n";
  *out += ".\r\n";
  line_start_ = true;
}

}  // namespace posthouse::gateway::pop3
