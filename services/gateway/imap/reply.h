// Reply: the tagged end of a command, and how errors of other services become one.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace posthouse::gateway {

struct Reply {
  enum class Kind { kOk, kNo, kBad, kSent };
  Reply(Kind k, std::string c, std::string t) : kind(k), code(std::move(c)), text(std::move(t)) {}
  Kind kind;
  std::string code;  // "APPENDUID 1 2"; "" none
  std::string text;
};

inline Reply Ok(absl::string_view text) { return Reply(Reply::Kind::kOk, "", std::string(text)); }
inline Reply OkWith(std::string code, absl::string_view text) {
  return Reply(Reply::Kind::kOk, std::move(code), std::string(text));
}
inline Reply No(std::string code, absl::string_view text) {
  return Reply(Reply::Kind::kNo, std::move(code), std::string(text));
}
inline Reply Bad(absl::string_view text) { return Reply(Reply::Kind::kBad, "", std::string(text)); }
// The command has answered for itself.
inline Reply Sent() { return Reply(Reply::Kind::kSent, "", ""); }

// NO for a failed call to the mailbox service. What is not known to be permanent is
// temporary: a client that reads UNAVAILABLE keeps its change and tries again.
Reply ReplyFor(const absl::Status& status);
// As ReplyFor, for a mailbox that APPEND, COPY or MOVE needs: NO [TRYCREATE] when it
// does not exist (RFC 9051 §6.3.12).
Reply ReplyForTarget(const absl::Status& status);
// NO for a failed login.
Reply ReplyForLogin(const absl::Status& status);

// "tag OK [CODE] text CRLF"
void AppendReply(std::string& out, absl::string_view tag, const Reply& reply);

}  // namespace posthouse::gateway
