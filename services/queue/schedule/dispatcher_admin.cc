// What operators ask of the dispatcher.
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/queue/schedule/dispatcher_impl.h"

namespace posthouse::queue {
namespace {
constexpr size_t kTogether = 100;
constexpr size_t kScanRows = 1000;
// How long an operator's call waits for an attempt that is in progress.
constexpr int kPatience = 50;
constexpr absl::Duration kPause = absl::Milliseconds(100);

absl::Status BeingDelivered() {
  return absl::FailedPreconditionError("the message is being delivered at this moment; try again");
}
}  // namespace

// A claim that no job runs under: a new one, or, with jobs that wait in line, theirs.
// `cancel` keeps those from starting. Given back by EndOperator().
Task<absl::Status> DispatcherImpl::ClaimForOperator(std::string queue_id, bool cancel) {
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

// The item, under a claim; jobs that wait in line share it. Null: they have not loaded
// it yet, and make it due when they do.
Task<absl::StatusOr<DispatcherImpl::Live>> DispatcherImpl::LoadForOperator(std::string queue_id) {
  PH_CO_RETURN_IF_ERROR(co_await ClaimForOperator(queue_id, /*cancel=*/false));
  Live shared;
  bool waits = false;
  {
    absl::MutexLock lock(&mutex_);
    Claim& claim = claims_.at(queue_id);
    shared = claim.live;
    waits = claim.holders > 1;
    claim.retry = waits && shared == nullptr;
  }
  if (shared != nullptr) co_return shared;
  if (waits) {
    EndOperator(queue_id);
    co_return Live();
  }
  absl::StatusOr<std::optional<Record>> loaded = co_await parts_.spool.Load(queue_id);
  if (!loaded.ok() || !loaded->has_value()) {
    if (!loaded.ok()) {
      // Its due row may have been passed over meanwhile, as claimed.
      absl::MutexLock lock(&mutex_);
      Stray(Now());
    }
    EndOperator(queue_id);
    if (!loaded.ok()) co_return loaded.status();
    co_return absl::NotFoundError(absl::StrCat("no message ", queue_id, " in the queue"));
  }
  auto live = std::make_shared<LiveItem>(std::make_shared<Record>(**std::move(loaded)), nullptr);
  absl::MutexLock lock(&mutex_);
  claims_.at(queue_id).live = live;
  co_return live;
}

void DispatcherImpl::EndOperator(const std::string& queue_id) {
  Startable next;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = Now();
    Leave(queue_id, kNoDestination, now);
    next = TakeStartable(now);
  }
  Launch(std::move(next), /*here=*/false);
}

Task<absl::Status> DispatcherImpl::Retry(std::string queue_id) {
  PH_CO_ASSIGN_OR_RETURN(const Live live, co_await LoadForOperator(queue_id));
  if (live == nullptr) co_return absl::OkStatus();
  const absl::Status saved = co_await MakeDue(live);
  EndOperator(queue_id);  // which lines it up
  co_return saved;
}

Task<absl::Status> DispatcherImpl::MakeDue(Live live) {
  const absl::Time now = Now();
  std::set<std::string> destinations;
  {
    absl::MutexLock lock(&live->mutex);
    for (int i = 0; i < live->record->item.recipients_size(); ++i) {
      v1::ItemRecipient* recipient = live->record->item.mutable_recipients(i);
      if (!IsWaiting(*recipient)) continue;
      ToProto(now, recipient->mutable_next_attempt());
      live->unsaved.changed.insert(i);
      destinations.insert(DestinationOf(*recipient));
    }
    live->unsaved.urgent = true;
  }
  {
    absl::MutexLock lock(&mutex_);
    for (const std::string& destination : destinations) sites_.Unblock(SiteOf(destination));
  }
  co_return co_await Save(live);
}

Task<absl::StatusOr<uint32_t>> DispatcherImpl::RetryDestination(std::string domain) {
  {
    absl::MutexLock lock(&mutex_);
    sites_.Unblock(SiteOf(domain));
  }
  uint32_t count = 0;
  std::string after;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(DuePage page, co_await parts_.spool.ReadDue(after, kScanRows));
    std::vector<std::string> ids;
    for (const DueEntry& entry : page.entries) {
      if (entry.destination == domain) ids.push_back(entry.queue_id);
      if (!entry.destination.empty()) continue;
      // Several destinations: ask the item.
      absl::StatusOr<std::optional<Record>> record = co_await parts_.spool.Load(entry.queue_id);
      if (!record.ok() || !record->has_value()) continue;
      for (const auto& recipient : (*record)->item.recipients()) {
        if (!IsWaiting(recipient) || DestinationOf(recipient) != domain) continue;
        ids.push_back(entry.queue_id);
        break;
      }
    }
    for (size_t at = 0; at < ids.size(); at += kTogether) {
      std::vector<Task<absl::Status>> retries;
      for (size_t i = at; i < std::min(ids.size(), at + kTogether); ++i) retries.push_back(Retry(ids[i]));
      for (const absl::Status& status : co_await WhenAll(std::move(retries))) count += status.ok() ? 1 : 0;
    }
    if (!page.more) co_return count;
    // Rows that were moved to "now" lie behind; what comes next is beyond the page.
    after = page.last_key;
  }
}

Task<absl::Status> DispatcherImpl::Delete(std::string queue_id, bool bounce) {
  // Jobs that wait in line will not start.
  PH_CO_RETURN_IF_ERROR(co_await ClaimForOperator(queue_id, /*cancel=*/true));
  absl::StatusOr<std::optional<Record>> loaded = co_await parts_.spool.Load(queue_id);
  absl::Status status = loaded.status();
  if (loaded.ok() && !loaded->has_value()) {
    status = absl::NotFoundError(absl::StrCat("no message ", queue_id, " in the queue"));
  }
  if (status.ok()) {
    const auto live = std::make_shared<LiveItem>(std::make_shared<Record>(**std::move(loaded)), nullptr);
    int nobody = 0;
    {
      absl::MutexLock lock(&live->mutex);
      nobody = ApplyDeletion(Now(), bounce, &live->record->item, &live->unsaved);
      live->unsaved.urgent = true;
    }
    CountNobody(live, nobody);
    status = co_await Save(live);
    if (status.ok()) LOG_EVENT(kInfo, "deleted").QueueId(queue_id).Bool("bounce", bounce);
  }
  {
    absl::MutexLock lock(&mutex_);
    if (!status.ok()) Stray(Now());  // a job that was cancelled is found again
  }
  EndOperator(queue_id);
  co_return status;
}

}  // namespace posthouse::queue
