// The hosts to try for one message, in order, and which of them did not answer lately.
// Pure logic with the time passed in. Threads: UnreachableHosts any.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/net/connection.h"

namespace posthouse::queue {

// One address of a host, and how to speak to it.
struct HostAddress {
  std::string host;
  net::Endpoint endpoint;
  routing::v1::TlsPolicy tls;
  // Under which connections are kept: a connection serves this host's name and policy only.
  std::string PoolKey() const;
};

// The addresses of `answer` in its order, at most `max`. The first two of each host come
// before the others, so that a host with many addresses leaves room for the next host.
std::vector<HostAddress> AddressesToTry(const routing::v1::ResolveDestinationResponse& answer, size_t max);

// RFC 5321 §4.5.4.1: keep a list of hosts that cannot be reached. Bounded.
class UnreachableHosts {
 public:
  // An address is on the list for `keep` after its last failure.
  explicit UnreachableHosts(absl::Duration keep) : keep_(keep) {}
  void Add(const HostAddress& host, absl::Time now);
  void Remove(const HostAddress& host);
  // Moves the addresses on the list behind the others; the order is kept otherwise.
  void MoveLast(absl::Time now, std::vector<HostAddress>* hosts) const;

 private:
  const absl::Duration keep_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, absl::Time> until_ ABSL_GUARDED_BY(mutex_);  // by endpoint
};

}  // namespace posthouse::queue
