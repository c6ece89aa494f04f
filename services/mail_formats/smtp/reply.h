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
  bool intermediate() const { return code >= 300 && code < 400; }
  bool temporary() const { return code >= 400 && code < 500; }
  bool permanent() const { return code >= 500 && code < 600; }
  std::string Text() const;      // lines joined by LF, without codes
  std::string ToString() const;  // one line for logs and DSNs: "550 5.1.1 no such mailbox"
  friend bool operator==(const Reply&, const Reply&) = default;
};

// Appends a reply as it goes on the wire: "250-2.1.5 a\r\n250 2.1.5 b\r\n". The
// enhanced code stands in every line (RFC 2034 §4); LF in `text` starts a new line.
void AppendReply(std::string* out, int code, absl::string_view enhanced, absl::string_view text);
std::string Format(const Reply& reply);

struct ReplyLimits {
  size_t max_line = 2048;  // RFC 5321 §4.5.3.1.5 says 512; real hosts write more
  size_t max_lines = 100;
  size_t max_bytes = 16384;  // of text kept
};

// Takes replies out of a byte stream, in bounded memory.
//
// What is wrong but clear is read: bare LF line ends, a code without text, codes
// that change between the lines (the last counts, RFC 5321 §4.2.1 note). What is
// not a reply is kInvalidArgument, over a limit kResourceExhausted: hang up then.
class ReplyParser {
 public:
  explicit ReplyParser(ReplyLimits limits = {}) : limits_(limits) {}
  // Uses bytes from the front of `input`. A reply when one is complete, and the
  // rest of `input` is left for the next call; nullopt: more is needed.
  absl::StatusOr<std::optional<Reply>> Feed(absl::string_view* input);
  // Whether a reply has begun and is not complete.
  bool Midway() const { return !line_.empty() || !reply_.lines.empty(); }

 private:
  absl::StatusOr<bool> TakeLine(absl::string_view line);

  const ReplyLimits limits_;
  std::string line_;  // a line whose end has not come yet
  Reply reply_;
  size_t bytes_ = 0;
};

// The enhanced code at the front of a reply's text ("2.1.5 ok" gives "2.1.5" and
// leaves "ok"); "" and nothing taken when there is none (RFC 2034 §4).
std::string TakeEnhancedCode(absl::string_view* text, int code);

}  // namespace posthouse::smtp
