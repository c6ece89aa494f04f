// LostAddresses: notices that the addresses of clients are lost.
//
// Where a load balancer or Kubernetes (externalTrafficPolicy: Cluster) puts an address of its own in front of the
// clients, all of the Internet comes from one private address. If relay_networks trusts that address, the system is an
// open relay. The sign is one private address that greets with many names: it relays by login only from then on.
//
// An address with kManyNames names of EHLO within kWindow counts as lost until a whole kForget has passed without that.
// Memory: kMaxAddresses addresses with at most kManyNames names each; over it the oldest that is not lost is forgotten.
// Global addresses are never lost, nor are loopback addresses: the programs of one machine may greet with any names.
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::ingress {

class LostAddresses {
 public:
  static constexpr size_t kManyNames = 16;
  static constexpr absl::Duration kWindow = absl::Hours(1);
  static constexpr absl::Duration kForget = absl::Hours(24);
  static constexpr size_t kMaxAddresses = 4096;

  explicit LostAddresses(metrics::Registry& registry);

  // The client at `address` has greeted with `name` and now names a recipient. Whether the addresses behind `address`
  // are lost. Logs client_addresses_lost when that begins.
  bool Saw(absl::string_view address, absl::string_view name, absl::Time now);
  // Sets the gauge; before each scrape.
  void Tick(absl::Time now);

 private:
  struct Client {
    absl::Time window_start;
    absl::flat_hash_set<uint64_t> names;  // hashes, without regard to case
    absl::Time lost_until = absl::InfinitePast();
  };
  void MakeRoom(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  metrics::Gauge& lost_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Client> clients_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::ingress
