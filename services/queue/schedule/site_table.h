// SiteTable: in which line the jobs of a domain wait.
//
// All domains with the same best mail hosts are one site, so that the limits of a host hold
// however many domains it serves. Routing names the site of a domain. Until it has, the
// domain's jobs are parked here, and one lookup for all of them is in progress or waits for
// its turn. Lookups have their own limit: a domain whose name servers do not answer holds
// no slot of a delivery.
//
// Pure logic with the time passed in, of a clock that never steps. Threads: guarded by its owner.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "services/queue/schedule/destination_scheduler.h"
#include "services/queue/spool/destination.h"

namespace posthouse::queue {

struct SiteTableOptions {
  size_t max_known = 50000;   // domains whose site is remembered
  size_t max_parked = 50000;  // jobs
  int max_lookups = 1000;     // in progress
  // After a lookup that failed the domain is its own site for so long.
  absl::Duration retry_lookup = absl::Minutes(1);
};

class SiteTable {
 public:
  explicit SiteTable(const SiteTableOptions& options) : options_(options) {}

  // The site of a remote `domain`; null: not known. Valid until the next call of Learn() or Answered().
  const Destination* Find(const Destination& domain, absl::Time now) const;
  // What an attempt showed: the hosts of `domain` are `site`.
  void Learn(const Destination& domain, const Destination& site) { Remember(domain, site, absl::InfiniteFuture()); }

  // Keeps a job whose domain has no known site until Answered(). False: there is no room.
  bool Park(Job job);
  // The next domain that routing is to be asked for. It counts as in progress until Answered().
  std::optional<Destination> NextLookup();
  // Takes routing's answer; nullopt: routing could not tell. Returns the jobs that were parked.
  std::vector<Job> Answered(const Destination& domain, const std::optional<Destination>& site, absl::Time now);

  size_t parked() const { return parked_count_; }

 private:
  struct Known {
    Destination site;
    absl::Time until;
  };
  void Remember(const Destination& domain, const Destination& site, absl::Time until);

  const SiteTableOptions options_;
  absl::flat_hash_map<Destination, Known> known_;
  absl::flat_hash_map<Destination, std::vector<Job>> parked_;
  std::deque<Destination> to_ask_;  // with parked jobs, in the order in which they came
  size_t parked_count_ = 0;
  int lookups_ = 0;
};

}  // namespace posthouse::queue
