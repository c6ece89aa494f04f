// Session: one SMTP connection. Moves bytes and calls other services. SmtpDialogue
// decides the replies, MessageUpload processes the bytes of a message, SessionLogin asks who
// the client is, SessionReport counts and logs.
//
// Drain: an idle session ends with 421 at once. A session in a message reads it to the
// end, replies, and then sends 421. What is not read by the end of the drain gets 421, too.
// Threads: on its connection's event loop.
#pragma once

#include <memory>

#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/tls.h"
#include "services/ingress/metrics.h"
#include "services/ingress/session_context.h"
#include "services/ingress/settings.h"

namespace posthouse::ingress {

// Serves `connection` to its end. `tls`: for STARTTLS; null: not offered.
Task<void> ServeSmtp(SessionContext context, Port port, std::shared_ptr<const Settings> settings,
                     std::shared_ptr<net::TlsServerContext> tls, std::unique_ptr<net::Connection> connection);

}  // namespace posthouse::ingress
