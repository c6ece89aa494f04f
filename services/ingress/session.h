// Session: one SMTP connection. Moves bytes and calls other services. SmtpDialogue
// decides the replies, MessageUpload processes the bytes of a message.
//
// Drain: an idle session ends with 421 at once. A session in a message reads it to the
// end, replies, and then sends 421. What is not read by the end of the drain gets 421, too.
// Threads: on its connection's event loop.
#pragma once

#include <memory>
#include <string>

#include "services/common/async/task.h"
#include "services/common/live_sessions/live_sessions.h"
#include "services/common/net/connection.h"
#include "services/ingress/enqueue.h"
#include "services/ingress/lost_addresses.h"
#include "services/ingress/metrics.h"
#include "services/ingress/refusals.h"
#include "services/ingress/routing_and_directory.h"
#include "services/ingress/settings.h"

namespace posthouse::ingress {

// State that all sessions share. Sessions keep it alive with shared_ptr, because a
// session that waits for an RPC can outlive the App after a drain times out.
struct SessionContext {
  std::shared_ptr<RoutingAndDirectory> peers;
  std::shared_ptr<Enqueuer> enqueuer;
  std::shared_ptr<Metrics> metrics;
  std::shared_ptr<Refusals> refusals;
  std::shared_ptr<LiveSessions> live;  // null: no directory, so no logins
  std::shared_ptr<LostAddresses> lost_addresses;
};

// Serves `connection` to its end. `tls`: for STARTTLS; null: not offered.
Task<void> ServeSmtp(SessionContext context, Port port, std::shared_ptr<const Settings> settings,
                     std::shared_ptr<net::TlsServerContext> tls, std::unique_ptr<net::Connection> connection);

}  // namespace posthouse::ingress
