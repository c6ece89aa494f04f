// STARTTLS, AUTHENTICATE, LOGIN.
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "services/common/status/status.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"
#include "services/mail_formats/sasl/exchange.h"

namespace posthouse::gateway {
namespace {

// RFC 9051 §6.2.2: BAD when the client cancels or does not speak the mechanism.
Reply ReplyForSaslError(const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kCancelled:
      return Bad("Authentication cancelled");
    case absl::StatusCode::kInvalidArgument:
      return Bad("Malformed SASL response");
    case absl::StatusCode::kPermissionDenied:  // RFC 5530 §3
      return No("AUTHORIZATIONFAILED", "The authorization identity must be the user name");
    default:
      return ReplyForLogin(error);
  }
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
  const imap::AuthenticateArgs args = std::get<imap::AuthenticateArgs>(std::move(command.args));
  std::optional<sasl::Exchange> exchange = sasl::Exchange::Begin(args.mechanism);
  if (!exchange.has_value()) co_return No("CANNOT", "Unknown mechanism");
  sasl::Step step = exchange->Start(args.initial_response);
  while (std::holds_alternative<sasl::Challenge>(step)) {
    const std::string challenge = std::get<sasl::Challenge>(std::move(step)).bytes;
    PH_CO_ASSIGN_OR_RETURN(const std::string response, co_await session.Ask(challenge));
    step = exchange->OnLine(response);
  }
  if (const auto* error = std::get_if<absl::Status>(&step)) co_return ReplyForSaslError(*error);
  sasl::Credentials credentials = std::get<sasl::Credentials>(std::move(step));
  LoginAttempt attempt;
  attempt.username = std::move(credentials.username);
  attempt.password = std::move(credentials.password);
  co_return co_await session.LogIn(std::move(attempt));
}

HandlerResult CmdLogin(ImapSession& session, imap::Command command) {
  imap::LoginArgs args = std::get<imap::LoginArgs>(std::move(command.args));
  LoginAttempt attempt;
  attempt.username = std::move(args.username);
  attempt.password = std::move(args.password);
  co_return co_await session.LogIn(std::move(attempt));
}

}  // namespace posthouse::gateway
