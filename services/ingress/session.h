// Session: one SMTP connection. Moves bytes and asks other services; what is said
// is decided in transaction.h, what becomes of the message bytes in intake.h.
//
// Drain: an interrupted read ends an idle session with 421; in a message it is
// noted, the message is finished and answered, and then comes the 421.
// Threads: on its connection's event loop.
#pragma once

#include <memory>
#include <string>

#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/ingress/backend.h"
#include "services/ingress/enqueue.h"
#include "services/ingress/metrics.h"
#include "services/ingress/settings.h"

namespace posthouse::ingress {

// What sessions share. Each holds on to it: one that waits for another service when a
// drain gives up is there longer than the app.
struct SessionContext {
  std::shared_ptr<Backend> backend;
  std::shared_ptr<Enqueuer> enqueuer;
  std::shared_ptr<Metrics> metrics;
};

// Serves `connection` to its end. `tls`: for STARTTLS; null: not offered.
Task<void> ServeSmtp(SessionContext context, Port port, std::shared_ptr<const Settings> settings,
                     std::shared_ptr<net::TlsServerContext> tls, std::unique_ptr<net::Connection> connection);

}  // namespace posthouse::ingress
