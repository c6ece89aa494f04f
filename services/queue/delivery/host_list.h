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
  int nth = 0;  // address of its host, from 0
  // Under which connections are kept: a connection serves this host's name and policy only.
  std::string PoolKey() const;
};

// All addresses of `answer` in its order, but the first two of each host before the others,
// so that a host with many addresses leaves room for the next host.
std::vector<HostAddress> AddressesOf(const routing::v1::ResolveDestinationResponse& answer);

// RFC 5321 §4.5.4.1: keep a list of hosts that cannot be reached. Bounded.
class UnreachableHosts {
 public:
  // An address comes last for `keep` after its last failure.
  explicit UnreachableHosts(absl::Duration keep) : keep_(keep) {}
  void Add(const HostAddress& host, absl::Time now);
  void Remove(const HostAddress& host);

  // The addresses of one attempt: at most `max` of `all`, in their order, those that failed
  // lately last. When there are more, half of the places go to the preferred ones (an
  // address of each host first), the other half to those whose last failure is longest ago.
  // So each address has its turn, also a backup host behind many dead addresses.
  std::vector<HostAddress> Choose(std::vector<HostAddress> all, size_t max, absl::Time now) const;

 private:
  const absl::Duration keep_;
  mutable absl::Mutex mutex_;
  // Time of the last failure by endpoint; removed when the address answers.
  absl::flat_hash_map<std::string, absl::Time> failed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::queue
