// DestinationScheduler: which waiting work may start now. Fairness between destinations, limits
// on what one destination gets, and back-off of a destination that does not answer.
//
// A site is "local/<home>" (a mailbox shard), a domain or a group of domains with
// the same hosts, or kPrepareSite (items whose destinations are not known yet).
// Each has a line of waiting jobs and a limit of running ones; sites with work take
// turns, so a long line delays only itself. Local and remote have separate budgets,
// so that hanging connections to the Internet never hold up local mail; no mailbox
// shard gets all of the local one, and what waits for routing a quarter of it.
//
// The lines together are bounded. The more wait, the shorter a line may be, so that
// some long ones do not keep everybody else out.
//
// A remote site starts with few connections and earns more with each success. When
// it cannot be reached it is blocked for a time that doubles; then one probe goes,
// and only its success opens the site again.
//
// Pure logic with time and randomness passed in. Threads: guarded by its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/schedule/backoff.h"

namespace posthouse::queue {

inline constexpr char kPrepareSite[] = "prepare";

// One thing to do: an attempt for the recipients of one item at one destination.
struct Job {
  std::string queue_id;
  std::string destination;                // of its recipients; "" when they are to be resolved
  absl::Time due = absl::InfinitePast();  // of its due row, as far as known
};

struct SchedulerOptions {
  int max_remote = 500;  // running at one time, all remote sites together
  int max_local = 256;   // local and prepare
  int max_per_remote_site = 20;
  int first_per_remote_site = 4;
  size_t max_waiting_per_site = 5000;
  size_t max_waiting = 50000;  // twice that in short lines
  BackoffPolicy remote_block{.min = absl::Minutes(1), .max = absl::Minutes(15), .factor = 2, .jitter = 0.2};
  BackoffPolicy local_block{.min = absl::Seconds(1), .max = absl::Seconds(15), .factor = 2, .jitter = 0.2};
};

class DestinationScheduler {
 public:
  explicit DestinationScheduler(const SchedulerOptions& options);

  static bool IsLocal(absl::string_view site);

  enum class Offer { kWaiting, kBlocked, kFull };
  // kBlocked, kFull: the job is not taken; offer it again after a rescan.
  Offer Add(const std::string& site, Job job, absl::Time now);

  struct Started {
    Job job;
    std::string site;  // pass to Done()
  };
  // The next job that may start, or none; it counts as running until Done().
  std::optional<Started> Next(absl::Time now);

  // A job ended.
  void Done(const std::string& site);
  // What it has shown about `site` (where it ran, or a group of domains that it
  // turned out to belong to). kUnreachable blocks the site and returns its waiting
  // jobs, which are no longer here.
  std::vector<Job> Report(const std::string& site, Result result, absl::Time now, double random);

  // Blocked until then (in the past: not blocked). What Add() refused, see TakeRefusedWork().
  absl::Time BlockedUntil(const std::string& site) const;
  // Lets a blocked site start at once (an operator's wish).
  void Unblock(const std::string& site);

  // Whether work was refused or returned that may run at `now`: rescan. Clears it.
  bool TakeRefusedWork(absl::Time now);
  // When TakeRefusedWork() may become true by time alone; InfiniteFuture: never.
  absl::Time NextRefusedWork() const;
  bool has_refused_work() const { return refusing_ > 0; }

  size_t waiting() const { return waiting_; }
  int running() const { return running_remote_ + running_local_; }
  // DestinationScheduler that are blocked, for metrics.
  size_t blocked(absl::Time now) const;

 private:
  struct Site {
    std::deque<Job> waiting;
    int running = 0;
    int limit = 0;
    int failures = 0;  // in a row
    absl::Time blocked_until = absl::InfinitePast();
    bool refused_work = false;  // work was refused
    bool in_turn = false;
    bool local = false;
  };
  Site& Get(const std::string& name);
  int LimitOf(const std::string& name) const;  // of a local site, or to begin with
  size_t LineLimit() const;
  bool MayStart(const Site& site, absl::Time now) const;
  void Enqueue(const std::string& name, Site& site);
  void SetRefusedWork(Site& site, bool refused_work);
  void Forget(absl::Time now);

  const SchedulerOptions options_;
  absl::flat_hash_map<std::string, std::unique_ptr<Site>> sites_;
  std::deque<std::string> local_turns_, remote_turns_;
  size_t waiting_ = 0;
  size_t refusing_ = 0;  // sites that have `refused_work`
  size_t forget_at_;     // so many sites are worth a look
  int running_remote_ = 0, running_local_ = 0;
};

}  // namespace posthouse::queue
