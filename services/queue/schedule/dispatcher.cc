#include "services/queue/schedule/dispatcher.h"

#include <algorithm>
#include <utility>

#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/queue/schedule/dispatcher_impl.h"
#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {
namespace {

constexpr size_t kDueAtOnce = 1000;
constexpr size_t kMaxLearned = 50000;
constexpr absl::Duration kLongestWait = absl::Minutes(1);
// A rescan costs at most a twentieth of the time.
constexpr absl::Duration kLeastRescan = absl::Seconds(1);
constexpr int kRescanShare = 20;

}  // namespace

DispatcherImpl::DispatcherImpl(Parts parts, DispatcherOptions options)
    : parts_(parts), options_(std::move(options)), window_(options_.window_entries), sites_(options_.sites) {}

std::unique_ptr<Dispatcher> Dispatcher::Create(Parts parts, DispatcherOptions options) {
  // Jobs keep the implementation, whoever owns the handle.
  class Handle final : public Dispatcher {
   public:
    explicit Handle(std::shared_ptr<DispatcherImpl> impl) : impl_(std::move(impl)) {}
    ~Handle() override { impl_->Drain(absl::ZeroDuration()); }
    void Start() override { impl_->Start(); }
    void Accept(std::shared_ptr<Record> record, std::shared_ptr<const std::string> memory) override {
      impl_->Accept(std::move(record), std::move(memory));
    }
    Task<absl::Status> Retry(std::string id) override { return impl_->Retry(std::move(id)); }
    Task<absl::StatusOr<uint32_t>> RetryDestination(std::string d) override {
      return impl_->RetryDestination(std::move(d));
    }
    Task<absl::Status> Delete(std::string id, bool bounce) override { return impl_->Delete(std::move(id), bounce); }
    void Poke() override { impl_->Poke(); }
    void UpdateMetrics() override { impl_->UpdateMetrics(); }
    void Drain(absl::Duration grace) override { impl_->Drain(grace); }

   private:
    const std::shared_ptr<DispatcherImpl> impl_;
  };
  return std::make_unique<Handle>(std::make_shared<DispatcherImpl>(parts, std::move(options)));
}

double DispatcherImpl::Random() {
  if (options_.random) return options_.random();
  absl::MutexLock lock(&mutex_);
  return absl::Uniform(random_, 0.0, 1.0);
}

// ---- the loop over the due index

void DispatcherImpl::Start() {
  {
    absl::MutexLock lock(&mutex_);
    ++tasks_;
  }
  Spawn(parts_.loops.Next(), Run(shared_from_this()));
}

Task<void> DispatcherImpl::Run(std::shared_ptr<DispatcherImpl> self) {
  while (true) {
    co_await self->ReadPages();
    Startable jobs;
    absl::Duration wait;
    {
      absl::MutexLock lock(&self->mutex_);
      if (self->draining_) {
        --self->tasks_;
        co_return;
      }
      const absl::Time now = self->Now();
      self->OfferDue(now);
      jobs = self->TakeStartable(now);
      wait = self->UntilNext(now);
      self->next_wake_ = now + wait;
    }
    self->Launch(std::move(jobs), /*here=*/false);
    if (wait > absl::ZeroDuration()) co_await self->wakeup_.WaitFor(wait);
  }
}

// Reads what is due and not seen, and some of what comes after it.
Task<void> DispatcherImpl::ReadPages() {
  const absl::Time started = absl::Now();
  while (true) {
    std::string after;
    {
      absl::MutexLock lock(&mutex_);
      const absl::Time now = Now();
      if (!draining_ && now >= rescan_allowed_ && (now >= rescan_at_ || sites_.TakeMissed(now))) {
        rescan_at_ = absl::InfiniteFuture();
        rescan_allowed_ = absl::InfiniteFuture();  // until this scan is done
        window_.Rescan();
      }
      if (draining_ || !window_.WantsPage(now)) break;
      after = window_.cursor();
    }
    absl::StatusOr<DuePage> page = co_await parts_.spool.ReadDue(after, options_.page_rows);
    absl::MutexLock lock(&mutex_);
    if (!page.ok()) {
      LOG_EVENT(kError, "due_index_unreadable").Err(page.status());
      Stray(Now());
      break;
    }
    window_.Loaded(after, *std::move(page));
    // What is due leaves the window at once, so that it never fills up with it.
    OfferDue(Now());
  }
  absl::MutexLock lock(&mutex_);
  if (rescan_allowed_ == absl::InfiniteFuture()) {
    rescan_allowed_ = Now() + std::max(kLeastRescan, (absl::Now() - started) * kRescanShare);
  }
}

void DispatcherImpl::OfferDue(absl::Time now) {
  while (true) {
    std::vector<DueEntry> due = window_.PopDue(now, kDueAtOnce);
    if (due.empty()) return;
    for (DueEntry& entry : due) {
      if (const auto it = claims_.find(entry.queue_id); it != claims_.end()) {
        // Somebody works on it; its other destinations do not wait for him.
        Claim& claim = it->second;
        if (claim.live != nullptr && !claim.cancelled) OfferLive(claim.live, claim, now);
        continue;
      }
      // A warning or the expiry is not held up by a destination that is backed off.
      const bool look = entry.destination.empty() || entry.wake <= now;
      const std::string site = look ? kPrepareSite : SiteOf(entry.destination);
      const std::string destination = look ? "" : entry.destination;
      Job job{entry.queue_id, destination, entry.due};
      if (sites_.Add(site, std::move(job), now) != Sites::Offer::kWaiting) continue;
      Claim& claim = claims_[entry.queue_id];
      claim.holders = 1;
      claim.active.insert(destination);
    }
  }
}

absl::Duration DispatcherImpl::UntilNext(absl::Time now) {
  absl::Time next = std::min(window_.NextDue(), now + kLongestWait);
  if (window_.WantsPage(now)) next = now + kLeastRescan;  // a read failed
  next = std::min(next, std::max(rescan_at_, rescan_allowed_));
  if (sites_.any_missed()) next = std::min(next, std::max({sites_.NextMissed(), rescan_allowed_, now + kLeastRescan}));
  return std::max(next - now, absl::ZeroDuration());
}

// ---- claims and lines

std::string DispatcherImpl::SiteOf(const std::string& destination) const {
  const auto it = site_of_domain_.find(destination);
  return it == site_of_domain_.end() ? destination : it->second;
}

void DispatcherImpl::Learn(const std::string& domain, const std::string& site) {
  if (site.empty() || site == domain || Sites::IsLocal(site)) return;
  if (site_of_domain_.size() >= kMaxLearned) site_of_domain_.clear();  // learned again as it is used
  site_of_domain_[domain] = site;
}

void DispatcherImpl::Accept(std::shared_ptr<Record> record, std::shared_ptr<const std::string> memory) {
  // A long line does not hold all its messages: they can be read again.
  if (parts_.spool.memory_is_short()) memory = nullptr;
  const auto live = std::make_shared<LiveItem>(std::move(record), std::move(memory));
  Startable jobs;
  {
    absl::MutexLock lock(&mutex_);
    if (draining_ || claims_.contains(live->queue_id)) return;
    const absl::Time now = Now();
    Claim& claim = claims_[live->queue_id];
    claim.live = live;
    claim.holders = 1;  // ourselves, until the jobs are there: leaving lines them up
    Leave(live->queue_id, kNoDestination, now);
    jobs = TakeStartable(now);
  }
  Launch(std::move(jobs), /*here=*/true);
}

void DispatcherImpl::OfferLive(const Live& live, Claim& claim, absl::Time now) {
  std::set<std::string> destinations;
  {
    absl::MutexLock lock(&live->mutex);
    if (live->settled || live->unsaved.any()) return;
    for (const v1::ItemRecipient& recipient : live->record->item.recipients()) {
      if (IsWaiting(recipient) && FromProto(recipient.next_attempt()) <= now) {
        destinations.insert(DestinationOf(recipient));
      }
    }
  }
  for (const std::string& destination : destinations) {
    if (claim.active.contains(destination)) continue;
    const std::string site = destination.empty() ? kPrepareSite : SiteOf(destination);
    if (sites_.Add(site, {live->queue_id, destination}, now) != Sites::Offer::kWaiting) continue;
    ++claim.holders;
    claim.active.insert(destination);
  }
}

void DispatcherImpl::Leave(const std::string& queue_id, const std::string& destination, absl::Time now) {
  const auto it = claims_.find(queue_id);
  PH_CHECK(it != claims_.end());
  Claim& claim = it->second;
  claim.active.erase(destination);
  // What became due while its destination was busy with this very item.
  if (claim.live != nullptr && !claim.cancelled && !draining_) OfferLive(claim.live, claim, now);
  if (--claim.holders > 0) {
    if (claim.live != nullptr && !claim.cancelled) RemindOf(claim, now);
    return;
  }
  const Live live = std::move(claim.live);
  const bool cancelled = claim.cancelled;
  claims_.erase(it);
  if (live == nullptr || cancelled) return;
  absl::MutexLock lock(&live->mutex);
  if (live->settled) return;
  if (live->stored_due <= now) {
    // Its line was full or blocked (that is remembered there), or a commit failed.
    if (live->unsaved.any()) Stray(now);
    return;
  }
  window_.Add({live->stored_due, queue_id, DestinationOf(live->record->item), Wake(live->record->item)});
  if (live->stored_due < next_wake_) wakeup_.Signal();
}

void DispatcherImpl::RemindOf(const Claim& claim, absl::Time now) {
  absl::MutexLock lock(&claim.live->mutex);
  absl::Time next = absl::InfiniteFuture();
  std::string destination;
  for (const v1::ItemRecipient& recipient : claim.live->record->item.recipients()) {
    const absl::Time due = FromProto(recipient.next_attempt());
    if (!IsWaiting(recipient) || due <= now || due >= next || claim.active.contains(DestinationOf(recipient))) continue;
    next = due;
    destination = DestinationOf(recipient);
  }
  if (next == absl::InfiniteFuture()) return;
  window_.Add({DueTime(next), claim.live->queue_id, destination, Wake(claim.live->record->item)});
  if (next < next_wake_) wakeup_.Signal();
}

DispatcherImpl::Startable DispatcherImpl::TakeStartable(absl::Time now) {
  Startable jobs;
  while (!draining_) {
    std::optional<Sites::Started> started = sites_.Next(now);
    if (!started.has_value()) break;
    ++tasks_;
    jobs.push_back(*std::move(started));
  }
  return jobs;
}

void DispatcherImpl::Launch(Startable jobs, bool here) {
  for (Sites::Started& job : jobs) {
    Executor* const current = Executor::Current();
    if (here && current != nullptr) {
      SpawnHere(RunJob(shared_from_this(), std::move(job)));
    } else {
      Spawn(current != nullptr ? *current : parts_.loops.Next(), RunJob(shared_from_this(), std::move(job)));
    }
  }
}

// ---- the end

void DispatcherImpl::UpdateMetrics() {
  absl::MutexLock lock(&mutex_);
  parts_.metrics.waiting.Set(static_cast<double>(sites_.waiting()));
  parts_.metrics.running.Set(sites_.running());
  parts_.metrics.blocked_sites.Set(static_cast<double>(sites_.blocked(Now())));
  parts_.metrics.window.Set(static_cast<double>(window_.size()));
}

void DispatcherImpl::Drain(absl::Duration grace) {
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
  }
  wakeup_.Signal();
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return tasks_ == 0; };
  absl::MutexLock lock(&mutex_);
  if (mutex_.AwaitWithTimeout(absl::Condition(&idle), grace)) return;
  aborting_ = true;
  LOG_EVENT(kInfo, "cutting_deliveries").Int("running", tasks_);
  mutex_.Unlock();
  parts_.local.Abort();
  parts_.remote.Abort();
  mutex_.Lock();
  mutex_.Await(absl::Condition(&idle));
}

}  // namespace posthouse::queue
