// Replies of SMTP: building and writing ours, parsing a peer's (RFC 5321 §4.2).
//
// Threads: stateless; a ReplyParser belongs to one session.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace posthouse::smtp {

struct Reply {
  int code = 0;                    // 250; 0: none yet
  std::string enhanced;            // "2.1.5" (RFC 3463); "" when there was none
  std::vector<std::string> lines;  // without codes

  Reply() = default;
  Reply(int code_in, absl::string_view enhanced_in, absl::string_view text)
      : code(code_in), enhanced(enhanced_in), lines{std::string(text)} {}

  // By the first digit (RFC 5321 §4.2.1).
  bool positive() const { return code >= 200 && code < 300; }
  bool temporary() const { return code >= 400 && code < 500; }
  bool permanent() const { return code >= 500 && code < 600; }
  std::string Text() const;      // lines joined by LF, without codes
  std::string ToString() const;  // one line for logs and DSNs: "550 5.1.1 no such mailbox"
  friend bool operator==(const Reply&, const Reply&) = default;
};

// Appends a reply in wire form: "250-2.1.5 a\r\n250 2.1.5 b\r\n". Every line has the
// enhanced code (RFC 2034 §4); LF in `text` starts a new line.
void AppendReply(std::string* out, int code, absl::string_view enhanced, absl::string_view text);
std::string Format(const Reply& reply);

// Bounds of one reply of another host.
struct ReplyLimits {
  // Kept of a reply; the parser drops what is longer (RFC 5321 §4.5.3.1.5 says 512 bytes a
  // line, and real hosts write more).
  size_t max_line = 2048;
  size_t max_lines = 100;
  // Of a whole reply, with what was dropped: no host needs more, so it is out of step.
  size_t max_bytes = 1024 * 1024;
};

// Reads replies from a byte stream, in bounded memory.
//
// The code decides, and the text never makes a failure of it (RFC 5321 §4.2: the text is
// for people). So a long reply is cut, not refused. Common errors are accepted: bare LF
// line ends, a code without text, lines without a code inside a reply (they are skipped),
// codes that differ between the lines (the last one counts, RFC 5321 §4.2.1 note). A first
// line without a code is kInvalidArgument, a reply over max_bytes kResourceExhausted: then
// the caller closes the connection.
class ReplyParser {
 public:
  explicit ReplyParser(ReplyLimits limits = {}) : limits_(limits) {}
  // Consumes bytes from the front of `input` up to the end of one reply and returns
  // it; nullopt: the reply needs more bytes.
  absl::StatusOr<std::optional<Reply>> Feed(absl::string_view* input);
  // The reply whose end has not come, if a code with its separator has: what the host
  // decided is known although its text is not. Once, after the stream has failed.
  std::optional<Reply> TakeUnfinished();

 private:
  absl::StatusOr<bool> TakeLine(absl::string_view line);

  const ReplyLimits limits_;
  std::string line_;  // at most max_line bytes of a line whose end has not come yet
  Reply reply_;
  size_t bytes_ = 0;  // of the reply so far
};

// Takes the enhanced code (RFC 2034 §4) from the front of a reply's text: "2.1.5 ok"
// returns "2.1.5" and leaves "ok". "" when the text begins with no code.
std::string TakeEnhancedCode(absl::string_view* text, int code);

}  // namespace posthouse::smtp
