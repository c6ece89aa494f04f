// SessionContext: what all SMTP sessions of an App share.
#pragma once

#include <memory>

namespace posthouse {
class LiveSessions;
}

namespace posthouse::ingress {

class Enqueuer;
class LostAddresses;
class Metrics;
class Refusals;
class RoutingAndDirectory;

// Sessions keep it alive with shared_ptr, because a session that waits for an RPC can outlive
// the App after a drain times out. Threads: values; each member says its own.
struct SessionContext {
  std::shared_ptr<RoutingAndDirectory> peers;
  std::shared_ptr<Enqueuer> enqueuer;
  std::shared_ptr<Metrics> metrics;
  std::shared_ptr<Refusals> refusals;
  std::shared_ptr<LiveSessions> live;  // null: no directory, so no logins
  std::shared_ptr<LostAddresses> lost_addresses;
};

}  // namespace posthouse::ingress
