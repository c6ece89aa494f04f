// DispatcherImpl: private to dispatcher*.cc.
//
// Locks: mutex_ (lines, window, claims) before LiveItem::mutex (one item); neither
// is held across an await.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/sync.h"
#include "services/common/net/event_loop.h"
#include "services/queue/schedule/dispatcher.h"
#include "services/queue/schedule/due_window.h"
#include "services/queue/schedule/live_item.h"
#include "services/queue/metrics.h"
#include "services/queue/spool/record.h"

namespace posthouse::queue {

// Of a claim's holder that is no job.
inline constexpr char kNoDestination[] = "\n";

class DispatcherImpl final : public Dispatcher, public std::enable_shared_from_this<DispatcherImpl> {
 public:
  DispatcherImpl(Parts parts, DispatcherOptions options);

  void Start() override;
  void Accept(std::shared_ptr<Record> record, std::shared_ptr<const std::string> memory) override;
  Task<absl::Status> Retry(std::string queue_id) override;
  Task<absl::StatusOr<uint32_t>> RetryDestination(std::string domain) override;
  Task<absl::Status> Delete(std::string queue_id, bool bounce) override;
  void Poke() override { wakeup_.Signal(); }
  void UpdateMetrics() override;
  void Drain(absl::Duration grace) override;

 private:
  using Live = std::shared_ptr<LiveItem>;
  using Startable = std::vector<Sites::Started>;

  // Who works on an item, or waits to.
  struct Claim {
    Live live;                     // null until a job has loaded it
    int holders = 0;               // jobs waiting or running, and operators' calls
    int running = 0;               // of them
    bool cancelled = false;        // deleted: jobs that wait must not start
    bool retry = false;            // an operator wants all recipients tried: whoever loads it does that
    std::set<std::string> active;  // destinations with a job
  };

  // ---- scheduling (dispatcher.cc)
  // The loop that reads the due index. Holds itself until it ends.
  static Task<void> Run(std::shared_ptr<DispatcherImpl> self);
  Task<void> ReadPages();
  void OfferDue(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration UntilNext(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lines up a job for each destination of the item that is due and has none.
  void OfferLive(const Live& live, Claim& claim, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Startable TakeStartable(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Launch(Startable jobs, bool here);
  // A job leaves: the last one returns the item to the due index.
  void Leave(const std::string& queue_id, const std::string& destination, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // An item that others go on with: when its next free destination is due. Best effort:
  // what the window does not take waits until they are done.
  void RemindOf(const Claim& claim, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string SiteOf(const std::string& destination) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Learn(const std::string& domain, const std::string& site) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Stray(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    rescan_at_ = std::min(rescan_at_, now + options_.stray_delay);
  }
  double Random();

  // ---- working on one item (dispatcher_work.cc)
  static Task<void> RunJob(std::shared_ptr<DispatcherImpl> self, Sites::Started started);
  // False: deleted meanwhile. `retry`: see Claim.
  bool Begin(const Job& job, Live* live, bool* retry);
  Task<Live> Load(Job job, bool retry);
  // Makes all waiting recipients due and their destinations open.
  Task<absl::Status> MakeDue(Live live);
  void Refile(const Job& job, const Record* record);
  // Expiry, warnings, and recipients whose destination is not known.
  Task<void> Prepare(Live live);
  Task<void> Resolve(Live live);
  // Tries the recipients at `job.destination`. True: something was tried, and the
  // site heard of it.
  Task<bool> Attempt(Live live, Sites::Started started);
  void ReportSite(const Sites::Started& started, const DeliveryResult& result, absl::Time now, AttemptTime* time);
  void LogOutcomes(const Transaction& transaction, const DeliveryResult& result, absl::Time started, absl::Time now);
  void CountNobody(const Live& live, int nobody);
  // Commits what the item has that the store has not, until it is done.
  Task<absl::Status> Save(Live live);
  Task<absl::Status> SaveOnce(Live live);
  Task<absl::Status> WriteReport(Live live, v1::Item item, std::vector<Notice> notices);
  Task<absl::StatusOr<std::string>> ReadMessage(Live live, const v1::Item& item, uint64_t bytes);
  Change BuildChange(LiveItem& live, const Unsaved& saving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(live.mutex);
  absl::Time Wake(const v1::Item& item) const { return WakeTime(item, options_.settlement.delay_warning_after); }
  absl::Time Now() const { return options_.clock(); }
  bool stopping() const {
    absl::MutexLock lock(&mutex_);
    return draining_;
  }

  // ---- operators (dispatcher_admin.cc)
  Task<absl::Status> ClaimForOperator(std::string queue_id, bool cancel);
  Task<absl::StatusOr<Live>> LoadForOperator(std::string queue_id);
  void EndOperator(const std::string& queue_id);

  const Parts parts_;
  const DispatcherOptions options_;
  Wakeup wakeup_;
  mutable absl::Mutex mutex_;
  DueWindow window_ ABSL_GUARDED_BY(mutex_);
  Sites sites_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Claim> claims_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::string> site_of_domain_ ABSL_GUARDED_BY(mutex_);
  absl::BitGen random_ ABSL_GUARDED_BY(mutex_);
  absl::Time next_wake_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // of the loop
  absl::Time rescan_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  absl::Time rescan_allowed_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  int tasks_ ABSL_GUARDED_BY(mutex_) = 0;  // coroutines that use the parts
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool aborting_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace posthouse::queue
