#include "services/gateway/imap/reply.h"

#include "absl/strings/str_cat.h"
#include "services/mail_formats/imap/response.h"

namespace posthouse::gateway {

// Response codes: RFC 9051 §7.1.
Reply ReplyFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return Ok("done");
    case absl::StatusCode::kNotFound:
      return No("NONEXISTENT", "No such mailbox");
    case absl::StatusCode::kAlreadyExists:
      return No("ALREADYEXISTS", "Mailbox already exists");
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return No("CANNOT", status.message());
    case absl::StatusCode::kPermissionDenied:
      return No("NOPERM", "Permission denied");
    case absl::StatusCode::kResourceExhausted:
      return No("OVERQUOTA", "Quota exceeded or no space left");
    case absl::StatusCode::kDataLoss:
      return No("CORRUPTION", "Stored data is damaged; contact the administrator");
    default:
      return No("UNAVAILABLE", "Service unavailable, try again later");
  }
}

Reply ReplyForChange(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    return No("UNAVAILABLE", "No space left on the server, try again later");
  }
  return ReplyFor(status);
}

Reply ReplyForTarget(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kNotFound) return No("TRYCREATE", "No such mailbox");
  return ReplyFor(status);
}

Reply ReplyForLogin(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return Bad("Malformed credentials");
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kNotFound:
      return No("AUTHENTICATIONFAILED", "Wrong user name or password");
    case absl::StatusCode::kPermissionDenied:
      return No("AUTHORIZATIONFAILED", "This account may not log in");
    case absl::StatusCode::kResourceExhausted:
      return No("LIMIT", "Too many logins or sessions, try again later");
    default:
      return No("UNAVAILABLE", "Login service unavailable, try again later");
  }
}

void AppendReply(std::string& out, absl::string_view tag, const Reply& reply) {
  if (reply.kind == Reply::Kind::kSent) return;
  absl::StrAppend(&out, tag,
                  reply.kind == Reply::Kind::kOk   ? " OK "
                  : reply.kind == Reply::Kind::kNo ? " NO "
                                                   : " BAD ");
  if (!reply.code.empty()) absl::StrAppend(&out, "[", reply.code, "] ");
  imap::AppendText(out, reply.text.empty() ? "done" : absl::string_view(reply.text));
  out += "\r\n";
}

}  // namespace posthouse::gateway
