// DestinationScheduler: which waiting jobs may start now. It is fair between
// destinations, limits what one destination gets, and backs off a destination that does
// not answer.
//
// A site is a Destination with a line of waiting jobs and a limit of running ones: a
// mailbox process, a domain or a group of domains with the same hosts, or the unresolved
// destination (items that must be looked at first). Sites with waiting jobs take turns,
// so a long line delays only itself. Local and remote sites have separate budgets, so
// that hanging connections to the Internet never delay local mail. One mailbox process
// gets at most three quarters of the local budget, the unresolved site a quarter.
//
// All lines together are bounded. The more jobs wait, the shorter each line may be, so
// that a few long lines do not keep all other destinations out.
//
// A remote site starts with one connection. Its first success gives it a few, each further
// success one more. A site that cannot be reached is blocked, each time for twice as long.
// Then one job starts as a probe, and only the probe's success opens the site again.
//
// A host that does not answer holds its slot until a timeout. So that many such hosts leave
// room for those that answer, a remote site has a standing, and each standing its share of
// the remote budget; the standings take turns:
//
//   kProven    accepted mail lately                       the whole budget
//   kFresh     nothing is known                           half of it, with kDoubtful
//   kDoubtful  failed last, or its next job has failed    a quarter
//              before and nothing better is known
//
// Pure logic with time and randomness passed in. The times are of a clock that never steps.
// Threads: guarded by its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/schedule/backoff.h"
#include "services/queue/spool/destination.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {

// One thing to do: an attempt for the recipients of one item at one destination, or,
// with the unresolved destination, a look at the item.
struct Job {
  QueueId queue_id;
  Destination destination;
  absl::Time due = absl::InfinitePast();  // of its due row, when the item was found there
  bool tried = false;                     // an earlier attempt failed
};

struct SchedulerOptions {
  int max_remote = 500;  // running at one time, all remote sites together
  int max_local = 256;   // local sites and the unresolved one
  int max_per_remote_site = 20;
  int first_per_remote_site = 4;                  // after its first success; before: 1
  absl::Duration proven_for = absl::Minutes(30);  // after its last success
  size_t max_waiting_per_site = 5000;
  size_t max_waiting = 50000;  // twice that in short lines
  BackoffPolicy remote_block{.min = absl::Minutes(1), .max = absl::Minutes(15), .factor = 2, .jitter = 0.2};
  BackoffPolicy local_block{.min = absl::Seconds(1), .max = absl::Seconds(15), .factor = 2, .jitter = 0.2};
};

class DestinationScheduler {
 public:
  explicit DestinationScheduler(const SchedulerOptions& options);

  enum class Offer { kWaiting, kBlocked, kFull };
  // kBlocked, kFull: the job is refused; offer it again when TakeRefusedWork() says so.
  Offer Add(const Destination& site, Job job, absl::Time now);

  struct Started {
    Job job;
    Destination site;  // pass to Done()
  };
  // The next job that may start, or none; it counts as running until Done().
  std::optional<Started> Next(absl::Time now);

  // A job ended.
  void Done(const Destination& site, absl::Time now);
  // What the job showed about `site` (where it ran, or the group of domains that its
  // domain turned out to belong to). kUnreachable blocks the site and returns its
  // waiting jobs, which are no longer in the line.
  std::vector<Job> Report(const Destination& site, Reachability result, absl::Time now, double random);

  // In the past: not blocked.
  absl::Time BlockedUntil(const Destination& site) const;
  // Keeps why `site` was found unreachable, for operators and reports to senders.
  void NoteFailure(const Destination& site, v1::Attempt failure);
  // Lets a blocked site start at once (an operator asks for it).
  void Unblock(const Destination& site);

  // Whether jobs were refused, or returned by Report(), that may wait in line at `now`:
  // read the due index again to find them. Forgets them.
  bool TakeRefusedWork(absl::Time now);
  // When TakeRefusedWork() may become true by time alone; InfiniteFuture: never.
  absl::Time NextRefusedWork() const;
  bool has_refused_work() const { return refusing_ > 0; }

  size_t waiting() const { return waiting_; }
  int running() const { return running_remote() + running_local_; }

  enum Standing { kProven, kFresh, kDoubtful, kStandings };
  // Remote sites that have jobs or a history, by standing; and blocked sites, local ones too. For metrics.
  struct Counts {
    size_t remote[kStandings] = {};
    size_t blocked = 0;
  };
  Counts Count(absl::Time now) const;

  // What is known of a site.
  struct SiteState {
    Destination site;
    size_t waiting = 0;  // jobs in its line
    int running = 0;
    int limit = 0;
    int failures = 0;                                   // in a row
    absl::Time failing_since = absl::InfiniteFuture();  // with failures: when the first of them was reported
    absl::Time blocked_until = absl::InfinitePast();
    v1::Attempt last_failure;
  };
  // nullopt: nothing is known.
  std::optional<SiteState> StateOf(const Destination& site) const;
  // The sites that have jobs or are blocked at `now`, in no order.
  std::vector<SiteState> States(absl::Time now) const;

 private:
  struct Site {
    std::deque<Job> waiting;
    int running = 0;
    int limit = 0;
    int failures = 0;  // in a row
    absl::Time failing_since = absl::InfiniteFuture();
    absl::Time blocked_until = absl::InfinitePast();
    absl::Time last_success = absl::InfinitePast();
    std::unique_ptr<v1::Attempt> last_failure;
    bool refused_work = false;
    bool in_turn = false;
    bool remote = false;
    Standing charged = kFresh;  // under which `running` is counted
  };
  using Turns = std::deque<Destination>;
  Site& Get(const Destination& name);
  int FirstLimit(const Destination& name) const;
  size_t LineLimit() const;
  bool MayStart(const Site& site, absl::Time now) const;
  Standing StandingOf(const Site& site, absl::Time now) const;
  void TakeTurn(const Destination& name, Site& site, absl::Time now);
  std::optional<Started> NextOf(Turns& turns, std::optional<Standing> standing, absl::Time now);
  bool HasRoom(Standing standing) const;
  // Counts what runs at a remote site under `standing` from now on.
  void Charge(Site& site, Standing standing);
  int running_remote() const { return running_remote_[kProven] + running_remote_[kFresh] + running_remote_[kDoubtful]; }
  static SiteState StateOf(const Destination& name, const Site& site);
  void SetRefusedWork(Site& site, bool refused);
  void Forget(absl::Time now);

  const SchedulerOptions options_;
  absl::flat_hash_map<Destination, std::unique_ptr<Site>> sites_;
  Turns local_turns_, remote_turns_[kStandings];
  int next_standing_ = kProven;
  size_t waiting_ = 0;
  size_t refusing_ = 0;  // sites with `refused_work`
  size_t forget_at_;     // number of sites from which Forget() looks for idle ones
  int running_remote_[kStandings] = {};
  int running_local_ = 0;
};

}  // namespace posthouse::queue
