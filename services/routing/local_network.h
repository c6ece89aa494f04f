// LocalNetwork: which addresses lead to this system, and whether this machine has a route to
// the IPv6 Internet. Sends nothing. Threads: any.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "services/common/net/connection.h"

namespace posthouse::routing {

class LocalNetwork {
 public:
  virtual ~LocalNetwork() = default;
  // A mail host with this address is this system.
  virtual bool IsOwnAddress(absl::string_view address) = 0;
  // An SMTP listener of this system takes connections there.
  virtual bool IsListener(const net::Endpoint& endpoint) = 0;
  virtual bool HasIpv6Route() = 0;
};

// Asks the kernel, at most once a minute.
class SystemNetwork final : public LocalNetwork {
 public:
  // `own`: the addresses of IsOwnAddress(); empty: those of the interfaces but loopback.
  // `listeners`: where this system listens for SMTP; "0.0.0.0" and "::" are all addresses.
  SystemNetwork(std::vector<std::string> own, std::vector<net::Endpoint> listeners);

  bool IsOwnAddress(absl::string_view address) override;
  bool IsListener(const net::Endpoint& endpoint) override;
  bool HasIpv6Route() override;

 private:
  using Clock = std::chrono::steady_clock;
  void Refresh() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::flat_hash_set<std::string> own_;  // IpBytes(); constant
  const std::vector<net::Endpoint> listeners_;
  absl::Mutex mutex_;
  bool asked_ ABSL_GUARDED_BY(mutex_) = false;
  Clock::time_point asked_at_ ABSL_GUARDED_BY(mutex_);
  bool ipv6_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<std::string> interfaces_ ABSL_GUARDED_BY(mutex_);  // IpBytes(), with loopback
};

// Whether the kernel would send to the IPv6 Internet from a global address. connect() of a
// UDP socket looks up the route and sends no packet.
bool ProbeIpv6Route();
// IpBytes() of all addresses of the interfaces.
absl::flat_hash_set<std::string> InterfaceAddresses();

}  // namespace posthouse::routing
