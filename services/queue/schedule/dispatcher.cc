#include "services/queue/schedule/dispatcher.h"

#include <algorithm>
#include <map>
#include <utility>

#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/log/log.h"
#include "services/common/net/event_loop.h"
#include "services/common/status/status.h"
#include "services/queue/metrics.h"
#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {
namespace {

constexpr size_t kDueAtOnce = 1000;
constexpr absl::Duration kLongestWait = absl::Minutes(1);
// Rescans take at most a twentieth of the time.
constexpr absl::Duration kLeastRescan = absl::Seconds(1);
constexpr int kRescanShare = 20;
// A due time this long after acceptance is that of a retry.
constexpr absl::Duration kFirstAttempt = absl::Seconds(30);

}  // namespace

Dispatcher::Dispatcher(Parts parts, DispatcherOptions options)
    : parts_(parts),
      options_(std::move(options)),
      window_(options_.window_entries),
      scheduler_(options_.scheduler),
      sites_(options_.sites) {}

std::shared_ptr<Dispatcher> Dispatcher::Create(Parts parts, DispatcherOptions options) {
  return std::shared_ptr<Dispatcher>(new Dispatcher(parts, std::move(options)));
}

double Dispatcher::Random() {
  if (options_.random) return options_.random();
  absl::MutexLock lock(&mutex_);
  return absl::Uniform(random_, 0.0, 1.0);
}

// ---- the loop over the due index

void Dispatcher::Start() {
  {
    absl::MutexLock lock(&mutex_);
    ++tasks_;
  }
  Spawn(parts_.loops.Next(), Run(shared_from_this()));
}

Task<void> Dispatcher::Run(std::shared_ptr<Dispatcher> self) {
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
      self->EnqueueDueItems(now);
      jobs = self->TakeStartable();
      wait = self->UntilNext(now);
      self->next_wake_ = now + wait;
      self->CheckClock();
    }
    self->Launch(std::move(jobs), /*here=*/false);
    if (wait > absl::ZeroDuration()) co_await self->wakeup_.WaitFor(wait);
  }
}

// Reads all rows that are due, and some of those after them.
Task<void> Dispatcher::ReadPages() {
  const absl::Time started = Steady();
  while (true) {
    std::string after;
    {
      absl::MutexLock lock(&mutex_);
      const absl::Time steady = Steady();
      if (!draining_ && steady >= rescan_allowed_ && (steady >= rescan_at_ || scheduler_.TakeRefusedWork(steady))) {
        rescan_at_ = absl::InfiniteFuture();
        rescan_allowed_ = absl::InfiniteFuture();  // until this scan is done
        window_.Rescan();
      }
      if (draining_ || !window_.WantsPage(Now())) break;
      after = window_.cursor();
    }
    absl::StatusOr<DuePage> page = co_await parts_.spool.ReadDue(after, options_.page_rows);
    absl::MutexLock lock(&mutex_);
    if (!page.ok()) {
      LOG_EVENT(kError, "due_index_unreadable").Err(page.status());
      ScheduleRescan();
      break;
    }
    window_.Loaded(after, *std::move(page));
    // Due entries leave the window at once, so that they never fill it.
    EnqueueDueItems(Now());
  }
  absl::MutexLock lock(&mutex_);
  if (rescan_allowed_ == absl::InfiniteFuture()) {
    const absl::Time steady = Steady();
    rescan_allowed_ = steady + std::max(kLeastRescan, (steady - started) * kRescanShare);
  }
}

void Dispatcher::EnqueueDueItems(absl::Time now) {
  while (true) {
    std::vector<DueEntry> due = window_.PopDue(now, kDueAtOnce);
    if (due.empty()) return;
    for (DueEntry& entry : due) {
      if (const auto it = claims_.find(entry.queue_id); it != claims_.end()) {
        // A claimed item: its other destinations do not wait for the running jobs.
        Claim& claim = it->second;
        if (claim.item != nullptr && !claim.cancelled) EnqueueDueDestinations(claim.item, claim, now);
        continue;
      }
      // A delay warning or the expiry does not wait for a blocked destination.
      const bool look = entry.wake <= now;
      const Destination destination = look ? Destination() : std::move(entry.destination);
      const bool tried = entry.due > TimeOfQueueId(entry.queue_id) + kFirstAttempt;
      if (!AddJob({entry.queue_id, destination, entry.due, tried})) continue;
      Claim& claim = claims_[entry.queue_id];
      claim.holders = 1;
      claim.destinations.insert(destination);
    }
  }
}

absl::Duration Dispatcher::UntilNext(absl::Time now) {
  const absl::Time steady = Steady();
  absl::Duration wait = std::min(window_.NextDue() - now, kLongestWait);
  if (window_.WantsPage(now)) wait = kLeastRescan;  // a read failed
  wait = std::min(wait, std::max(rescan_at_, rescan_allowed_) - steady);
  if (scheduler_.has_refused_work()) {
    const absl::Time next = std::max({scheduler_.NextRefusedWork(), rescan_allowed_, steady + kLeastRescan});
    wait = std::min(wait, next - steady);
  }
  return std::max(wait, absl::ZeroDuration());
}

// ---- claims and lines

const Destination& Dispatcher::SiteOf(const Destination& destination) const {
  if (!destination.remote()) return destination;
  const Destination* const site = sites_.Find(destination, Steady());
  return site == nullptr ? destination : *site;
}

absl::Time Dispatcher::BlockedUntil(const Destination& site) const {
  return Now() + (scheduler_.BlockedUntil(site) - Steady());
}

bool Dispatcher::AddJob(Job job) {
  const absl::Time steady = Steady();
  if (!job.destination.remote() || sites_.Find(job.destination, steady) != nullptr) {
    const Destination site = SiteOf(job.destination);
    return scheduler_.Add(site, std::move(job), steady) == DestinationScheduler::Offer::kWaiting;
  }
  const bool backlog = job.due > absl::InfinitePast();
  if (!sites_.Park(std::move(job), backlog)) {
    ScheduleRescan();  // the item stays a due row
    return false;
  }
  StartLookups();
  return true;
}

void Dispatcher::StartLookups() {
  while (!draining_) {
    std::optional<Destination> domain = sites_.NextLookup();
    if (!domain.has_value()) return;
    ++tasks_;
    Spawn(parts_.loops.Next(), LookUpSite(shared_from_this(), *std::move(domain)));
  }
}

Task<void> Dispatcher::LookUpSite(std::shared_ptr<Dispatcher> self, Destination domain) {
  const auto answer = co_await self->parts_.routing.ResolveDestination(domain.name(), "");
  Startable next;
  {
    absl::MutexLock lock(&self->mutex_);
    std::optional<Destination> site;
    // A domain without hosts is its own site: the attempt finds out what becomes of its mail.
    if (answer.ok() && !(*answer)->site().empty()) site = Destination::Remote((*answer)->site());
    for (Job& job : self->sites_.Answered(domain, site, self->Steady())) {
      const QueueId queue_id = job.queue_id;
      if (self->draining_ || !self->AddJob(std::move(job))) self->ReleaseClaim(queue_id, domain, self->Now());
    }
    self->StartLookups();
    next = self->TakeStartable();
  }
  self->Launch(std::move(next), /*here=*/false);
  absl::MutexLock lock(&self->mutex_);
  --self->tasks_;  // the last thing: Drain() may be waiting for it
}

void Dispatcher::Accept(std::shared_ptr<ItemRecord> record, std::shared_ptr<const std::string> memory) {
  // Jobs in a long line do not keep their messages in memory: they are read again.
  if (parts_.spool.memory_is_short()) memory = nullptr;
  const auto active = std::make_shared<ActiveItem>(std::move(record), std::move(memory));
  Startable jobs;
  {
    absl::MutexLock lock(&mutex_);
    if (draining_ || claims_.contains(active->queue_id)) return;
    const absl::Time now = Now();
    Claim& claim = claims_[active->queue_id];
    claim.item = active;
    claim.holders = 1;  // this function; ReleaseClaim() then adds the jobs
    ReleaseClaim(active->queue_id, std::nullopt, now);
    jobs = TakeStartable();
  }
  Launch(std::move(jobs), /*here=*/true);
}

void Dispatcher::EnqueueDueDestinations(const Active& active, Claim& claim, absl::Time now) {
  std::map<Destination, bool> destinations;  // whether recipients there were tried before
  {
    absl::MutexLock lock(&active->mutex);
    if (active->settled || active->unsaved.any()) return;
    for (const v1::ItemRecipient& recipient : active->record->item.recipients()) {
      if (!IsWaiting(recipient) || FromProto(recipient.next_attempt()) > now) continue;
      destinations[DestinationOf(recipient)] |= recipient.attempts() > 0;
    }
  }
  for (const auto& [destination, tried] : destinations) {
    if (claim.destinations.contains(destination)) continue;
    if (!AddJob({.queue_id = active->queue_id, .destination = destination, .tried = tried})) continue;
    ++claim.holders;
    claim.destinations.insert(destination);
  }
}

void Dispatcher::ReleaseClaim(const QueueId& queue_id, const std::optional<Destination>& destination, absl::Time now) {
  const auto it = claims_.find(queue_id);
  PH_CHECK(it != claims_.end());
  Claim& claim = it->second;
  if (destination.has_value()) claim.destinations.erase(*destination);
  // Recipients may have become due while a job of the same destination was running.
  if (claim.item != nullptr && !claim.cancelled && !draining_) EnqueueDueDestinations(claim.item, claim, now);
  if (--claim.holders > 0) {
    if (claim.item != nullptr && !claim.cancelled) ScheduleNextDue(claim, now);
    return;
  }
  const Active active = std::move(claim.item);
  const bool cancelled = claim.cancelled;
  claims_.erase(it);
  if (active == nullptr || cancelled) return;
  absl::MutexLock lock(&active->mutex);
  if (active->settled) return;
  if (active->stored_due <= now) {
    // The scheduler refused its jobs (TakeRefusedWork() will find it), or a commit failed.
    if (active->unsaved.any()) ScheduleRescan();
    return;
  }
  window_.Add({active->stored_due, queue_id, DestinationOf(active->record->item), Wake(active->record->item)});
  if (active->stored_due < next_wake_) wakeup_.Signal();
}

void Dispatcher::ScheduleNextDue(const Claim& claim, absl::Time now) {
  absl::MutexLock lock(&claim.item->mutex);
  absl::Time next = absl::InfiniteFuture();
  Destination destination;
  for (const v1::ItemRecipient& recipient : claim.item->record->item.recipients()) {
    const absl::Time due = FromProto(recipient.next_attempt());
    if (!IsWaiting(recipient) || due <= now || due >= next || claim.destinations.contains(DestinationOf(recipient)))
      continue;
    next = due;
    destination = DestinationOf(recipient);
  }
  if (next == absl::InfiniteFuture()) return;
  window_.Add({DueTime(next), claim.item->queue_id, destination, Wake(claim.item->record->item)});
  if (next < next_wake_) wakeup_.Signal();
}

Dispatcher::Startable Dispatcher::TakeStartable() {
  Startable jobs;
  const absl::Time steady = Steady();
  while (!draining_) {
    std::optional<DestinationScheduler::Started> started = scheduler_.Next(steady);
    if (!started.has_value()) break;
    ++tasks_;
    jobs.push_back(*std::move(started));
  }
  return jobs;
}

void Dispatcher::Launch(Startable jobs, bool here) {
  for (DestinationScheduler::Started& job : jobs) {
    Executor* const current = Executor::Current();
    if (here && current != nullptr) {
      SpawnHere(RunJob(shared_from_this(), std::move(job)));
    } else {
      Spawn(current != nullptr ? *current : parts_.loops.Next(), RunJob(shared_from_this(), std::move(job)));
    }
  }
}

// ---- the end

void Dispatcher::UpdateMetrics() {
  absl::MutexLock lock(&mutex_);
  parts_.metrics.waiting.Set(static_cast<double>(scheduler_.waiting()));
  parts_.metrics.running.Set(scheduler_.running());
  const DestinationScheduler::Counts counts = scheduler_.Count(Steady());
  parts_.metrics.blocked_sites.Set(static_cast<double>(counts.blocked));
  parts_.metrics.SetDestinations(counts);
  parts_.metrics.lookups_waiting.Set(static_cast<double>(sites_.parked()));
  parts_.metrics.window.Set(static_cast<double>(window_.size()));
  parts_.metrics.overdue_seconds.Set(absl::ToDoubleSeconds(std::max(Now() - window_.NextDue(), absl::ZeroDuration())));
}

void Dispatcher::Drain(absl::Duration grace) {
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
