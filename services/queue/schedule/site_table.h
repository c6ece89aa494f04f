// SiteTable: in which line the jobs of a domain wait.
//
// All domains with the same best mail hosts are one site, so that the limits of a host hold
// however many domains it serves. Routing names the site of a domain. Until it has, the
// domain's jobs are parked here, and one lookup for all of them is in progress or waits for
// its turn. Lookups have their own limit: a domain whose name servers do not answer holds
// no slot of a delivery. Mail that was just accepted does not wait for the backlog (after a
// restart nothing is known, and all waiting mail needs lookups at once): its domains are
// asked for first, and the backlog gets only a part of the lookups.
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
  size_t max_known = 50000;       // domains whose site is remembered
  size_t max_parked = 50000;      // jobs
  int max_lookups = 1000;         // in progress
  int max_backlog_lookups = 300;  // of these for domains with jobs of the backlog only
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

  // Keeps a job whose domain has no known site until Answered(). `backlog`: its item waited on disk. False: there is
  // no room.
  bool Park(Job job, bool backlog);
  // The next domain that routing is to be asked for. It counts as in progress until Answered().
  std::optional<Destination> NextLookup();
  // Takes routing's answer; nullopt: routing did not answer. Returns the jobs that were parked.
  std::vector<Job> Answered(const Destination& domain, const std::optional<Destination>& site, absl::Time now);

  size_t parked() const { return parked_count_; }

 private:
  struct Known {
    Destination site;
    absl::Time until;
  };
  enum class Turn { kBacklog, kFirst, kAsked };
  struct Parked {
    std::vector<Job> jobs;
    Turn turn = Turn::kBacklog;
    bool counts_as_backlog = false;  // while kAsked
  };
  void Remember(const Destination& domain, const Destination& site, absl::Time until);

  const SiteTableOptions options_;
  absl::flat_hash_map<Destination, Known> known_;
  absl::flat_hash_map<Destination, Parked> parked_;
  // Domains with parked jobs, in the order in which they came. An entry of the backlog whose turn is no longer
  // kBacklog moved to the others.
  std::deque<Destination> first_, backlog_;
  size_t parked_count_ = 0;
  int lookups_ = 0;
  int backlog_lookups_ = 0;  // of lookups_
};

}  // namespace posthouse::queue
