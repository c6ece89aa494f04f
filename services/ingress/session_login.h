// SessionLogin: the login of one SMTP session. It asks the directory about a password, slows
// guessing down, and registers the session with LiveSessions, which may revoke it.
//
// Threads: that of the session.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/common/live_sessions/live_sessions.h"
#include "services/common/net/connection.h"
#include "services/common/rpc/trace.h"
#include "services/ingress/envelope.h"
#include "services/ingress/metrics.h"
#include "services/ingress/session_context.h"
#include "services/mail_formats/sasl/exchange.h"

namespace posthouse::ingress {

class SessionLogin {
 public:
  // Both outlive this.
  SessionLogin(const SessionContext& context, Port port, net::Connection& connection)
      : context_(context), port_(port), connection_(connection) {}

  // Whether the credentials are those of an account. The answer to a wrong password is late:
  // 1, 2, 4, then 8 seconds for each of the connection. The caller keeps the arguments.
  Task<absl::StatusOr<Login>> Check(const sasl::Credentials& credentials, const rpc::TraceContext& trace);

  // Whether an alias or a domain changed since the addresses of the account were asked for.
  bool senders_stale() const { return live_ != nullptr && live_->senders_stale(); }
  // With senders_stale(): the addresses as they are now, normalised. nullopt: the directory does
  // not answer, so those of its last answer count, as after any other change.
  Task<std::optional<std::vector<std::string>>> AskSenders(const Login& login);

  // The login is no longer valid: the session ends.
  bool revoked() const { return live_ != nullptr && live_->revoked().has_value(); }
  // With revoked(): why, for the client.
  std::string RevokeText() const { return live_->RevokeText(); }

 private:
  void Register(const Login& login);

  const SessionContext& context_;
  const Port port_;
  net::Connection& connection_;
  int refused_ = 0;                              // logins of this connection
  std::unique_ptr<LiveSessions::Session> live_;  // after AUTH; uses connection_
};

}  // namespace posthouse::ingress
