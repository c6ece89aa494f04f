// ItemOperations of the dispatcher: what operators do to items.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/net/event_loop.h"
#include "services/common/status/status.h"
#include "services/queue/schedule/dispatcher.h"
#include "services/queue/spool/hold.h"
#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {
namespace {
constexpr size_t kTogether = 100;
constexpr absl::Duration kPullBackInterval = absl::Minutes(1);
// Retries may wait this much longer.
constexpr absl::Duration kSmallStepBack = absl::Minutes(5);
// An operator's call waits this many times kPause for a running attempt.
constexpr int kPatience = 50;
constexpr absl::Duration kPause = absl::Milliseconds(100);

absl::Status BeingDelivered() {
  return absl::FailedPreconditionError("a delivery of the message is in progress; try again");
}

// Whether the recipient waits for mail to be taken at `domain`; "": anywhere.
bool WaitsAt(const v1::ItemRecipient& recipient, const std::string& domain) {
  if (!IsWaiting(recipient)) return false;
  if (domain.empty() || DestinationOf(recipient) == Destination::Remote(domain)) return true;
  const absl::string_view address = recipient.recipient().address();
  return !DestinationOf(recipient).remote() && absl::EndsWithIgnoreCase(address, absl::StrCat("@", domain));
}
}  // namespace

// Takes the item's claim, or makes one, while no job runs under it. `cancel` keeps the jobs
// that wait in line from starting. EndOperator() releases the claim.
Task<absl::Status> Dispatcher::ClaimForOperator(QueueId queue_id, bool cancel) {
  if (Executor::Current() == nullptr) co_await SwitchTo(parts_.loops.Next());
  for (int tries = 0; tries < kPatience; ++tries) {
    if (tries > 0) co_await Sleep(kPause);
    absl::MutexLock lock(&mutex_);
    if (draining_) co_return absl::UnavailableError("the queue is stopping");
    Claim& claim = claims_[queue_id];
    if (claim.running > 0 || claim.cancelled) continue;
    ++claim.holders;
    claim.cancelled = cancel;
    co_return absl::OkStatus();
  }
  co_return BeingDelivered();
}

// The item, under a claim that jobs in line share. Null: such a job exists and has not
// loaded the item yet; it carries out `order` when it does.
Task<absl::StatusOr<Dispatcher::Active>> Dispatcher::LoadForOperator(QueueId queue_id, const RetryOrder& order) {
  PH_CO_RETURN_IF_ERROR(co_await ClaimForOperator(queue_id, /*cancel=*/false));
  Active shared;
  bool waits = false;
  {
    absl::MutexLock lock(&mutex_);
    Claim& claim = claims_.at(queue_id);
    shared = claim.item;
    waits = claim.holders > 1;
    // An order for all recipients includes one for a domain.
    const bool all = claim.retry.has_value() && claim.retry->domain.empty();
    if (waits && shared == nullptr && !all) claim.retry = order;
  }
  if (shared != nullptr) co_return shared;
  if (waits) {
    EndOperator(queue_id);
    co_return Active();
  }
  absl::StatusOr<std::optional<ItemRecord>> loaded = co_await parts_.spool.Load(queue_id);
  if (!loaded.ok() || !loaded->has_value()) {
    if (!loaded.ok()) {
      // The loop may have skipped the due row, since the item was claimed.
      absl::MutexLock lock(&mutex_);
      ScheduleRescan();
    }
    EndOperator(queue_id);
    if (!loaded.ok()) co_return loaded.status();
    co_return absl::NotFoundError(absl::StrCat("no message ", queue_id.Text(), " in the queue"));
  }
  auto active = std::make_shared<ActiveItem>(std::make_shared<ItemRecord>(**std::move(loaded)), nullptr);
  absl::MutexLock lock(&mutex_);
  claims_.at(queue_id).item = active;
  co_return active;
}

void Dispatcher::EndOperator(const QueueId& queue_id) {
  Startable next;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = Now();
    ReleaseClaim(queue_id, std::nullopt, now);
    next = TakeStartable();
  }
  Launch(std::move(next), /*here=*/false);
}

Task<absl::Status> Dispatcher::Retry(QueueId queue_id) {
  return RetryItem(queue_id, {.at = Now(), .domain = "", .unblock = true});
}

Task<absl::Status> Dispatcher::RetryItem(QueueId queue_id, RetryOrder order) {
  PH_CO_ASSIGN_OR_RETURN(const Active active, co_await LoadForOperator(queue_id, order));
  if (active == nullptr) co_return absl::OkStatus();
  const absl::Status saved = co_await MakeDue(active, std::move(order));
  EndOperator(queue_id);  // adds the jobs
  co_return saved;
}

Task<absl::Status> Dispatcher::MakeDue(Active active, RetryOrder order) {
  std::set<Destination> destinations;
  {
    absl::MutexLock lock(&active->mutex);
    bool held = false;
    for (int i = 0; i < active->record->item.recipients_size(); ++i) {
      v1::ItemRecipient* recipient = active->record->item.mutable_recipients(i);
      if (!WaitsAt(*recipient, order.domain)) continue;
      destinations.insert(DestinationOf(*recipient));
      // What is due already stays where it is: no row moves past the reader of the due index.
      if (FromProto(recipient->next_attempt()) <= order.at) continue;
      held = held || FromProto(recipient->next_attempt()) == kHeldUntil;
      ToProto(order.at, recipient->mutable_next_attempt());
      active->unsaved.changed.insert(i);
      active->unsaved.urgent = true;
    }
    // While it was held, no delivery was tried.
    const absl::Time expires = order.at + kReleasedLife;
    if (held && FromProto(active->record->item.expires()) < expires) {
      ToProto(expires, active->record->item.mutable_expires());
    }
  }
  if (order.unblock) {
    absl::MutexLock lock(&mutex_);
    for (const Destination& destination : destinations) scheduler_.Unblock(SiteOf(destination));
  }
  co_return co_await Save(active);
}

Task<bool> Dispatcher::WaitsFor(const DueEntry& entry, const std::string& domain) {
  if (entry.destination.remote()) co_return entry.destination == Destination::Remote(domain);
  // Several destinations, or a mailbox store: the item has the addresses.
  const absl::StatusOr<std::optional<ItemRecord>> record = co_await parts_.spool.Load(entry.queue_id);
  if (!record.ok() || !record->has_value()) co_return false;
  const auto& recipients = (*record)->item.recipients();
  co_return std::any_of(recipients.begin(), recipients.end(),
                        [&](const v1::ItemRecipient& recipient) { return WaitsAt(recipient, domain); });
}

Task<absl::StatusOr<uint32_t>> Dispatcher::RetryDestination(std::string domain) {
  const RetryOrder order{.at = Now(), .domain = std::move(domain), .unblock = false};
  {
    absl::MutexLock lock(&mutex_);
    // Once: when the first attempt fails, the others need not fail too.
    scheduler_.Unblock(SiteOf(Destination::Remote(order.domain)));
    // The loop finds the rows that are due and were refused while the destination was blocked: now, since an
    // operator waits for it.
    rescan_at_ = Steady();
    if (rescan_allowed_ != absl::InfiniteFuture()) rescan_allowed_ = rescan_at_;
  }
  wakeup_.Signal();
  uint32_t count = 0;
  // An item that is tried and fails while the index is read has a new row farther on. It has had its turn.
  absl::flat_hash_set<QueueId> seen;
  std::string after;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(DuePage page, co_await parts_.spool.ReadDue(after, options_.page_rows));
    std::vector<QueueId> later, running;
    for (const DueEntry& entry : page.entries) {
      // An item that was accepted, or retried, after the call began.
      if (TimeOfQueueId(entry.queue_id) > order.at || seen.contains(entry.queue_id)) continue;
      if (!co_await WaitsFor(entry, order.domain)) continue;
      seen.insert(entry.queue_id);
      if (IsRunning(entry.queue_id)) {
        // The attempt began before the call: when it fails, the item is due, and the destination open, again.
        running.push_back(entry.queue_id);
      } else if (entry.due <= order.at && entry.destination.remote()) {
        ++count;  // it is due already
      } else {
        later.push_back(entry.queue_id);
      }
    }
    for (size_t at = 0; at < later.size(); at += kTogether) {
      std::vector<Task<absl::Status>> retries;
      for (size_t i = at; i < std::min(later.size(), at + kTogether); ++i)
        retries.push_back(RetryItem(later[i], order));
      for (const absl::Status& status : co_await WhenAll(std::move(retries))) count += status.ok() ? 1 : 0;
    }
    for (const QueueId& queue_id : running) {
      RetryOrder again = order;
      again.unblock = true;
      count += (co_await RetryItem(queue_id, std::move(again))).ok() ? 1 : 0;
    }
    if (!page.more) co_return count;
    after = page.last_key;
  }
}

bool Dispatcher::IsRunning(const QueueId& queue_id) {
  absl::MutexLock lock(&mutex_);
  const auto it = claims_.find(queue_id);
  return it != claims_.end() && it->second.running > 0;
}

std::vector<DestinationScheduler::SiteState> Dispatcher::Destinations() {
  absl::MutexLock lock(&mutex_);
  const absl::Time steady = Steady();
  std::vector<DestinationScheduler::SiteState> states = scheduler_.States(steady);
  // Operators read times of day.
  const absl::Duration offset = Now() - steady;
  for (DestinationScheduler::SiteState& state : states) {
    state.blocked_until += offset;
    state.failing_since += offset;
  }
  return states;
}

Destination Dispatcher::SiteFor(const Destination& destination) {
  absl::MutexLock lock(&mutex_);
  return SiteOf(destination);
}

// ---- after the clock was set back

void Dispatcher::CheckClock() {
  if (pull_back_at_ == absl::InfiniteFuture()) return;
  // No row waits longer than this.
  const BackoffPolicy& retry = options_.settlement.retry;
  const BackoffPolicy& block = options_.scheduler.remote_block;
  absl::Duration least = std::max(retry.max * (1 + retry.jitter), block.max * (1 + block.jitter)) + absl::Minutes(1);
  const absl::Duration back = options_.calm != nullptr ? options_.calm->TakeStepsBack() : absl::ZeroDuration();
  if (back > absl::ZeroDuration()) LOG_EVENT(kWarning, "clock_set_back").Seconds("by_seconds", back);
  if (back > kSmallStepBack) {
    // What was planned before lies about that far in the future. A retry that is as far away by right comes too early.
    least = std::min(least, back / 2);
  } else if (Steady() < pull_back_at_) {
    return;
  }
  pull_back_at_ = absl::InfiniteFuture();
  ++tasks_;
  Spawn(parts_.loops.Next(), PullBack(shared_from_this(), least));
}

Task<void> Dispatcher::PullBack(std::shared_ptr<Dispatcher> self, absl::Duration least) {
  const RetryOrder order{.at = self->Now(), .domain = "", .unblock = false};
  // The rows of an item that is pulled back leave this range, so each read begins anew.
  const std::string after = DueKey(order.at + least, QueueId());
  int64_t items = 0;
  std::string last;
  while (!self->stopping()) {
    absl::StatusOr<DuePage> page = co_await self->parts_.spool.ReadDue(after, kTogether);
    // Held messages are the last rows, and stay.
    if (page.ok()) std::erase_if(page->entries, [](const DueEntry& entry) { return entry.due >= kHeldUntil; });
    // After an error, or when rows do not match their items (Audit() repairs those), the next minute comes.
    if (!page.ok() || page->entries.empty() || page->last_key == last) break;
    last = page->last_key;
    std::vector<Task<absl::Status>> retries;
    for (const DueEntry& entry : page->entries) retries.push_back(self->RetryItem(entry.queue_id, order));
    int64_t done = 0;
    for (const absl::Status& status : co_await WhenAll(std::move(retries))) done += status.ok() ? 1 : 0;
    items += done;
    if (done == 0) break;
  }
  if (items > 0) LOG_EVENT(kWarning, "due_times_in_the_future").Int("items", items);
  absl::MutexLock lock(&self->mutex_);
  self->pull_back_at_ = self->Steady() + kPullBackInterval;
  --self->tasks_;  // the last thing: Drain() may be waiting for it
}

Task<absl::Status> Dispatcher::Delete(QueueId queue_id, bool bounce) {
  // With `cancel`, jobs that wait in line do not start.
  PH_CO_RETURN_IF_ERROR(co_await ClaimForOperator(queue_id, /*cancel=*/true));
  absl::StatusOr<std::optional<ItemRecord>> loaded = co_await parts_.spool.Load(queue_id);
  absl::Status status = loaded.status();
  if (loaded.ok() && !loaded->has_value()) {
    status = absl::NotFoundError(absl::StrCat("no message ", queue_id.Text(), " in the queue"));
  }
  if (status.ok()) {
    const auto active = std::make_shared<ActiveItem>(std::make_shared<ItemRecord>(**std::move(loaded)), nullptr);
    int double_bounces = 0;
    {
      absl::MutexLock lock(&active->mutex);
      double_bounces = ApplyDeletion(Now(), bounce, &active->record->item, &active->unsaved);
      active->unsaved.urgent = true;
    }
    CountDoubleBounces(active, double_bounces);
    status = co_await Save(active);
    if (status.ok()) LOG_EVENT(kInfo, "deleted").QueueId(queue_id.Text()).Bool("bounce", bounce);
  }
  {
    absl::MutexLock lock(&mutex_);
    if (!status.ok()) ScheduleRescan();  // its jobs were cancelled: find the item again
  }
  EndOperator(queue_id);
  co_return status;
}

}  // namespace posthouse::queue
