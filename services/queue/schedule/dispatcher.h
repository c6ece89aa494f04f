// Dispatcher: takes items from acceptance (or the due index) to their end.
//
//   Accept ──▶ jobs by destination ─▶ SiteTable ─▶ DestinationScheduler ─▶ attempt ─▶ settlement ─▶ Spool
//   due row ─▶ one job (loads) ────────▲ (lookup)   │ blocked or full: left on disk,
//       ▲                                           │ found by a rescan
//       └───────────────── rescheduled ─────────────┘
//
// An item that was just accepted goes to its deliveries from memory. An item that waits
// is a due row, which is read when its time comes (due_window.h). Every item has at most
// one claim: while a claim exists, the item's jobs wait in a line of the scheduler or
// run, and no second set of jobs is started. A job that is dropped unfinished, for any
// reason, leaves its item as a due row.
//
// An outcome is committed together with what follows from it (a report to the sender,
// recipients that rules add). The dispatcher repeats a failed commit until it succeeds,
// so that a remote host does not get a message twice. On a full store outcomes use half of
// the space that the store keeps free: else mail that a host deferred would be tried no
// more, and never leave the disk that it fills. Reports to senders wait for room.
//
// Two clocks: items have times of day (Now()), which must agree with other processes and
// survive restarts. What waits in memory waits by a clock that never steps (Steady()).
//
// Threads: any; jobs run on the event loops and keep the dispatcher alive. Locks: mutex_
// (lines, window, claims) before ActiveItem::mutex (one item); no await under either.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/time/calm_clock.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/delivery/routing_client.h"
#include "services/queue/schedule/active_item.h"
#include "services/queue/schedule/bounce.h"
#include "services/queue/schedule/destination_scheduler.h"
#include "services/queue/schedule/due_window.h"
#include "services/queue/schedule/resolution.h"
#include "services/queue/schedule/settlement.h"
#include "services/queue/schedule/site_table.h"
#include "services/queue/spool/spool.h"

namespace posthouse::net {
class EventLoops;
}

namespace posthouse::queue {

class Metrics;

struct DispatcherOptions {
  SchedulerOptions scheduler;
  SettlementPolicy settlement;
  BounceOptions bounce;
  SiteTableOptions sites;
  // The time of day, and a clock that never steps. CalmClock in production.
  Clock clock = [] { return absl::Now(); };
  Clock steady = MonotonicNow;
  // What `clock` reads; outlives the dispatcher. Null: `clock` never steps.
  CalmClock* calm = nullptr;
  std::function<double()> random;  // in [0, 1); null: a generator of its own
  size_t window_entries = 50000;
  size_t page_rows = 512;
  // After this, the due index is read again for an item that could not be loaded or saved.
  absl::Duration rescan_delay = absl::Seconds(30);
};

// What an operator can do to items in the queue (Admin asks for it).
class ItemOperations {
 public:
  virtual ~ItemOperations() = default;
  // Makes the waiting recipients of an item due now. kNotFound: no such item.
  virtual Task<absl::Status> Retry(QueueId queue_id) = 0;
  // Makes the waiting recipients at `domain` (an A-label) due now, in all items that were in the queue when the
  // call began, and unblocks the domain's hosts once; returns the number of items. Calling it again does no harm.
  virtual Task<absl::StatusOr<uint32_t>> RetryDestination(std::string domain) = 0;
  // What is known of the destinations that have jobs or are blocked; times of day.
  virtual std::vector<DestinationScheduler::SiteState> Destinations() = 0;
  // The site of a recipient's destination, as far as it is known.
  virtual Destination SiteFor(const Destination& destination) = 0;
  // Removes an item; with `bounce` its sender gets a report. kFailedPrecondition: a
  // delivery of the item is running, try again.
  virtual Task<absl::Status> Delete(QueueId queue_id, bool bounce) = 0;
};

class Dispatcher final : public ItemOperations, public std::enable_shared_from_this<Dispatcher> {
 public:
  // All of them outlive it.
  struct Parts {
    net::EventLoops& loops;
    Spool& spool;
    Routing& routing;
    Delivery& local;
    Delivery& remote;
    Metrics& metrics;
  };
  // Call Drain() before the parts go: jobs use them.
  static std::shared_ptr<Dispatcher> Create(Parts parts, DispatcherOptions options);

  // Begins to read the due index.
  void Start();
  // Takes an item that was just put, with its message when that is in memory.
  void Accept(std::shared_ptr<ItemRecord> record, std::shared_ptr<const std::string> memory);

  Task<absl::Status> Retry(QueueId queue_id) override;
  Task<absl::StatusOr<uint32_t>> RetryDestination(std::string domain) override;
  Task<absl::Status> Delete(QueueId queue_id, bool bounce) override;
  std::vector<DestinationScheduler::SiteState> Destinations() override;
  Destination SiteFor(const Destination& destination) override;

  // Makes the loop look at the clock now. Tests call it after they turned the clock.
  void WakeForTest() { wakeup_.Signal(); }
  // Sets the gauges of lines and windows.
  void UpdateMetrics();
  // Starts no more jobs, waits up to `grace` for those that run, then aborts them; an
  // unfinished item stays due. Blocks; not on an event loop.
  void Drain(absl::Duration grace);

 private:
  using Active = std::shared_ptr<ActiveItem>;
  using Startable = std::vector<DestinationScheduler::Started>;

  // What an operator asks to try now.
  struct RetryOrder {
    absl::Time at;         // recipients that wait longer are due then; it is not in the future
    std::string domain;    // only recipients there; "": all
    bool unblock = false;  // their destinations
  };

  // The work that holds an item, or waits for it.
  struct Claim {
    Active item;                         // null until a job has loaded it
    int holders = 0;                     // jobs that wait or run, and operators' calls
    int running = 0;                     // jobs that run
    bool cancelled = false;              // the item is being deleted: jobs that wait must not start
    std::optional<RetryOrder> retry;     // for the job that loads the item
    std::set<Destination> destinations;  // with a job
  };

  Dispatcher(Parts parts, DispatcherOptions options);

  // ---- scheduling (dispatcher.cc)
  // The loop that reads the due index. Holds `self` until it ends.
  static Task<void> Run(std::shared_ptr<Dispatcher> self);
  Task<void> ReadPages();
  void EnqueueDueItems(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration UntilNext(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts the job in the line of its site, or parks it until the site is known. False: it is refused.
  bool AddJob(Job job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Asks routing for the sites of domains with parked jobs.
  void StartLookups() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static Task<void> LookUpSite(std::shared_ptr<Dispatcher> self, Destination domain);
  // Adds a job for each destination of the item that is due and has none.
  void EnqueueDueDestinations(const Active& active, Claim& claim, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Startable TakeStartable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Launch(Startable jobs, bool here);
  // One holder leaves the claim: a job with its destination, or an operator. The last one
  // returns the item to the due index.
  void ReleaseClaim(const QueueId& queue_id, const std::optional<Destination>& destination, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // While other holders go on with the item: puts into the window when its next
  // destination without a job is due. When the window has no room, that destination
  // waits until they are done.
  void ScheduleNextDue(const Claim& claim, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Destination& SiteOf(const Destination& destination) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // When the site may be tried again, as time of day; in the past: now.
  absl::Time BlockedUntil(const Destination& site) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ScheduleRescan() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    rescan_at_ = std::min(rescan_at_, Steady() + options_.rescan_delay);
  }
  double Random();

  // ---- working on one item (dispatcher_work.cc)
  static Task<void> RunJob(std::shared_ptr<Dispatcher> self, DestinationScheduler::Started started);
  // False: the item was deleted meanwhile. `retry`: see Claim.
  bool Begin(const Job& job, Active* active, std::optional<RetryOrder>* retry);
  Task<Active> Load(Job job, bool retry);
  // Carries out an order of an operator.
  Task<absl::Status> MakeDue(Active active, RetryOrder order);
  void Refile(const Job& job, const ItemRecord* record);
  // Expiry, delay warnings, and recipients whose destination is not known.
  Task<void> Prepare(Active active);
  Task<void> Resolve(Active active);
  // Resolves the local recipients at `destination` again, and commits what must be known before an attempt. False:
  // that failed, so there must be none.
  Task<bool> ResolveAgain(Active active, Destination destination);
  void LogResolvedAgain(const DeliveryAttempt& attempt, const Target& before, const v1::ItemRecipient& now,
                        const ResolvedAgain& resolved);
  // Tries the recipients at `job.destination`. True: there was an attempt, and the
  // scheduler has its result.
  Task<bool> TryDestination(Active active, DestinationScheduler::Started started);
  void ReportSite(const DestinationScheduler::Started& started, const DeliveryResult& result, absl::Time now,
                  AttemptTime* time);
  void LogOutcomes(const DeliveryAttempt& attempt, const DeliveryResult& result, absl::Time started, absl::Time now);
  void CountDoubleBounces(const Active& active, int recipients);
  // Commits what the item has and the store has not, until it succeeds.
  Task<absl::Status> Save(Active active);
  Task<absl::Status> SaveOnce(Active active, bool from_reserve);
  void LogNotSaved(const Active& active, const absl::Status& why);
  Task<absl::Status> WriteReport(Active active, v1::Item item, std::vector<Notice> notices);
  Task<absl::StatusOr<std::string>> ReadMessage(Active active, const v1::Item& item, uint64_t bytes);
  Change BuildChange(ActiveItem& active, const Unsaved& saving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(active.mutex);
  absl::Time Wake(const v1::Item& item) const { return WakeTime(item, options_.settlement.delay_warning_after); }
  absl::Time Now() const { return options_.clock(); }
  absl::Time Steady() const { return options_.steady(); }
  // How much of the age of an item accepted at `accepted` is a step of the clock.
  absl::Duration SteppedSince(absl::Time accepted) const {
    return options_.calm != nullptr ? options_.calm->SteppedSince(accepted) : absl::ZeroDuration();
  }
  bool stopping() const {
    absl::MutexLock lock(&mutex_);
    return draining_;
  }

  // ---- operators (dispatcher_admin.cc)
  Task<absl::Status> ClaimForOperator(QueueId queue_id, bool cancel);
  Task<absl::StatusOr<Active>> LoadForOperator(QueueId queue_id, const RetryOrder& order);
  Task<absl::Status> RetryItem(QueueId queue_id, RetryOrder order);
  // Whether a recipient of the due row's item waits for something at `domain`.
  Task<bool> WaitsFor(const DueEntry& entry, const std::string& domain);
  bool IsRunning(const QueueId& queue_id);

  // ---- after the clock was set back (dispatcher_admin.cc)
  // Begins PullBack() when the clock was set back, and every minute for rows of earlier processes.
  void CheckClock() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Makes items due whose time is farther in the future than `least`: another clock has set it.
  static Task<void> PullBack(std::shared_ptr<Dispatcher> self, absl::Duration least);
  void EndOperator(const QueueId& queue_id);

  const Parts parts_;
  const DispatcherOptions options_;
  Wakeup wakeup_;
  log::RateLimit not_saved_log_{1, absl::Seconds(10)};  // all items of a full store fail, again and again
  mutable absl::Mutex mutex_;
  DueWindow window_ ABSL_GUARDED_BY(mutex_);
  DestinationScheduler scheduler_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<QueueId, Claim> claims_ ABSL_GUARDED_BY(mutex_);
  SiteTable sites_ ABSL_GUARDED_BY(mutex_);
  absl::BitGen random_ ABSL_GUARDED_BY(mutex_);
  absl::Time next_wake_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // of the loop; time of day
  // By the steady clock.
  absl::Time rescan_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  absl::Time rescan_allowed_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  // Until then routing is not asked again for local recipients: it did not know lately.
  absl::Time routing_rests_until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time pull_back_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // InfiniteFuture: it runs
  int tasks_ ABSL_GUARDED_BY(mutex_) = 0;                                   // coroutines that use the parts
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool aborting_ ABSL_GUARDED_BY(mutex_) = false;
};

// The item's recipients at `destination` that are due at `now`, as an attempt without
// `read` and `memory`. The item outlives it. Pure.
DeliveryAttempt MakeAttempt(const v1::Item& item, const Destination& destination, absl::Time now);

}  // namespace posthouse::queue
