// Multiline: a message as the body of a multi-line response (RFC 1939 §3): lines
// end in CRLF, a line that begins with "." gets another, "." on a line ends it.
// Streams: state is kept between chunks wherever they are cut. A bare LF becomes
// CRLF, so that no "." behind one can be taken for the end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::gateway::pop3 {

class Multiline {
 public:
  // `body_lines`: of TOP; only the header, the blank line and so many lines pass.
  explicit Multiline(std::optional<uint64_t> body_lines = std::nullopt) : body_lines_(body_lines) {}

  // Appends what `chunk` becomes. False: enough, TOP wants no more.
  bool Feed(absl::string_view chunk, std::string* out);
  // Ends the last line if it has no end, and appends the terminator.
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
