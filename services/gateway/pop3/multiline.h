// Multiline: writes a message as the body of a multi-line response (RFC 1939 §3). Lines end in
// CRLF, a line that begins with "." gets another, and a line with only "." ends the response.
// Chunks may be cut anywhere. A bare LF becomes CRLF, so that a "." after it cannot end the response.
// Threads: one at a time; no I/O. Memory: one chunk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::gateway::pop3 {

class Multiline {
 public:
  // `body_lines` is the argument of TOP: the header, the blank line and that many lines pass.
  explicit Multiline(std::optional<uint64_t> body_lines = std::nullopt) : body_lines_(body_lines) {}

  // Appends `chunk`, converted. False: TOP needs no more.
  bool Feed(absl::string_view chunk, std::string* out);
  // Appends CRLF if the last line has none, then the terminator.
  void Finish(std::string* out);

 private:
  bool EndLine();  // true: that was the last line wanted
  const std::optional<uint64_t> body_lines_;
  uint64_t lines_ = 0;  // body lines passed
  bool in_header_ = true;
  bool line_start_ = true;  // nothing of the line has passed
  bool last_cr_ = false;    // the last byte was CR
  bool blank_ = true;       // the line holds nothing but perhaps CR
  bool enough_ = false;
};

}  // namespace posthouse::gateway::pop3
