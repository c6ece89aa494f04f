// One POP3 session: moves bytes between the connection, the Machine and the
// services. Entry point: ServePop3().
//
//   pop3::Services services{mailbox, logins, metrics, locks};       // they outlive every session
//   listener = net::Listener::Start(loops, options, [&](std::unique_ptr<net::Connection> c) {
//     return pop3::ServePop3(std::move(c), config, services);
//   });
//
// A message that is marked by DELE is removed only after QUIT, and QUIT gets +OK only when the
// removal is durable. A session that ends in any other way deletes nothing (RFC 1939 §6). A body
// that cannot be read to its end is cut off by closing the connection, never by the terminator.
//
// Threads: a session runs on its connection's loop.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/gateway/pop3/drop_locks.h"

namespace posthouse::gateway {
class MailboxClient;
class Logins;
class Metrics;
}  // namespace posthouse::gateway

namespace posthouse::gateway::pop3 {

// What the configuration says of POP3. Sessions keep the Config with which they began.
struct Config {
  absl::Duration idle_timeout = absl::Minutes(10);  // RFC 1939 §3: at least 10 minutes
  absl::Duration login_timeout = absl::Minutes(3);  // until a client has logged in
  absl::Duration write_timeout = absl::Minutes(5);
  absl::Duration tls_timeout = absl::Seconds(30);
  bool allow_plaintext_auth = false;           // USER and AUTH without TLS
  std::shared_ptr<net::TlsServerContext> tls;  // null: no STLS
  // Messages retrieved are marked \Seen at QUIT.
  bool mark_seen = true;
  size_t max_login_failures = 5;  // then the connection is closed
  size_t max_bad_commands = 20;   // in a row
};

struct Services {
  MailboxClient& mailbox;
  Logins& logins;
  Metrics& metrics;
  DropLocks& locks;  // one per process
};

// Serves until QUIT, an error or a time-out. `services` outlives it.
Task<void> ServePop3(std::unique_ptr<net::Connection> connection, std::shared_ptr<const Config> config,
                     Services& services);

}  // namespace posthouse::gateway::pop3
