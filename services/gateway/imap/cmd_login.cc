// STARTTLS, AUTHENTICATE PLAIN and LOGIN, LOGIN.
#include <utility>

#include "services/common/status/status.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"

namespace posthouse::gateway {
namespace {

// RFC 4616. Without an initial response the server asks with an empty challenge.
HandlerResult Plain(ImapSession& session, std::optional<std::string> initial) {
  std::string response;
  if (initial.has_value()) {
    response = *std::move(initial);
  } else {
    PH_CO_ASSIGN_OR_RETURN(response, co_await session.Ask(""));
  }
  if (response == "*") co_return Bad("Authentication cancelled");
  absl::StatusOr<Credentials> credentials = DecodePlain(response);
  if (!credentials.ok()) co_return Bad(credentials.status().message());
  LoginAttempt attempt;
  attempt.username = std::move(credentials->username);
  attempt.password = std::move(credentials->password);
  co_return co_await session.LogIn(std::move(attempt));
}

// The LOGIN mechanism: two questions, in base64 "Username:" and "Password:".
HandlerResult LoginMechanism(ImapSession& session, std::optional<std::string> initial) {
  LoginAttempt attempt;
  std::string* const answers[] = {&attempt.username, &attempt.password};
  static constexpr absl::string_view kQuestions[] = {"VXNlcm5hbWU6", "UGFzc3dvcmQ6"};
  for (int i = 0; i < 2; ++i) {
    std::string response;
    if (i == 0 && initial.has_value()) {
      response = *std::move(initial);
    } else {
      PH_CO_ASSIGN_OR_RETURN(response, co_await session.Ask(kQuestions[i]));
    }
    if (response == "*") co_return Bad("Authentication cancelled");
    absl::StatusOr<std::string> answer = DecodeBase64(response);
    if (!answer.ok()) co_return Bad(answer.status().message());
    *answers[i] = *std::move(answer);
  }
  co_return co_await session.LogIn(std::move(attempt));
}

}  // namespace

HandlerResult CmdStartTls(ImapSession& session, imap::Command command) {
  if (session.connection().tls()) co_return Bad("TLS is active already");
  if (session.shared().tls == nullptr) co_return Bad("TLS is not configured");
  AppendReply(session.out(), command.tag, Ok("Begin TLS"));
  PH_CO_RETURN_IF_ERROR(co_await session.Flush());
  PH_CO_RETURN_IF_ERROR(co_await session.connection().StartTlsServer(session.shared().tls, session.read_timeout()));
  session.AfterStartTls();
  co_return Sent();
}

HandlerResult CmdAuthenticate(ImapSession& session, imap::Command command) {
  imap::AuthenticateArgs args = std::get<imap::AuthenticateArgs>(std::move(command.args));
  if (args.mechanism == "PLAIN") co_return co_await Plain(session, std::move(args.initial_response));
  if (args.mechanism == "LOGIN") co_return co_await LoginMechanism(session, std::move(args.initial_response));
  co_return No("CANNOT", "Unknown mechanism");
}

HandlerResult CmdLogin(ImapSession& session, imap::Command command) {
  imap::LoginArgs args = std::get<imap::LoginArgs>(std::move(command.args));
  LoginAttempt attempt;
  attempt.username = std::move(args.username);
  attempt.password = std::move(args.password);
  co_return co_await session.LogIn(std::move(attempt));
}

}  // namespace posthouse::gateway
