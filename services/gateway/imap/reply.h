// Reply: the tagged reply of a command, and the replies for errors of other services.
// Threads: values.
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

// Tagged OK, NO and BAD; `code` is the response code without brackets (RFC 9051 §7.1).
inline Reply Ok(absl::string_view text) { return Reply(Reply::Kind::kOk, "", std::string(text)); }
inline Reply OkWith(std::string code, absl::string_view text) {
  return Reply(Reply::Kind::kOk, std::move(code), std::string(text));
}
inline Reply No(std::string code, absl::string_view text) {
  return Reply(Reply::Kind::kNo, std::move(code), std::string(text));
}
inline Reply Bad(absl::string_view text) { return Reply(Reply::Kind::kBad, "", std::string(text)); }
// The handler has written the tagged reply itself.
inline Reply Sent() { return Reply(Reply::Kind::kSent, "", ""); }

// NO for a failed call to the mailbox service. A failure that is not known to be permanent is
// temporary: on UNAVAILABLE a client keeps its change and tries again.
Reply ReplyFor(const absl::Status& status);
// The same for a change that adds no message (STORE, EXPUNGE, DELETE): only a full store refuses it,
// never a quota, so the client may try again.
Reply ReplyForChange(const absl::Status& status);
// The same for the target of APPEND, COPY and MOVE: NO [TRYCREATE] when it does not exist (RFC
// 9051 §6.3.12).
Reply ReplyForTarget(const absl::Status& status);
// NO for a failed login.
Reply ReplyForLogin(const absl::Status& status);

// "tag OK [CODE] text CRLF"
void AppendReply(std::string& out, absl::string_view tag, const Reply& reply);

}  // namespace posthouse::gateway
