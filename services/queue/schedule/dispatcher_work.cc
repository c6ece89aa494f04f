// The steps of a job: load, prepare, attempt, settle. dispatcher_resolve.cc has how recipients are resolved.
#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/trace.h"
#include "services/common/status/status.h"
#include "services/common/tracing/span.h"
#include "services/queue/metrics.h"
#include "services/queue/schedule/dispatcher.h"
#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {
namespace {

constexpr uint64_t kHeaderBytes = 64 * 1024;
constexpr absl::Duration kSavePause = absl::Seconds(1);
constexpr absl::Duration kSavePauseMax = absl::Seconds(5);  // Drain() waits for it

std::string TraceId(const std::string& traceparent) {
  const auto trace = rpc::TraceContext::Parse(traceparent);
  return trace.has_value() ? trace->trace_id : "";
}

absl::string_view KindName(Outcome::Kind kind) {
  switch (kind) {
    case Outcome::Kind::kDelivered:
      return "delivered";
    case Outcome::Kind::kRelayed:
      return "relayed";
    case Outcome::Kind::kTemporary:
      return "temporary";
    case Outcome::Kind::kPermanent:
      return "permanent";
  }
  return "temporary";
}

// The span of an attempt, hours after its message came perhaps: the queue's record has kept the trace.
void EmitSpan(const DeliveryAttempt& attempt, const std::string& parent, const DeliveryResult& result,
              absl::Time started, absl::Time now) {
  if (!tracing::Wanted(attempt.trace)) return;
  tracing::Span span;
  span.trace = attempt.trace;
  span.parent_id = parent;
  span.name = "queue.attempt";
  span.start = started;
  span.end = now;
  span.attributes = {{"posthouse.queue_id", attempt.queue_id.Text()},
                     {"posthouse.destination", attempt.destination.ToString()},
                     {"posthouse.recipients", absl::StrCat(attempt.targets.size())}};
  for (const Outcome& outcome : result.outcomes) {
    if (outcome.kind == Outcome::Kind::kPermanent) span.status = absl::FailedPreconditionError("refused");
    if (outcome.kind == Outcome::Kind::kTemporary) span.status = absl::UnavailableError("deferred");
    if (!span.status.ok()) break;
  }
  tracing::Emit(std::move(span));
}

}  // namespace

DeliveryAttempt MakeAttempt(const v1::Item& item, const Destination& destination, absl::Time now) {
  DeliveryAttempt attempt(item.envelope());
  attempt.queue_id = QueueId::FromText(item.queue_id()).value_or(QueueId());
  attempt.destination = destination;
  attempt.accepted = FromProto(item.accepted());
  attempt.size_bytes = item.size_bytes();
  for (int i = 0; i < item.recipients_size(); ++i) {
    const v1::ItemRecipient& recipient = item.recipients(i);
    if (!IsWaiting(recipient) || FromProto(recipient.next_attempt()) > now) continue;
    if (DestinationOf(recipient) == destination) attempt.targets.push_back({i, recipient.recipient()});
  }
  return attempt;
}

Task<void> Dispatcher::RunJob(std::shared_ptr<Dispatcher> self, DestinationScheduler::Started started) {
  const Job job = started.job;
  Active active;
  bool slot_free = false;
  std::optional<RetryOrder> retry;
  const bool begun = self->Begin(job, &active, &retry);
  if (begun) {
    const bool fresh = active != nullptr && job.destination.resolved();
    if (active == nullptr) active = co_await self->Load(job, retry.has_value());
    if (active != nullptr) {
      // An error is logged, and the recipients stay due as they were.
      if (retry.has_value()) (co_await self->MakeDue(active, *std::move(retry))).IgnoreError();
      if (!fresh) co_await self->Prepare(active);
      if (job.destination.resolved()) slot_free = co_await self->TryDestination(active, started);
    }
  }
  Startable next;
  {
    absl::MutexLock lock(&self->mutex_);
    const absl::Time now = self->Now();
    if (!slot_free) self->scheduler_.Done(started.site, self->Steady());
    Claim& claim = self->claims_.at(job.queue_id);
    if (begun) --claim.running;
    self->ReleaseClaim(job.queue_id, job.destination, now);
    next = self->TakeStartable();
  }
  self->Launch(std::move(next), /*here=*/false);
  absl::MutexLock lock(&self->mutex_);
  --self->tasks_;  // the last thing: Drain() may be waiting for it
}

bool Dispatcher::Begin(const Job& job, Active* active, std::optional<RetryOrder>* retry) {
  absl::MutexLock lock(&mutex_);
  Claim& claim = claims_.at(job.queue_id);
  if (claim.cancelled) return false;
  ++claim.running;
  *active = claim.item;
  *retry = std::exchange(claim.retry, std::nullopt);
  return true;
}

// Null: the item cannot be loaded, is gone, or is not due yet.
Task<Dispatcher::Active> Dispatcher::Load(Job job, bool retry) {
  absl::StatusOr<std::optional<ItemRecord>> loaded = co_await parts_.spool.Load(job.queue_id);
  if (!loaded.ok()) {
    LOG_EVENT(kError, "item_unreadable").QueueId(job.queue_id.Text()).Err(loaded.status());
    absl::MutexLock lock(&mutex_);
    ScheduleRescan();
    co_return nullptr;
  }
  if (!loaded->has_value()) {
    Refile(job, nullptr);
    co_return nullptr;
  }
  auto active = std::make_shared<ActiveItem>(std::make_shared<ItemRecord>(**std::move(loaded)), nullptr);
  absl::MutexLock lock(&mutex_);
  absl::MutexLock active_lock(&active->mutex);
  if (active->stored_due != job.due) Refile(job, active->record.get());
  if (active->stored_due > Now() && !retry) {
    // The row has moved since the window read it.
    window_.Add({active->stored_due, job.queue_id, DestinationOf(active->record->item), Wake(active->record->item)});
    co_return nullptr;
  }
  claims_.at(job.queue_id).item = active;
  co_return active;
}

// Moves a due row that does not match its item (key_schema.h). Mostly the row had moved
// since the window read it; then this changes nothing.
void Dispatcher::Refile(const Job& job, const ItemRecord* record) {
  Change change;
  change.lazy = true;
  change.Remove(DueKey(job.due, job.queue_id));
  if (record != nullptr) change.Set(DueKey(record->due(), job.queue_id), DueValueOf(*record, Wake(record->item)));
  parts_.spool.Submit(std::move(change), [](absl::Status status) { log::LogIfError(status, "re-filing a due row"); });
}

Task<void> Dispatcher::Prepare(Active active) {
  std::set<Destination> destinations;
  {
    absl::MutexLock lock(&active->mutex);
    for (const auto& recipient : active->record->item.recipients()) destinations.insert(DestinationOf(recipient));
  }
  // Why those that are blocked are: a recipient that was never tried has no answer of its own to report.
  std::map<Destination, v1::Attempt> blocked;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time steady = Steady();
    for (const Destination& destination : destinations) {
      const std::optional<DestinationScheduler::SiteState> state = scheduler_.StateOf(SiteOf(destination));
      if (state.has_value() && state->blocked_until > steady) blocked[destination] = state->last_failure;
    }
  }
  int double_bounces = 0;
  bool save = false;
  {
    absl::MutexLock lock(&active->mutex);
    const auto failure_of = [&](const Destination& d) {
      const auto it = blocked.find(d);
      return it == blocked.end() ? nullptr : &it->second;
    };
    v1::Item* const item = &active->record->item;
    const absl::Time now = Now() - SteppedSince(FromProto(item->accepted()));
    double_bounces = ApplyTime(now, options_.settlement, failure_of, item, &active->unsaved);
  }
  CountDoubleBounces(active, double_bounces);
  co_await Resolve(active);
  {
    absl::MutexLock lock(&active->mutex);
    save = active->unsaved.any();
  }
  if (save) (co_await Save(active)).IgnoreError();  // logged; the item stays due
}

Task<bool> Dispatcher::TryDestination(Active active, DestinationScheduler::Started started) {
  const Destination& destination = started.job.destination;
  if (!destination.remote() && !co_await ResolveAgain(active, destination)) co_return false;
  AttemptTime time{.started = Now()};
  active->mutex.Lock();
  DeliveryAttempt attempt = MakeAttempt(active->record->item, destination, time.started);
  active->mutex.Unlock();
  if (attempt.targets.empty()) co_return false;
  attempt.memory = active->memory;
  attempt.read = [spool = &parts_.spool, id = active->queue_id, blob = active->record->item.blob()](
                     uint64_t offset, uint64_t length) { return spool->ReadBody(id, blob, offset, length); };
  const std::optional<rpc::TraceContext> message = rpc::TraceContext::Parse(attempt.envelope.traceparent());
  if (message.has_value()) attempt.trace = message->Child();
  Delivery& delivery = destination.remote() ? parts_.remote : parts_.local;
  DeliveryResult result = co_await delivery.Deliver(attempt);
  if (message.has_value()) EmitSpan(attempt, message->parent_id, result, time.started, Now());
  time.now = Now();
  time.random = Random();
  time.stepped = SteppedSince(attempt.accepted);
  time.unreachable = result.reachability == Reachability::kUnreachable;
  ReportSite(started, result, time.now, &time);
  bool cut = false;
  {
    absl::MutexLock lock(&mutex_);
    cut = aborting_;
  }
  if (cut) {
    // Drain() aborted the attempt: the recipients that it did not settle stay due.
    for (size_t i = result.outcomes.size(); i-- > 0;) {
      if (result.outcomes[i].kind != Outcome::Kind::kTemporary) continue;
      result.outcomes.erase(result.outcomes.begin() + static_cast<ptrdiff_t>(i));
      attempt.targets.erase(attempt.targets.begin() + static_cast<ptrdiff_t>(i));
    }
    if (result.outcomes.empty()) co_return true;
  }
  LogOutcomes(attempt, result, time.started, time.now);
  int double_bounces = 0;
  {
    absl::MutexLock lock(&active->mutex);
    double_bounces = ApplyOutcomes(attempt.targets, result.outcomes, time, options_.settlement, &active->record->item,
                                   &active->unsaved);
  }
  CountDoubleBounces(active, double_bounces);
  (co_await Save(active)).IgnoreError();  // logged; the item stays due
  co_return true;
}

void Dispatcher::ReportSite(const DestinationScheduler::Started& started, const DeliveryResult& result, absl::Time now,
                            AttemptTime* time) {
  Startable next;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time steady = Steady();
    scheduler_.Done(started.site, steady);
    std::vector<Destination> sites = {started.site};
    if (Destination site = Destination::Remote(result.site); !result.site.empty() && site != started.site) {
      sites_.Learn(started.job.destination, site);
      sites.push_back(std::move(site));
    }
    for (const Destination& site : sites) {
      for (const Job& returned : scheduler_.Report(site, result.reachability, steady, time->random)) {
        ReleaseClaim(returned.queue_id, returned.destination, now);
      }
      if (result.reachability == Reachability::kUnreachable && !result.outcomes.empty()) {
        v1::Attempt failure = result.outcomes.back().attempt;
        ToProto(time->started, failure.mutable_at());
        ToProto(now - time->started, failure.mutable_took());
        scheduler_.NoteFailure(site, std::move(failure));
      }
      time->blocked_until = std::max(time->blocked_until, BlockedUntil(site));
    }
    next = TakeStartable();
  }
  Launch(std::move(next), /*here=*/false);
}

void Dispatcher::LogOutcomes(const DeliveryAttempt& attempt, const DeliveryResult& result, absl::Time started,
                             absl::Time now) {
  const bool local = !attempt.destination.remote();
  const std::string trace_id = TraceId(attempt.envelope.traceparent());
  for (size_t i = 0; i < result.outcomes.size() && i < attempt.targets.size(); ++i) {
    const Outcome& outcome = result.outcomes[i];
    parts_.metrics.Attempt(attempt.destination, outcome);
    const bool done = outcome.kind == Outcome::Kind::kDelivered || outcome.kind == Outcome::Kind::kRelayed;
    if (done) parts_.metrics.Delivered(local, now - attempt.accepted, trace_id);
    if (!log::Enabled(log::Level::kInfo)) continue;
    log::Event event(log::Level::kInfo, "attempt");
    event.QueueId(attempt.queue_id.Text()).Trace(trace_id).Str("outcome", KindName(outcome.kind));
    event.Str("recipient", attempt.targets[i].recipient.address()).Str("status", outcome.status);
    if (!outcome.attempt.host().empty()) event.Str("host", outcome.attempt.host());
    if (!outcome.attempt.address().empty()) event.Str("address", outcome.attempt.address());
    if (outcome.attempt.reply().code() != 0) {
      event.Int("reply", outcome.attempt.reply().code()).Str("text", outcome.attempt.reply().text());
    }
    if (!outcome.attempt.tls().empty()) event.Str("tls", outcome.attempt.tls());
    if (!outcome.attempt.error().empty()) event.Str("error", outcome.attempt.error());
    event.Seconds("took_seconds", now - started).Seconds("age_seconds", now - attempt.accepted);
  }
}

void Dispatcher::CountDoubleBounces(const Active& active, int recipients) {
  if (recipients == 0) return;
  // RFC 5321 §4.5.5: no report about a message with the null reverse-path.
  parts_.metrics.double_bounces.Add(recipients);
  LOG_EVENT(kWarning, "double_bounce").QueueId(active->queue_id.Text()).Int("recipients", recipients);
}

// ---- saving

Task<absl::Status> Dispatcher::Save(Active active) {
  const AsyncMutex::Guard guard = co_await active->save.Lock();
  absl::Duration pause = kSavePause;
  while (true) {
    absl::Status status = co_await SaveOnce(active, /*from_reserve=*/false);
    if (absl::IsResourceExhausted(status)) {
      const absl::StatusOr<store::CapacityInfo> capacity = co_await parts_.spool.store().Capacity();
      if (capacity.ok() && capacity->rewrites_fit) status = co_await SaveOnce(active, /*from_reserve=*/true);
    }
    if (status.ok()) co_return status;
    parts_.metrics.save_failures.Add();
    LogNotSaved(active, status);
    if (stopping() || !parts_.spool.healthy().ok()) co_return status;
    co_await Sleep(pause);
    pause = std::min(pause * 2, kSavePauseMax);
  }
}

void Dispatcher::LogNotSaved(const Active& active, const absl::Status& why) {
  int64_t not_logged = 0;
  if (!not_saved_log_.Allow(&not_logged)) return;
  LOG_EVENT(kError, "outcome_not_saved").QueueId(active->queue_id.Text()).Int("not_logged", not_logged).Err(why);
}

Task<absl::Status> Dispatcher::SaveOnce(Active active, bool from_reserve) {
  Unsaved saving;
  Change change;
  absl::Time due;
  while (true) {
    v1::Item item;
    std::vector<Notice> notices;
    {
      absl::MutexLock lock(&active->mutex);
      if (active->unsaved.notices.empty()) {
        if (!active->unsaved.any()) co_return absl::OkStatus();  // another job has saved it
        saving = std::exchange(active->unsaved, Unsaved());
        change = BuildChange(*active, saving);
        // A report is a new message, and waits for room.
        change.from_reserve = from_reserve && saving.reports.empty();
        due = active->record->due();
        break;
      }
      // Reports are written first: a state is committed together with its report.
      notices.swap(active->unsaved.notices);
      item = active->record->item;
    }
    PH_CO_RETURN_IF_ERROR(co_await WriteReport(active, std::move(item), std::move(notices)));
  }
  const absl::Status status = co_await parts_.spool.Commit(std::move(change));
  {
    absl::MutexLock lock(&active->mutex);
    if (!status.ok()) {
      active->record->recipient_rows = 0;  // it is not known which exist: write all
      saving.ledger += active->unsaved.ledger;
      saving.changed.merge(active->unsaved.changed);
      saving.urgent |= active->unsaved.urgent;
      saving.notices = std::move(active->unsaved.notices);
      active->unsaved = std::move(saving);
      co_return status;
    }
    active->stored_due = due;
    active->settled = AllSettled(active->record->item) && !active->unsaved.any();
  }
  for (ReportItem& report : saving.reports) Accept(std::move(report.record), std::move(report.body.memory));
  co_return absl::OkStatus();
}

Change Dispatcher::BuildChange(ActiveItem& active, const Unsaved& saving) {
  Change change;
  const std::vector<int> changed(saving.changed.begin(), saving.changed.end());
  const bool settled = AllSettled(active.record->item);
  if (settled) {
    AddSettle(active.record.get(), active.stored_due, Now(), changed, &change);
  } else {
    RefreshNextAttempt(&active.record->item);
    AddUpdate(active.record.get(), active.stored_due, Wake(active.record->item), changed, &change);
  }
  change.ledger += saving.ledger;
  for (const ReportItem& report : saving.reports) {
    const std::string* body = report.body.blob ? nullptr : report.body.memory.get();
    AddNewItem(report.record.get(), body, Wake(report.record->item), &change);
  }
  change.removal_only_ok = settled && saving.reports.empty();
  // A mailbox knows which deliveries it has stored: after a crash their repetition does
  // nothing. A remote host would accept the message again.
  change.lazy = !saving.urgent;
  return change;
}

Task<absl::Status> Dispatcher::WriteReport(Active active, v1::Item item, std::vector<Notice> notices) {
  const absl::Time now = Now();
  const uint64_t whole = ReturnBytes(item, notices, options_.bounce);
  absl::StatusOr<std::string> content = co_await ReadMessage(active, item, whole > 0 ? whole : kHeaderBytes);
  if (!content.ok()) LOG_EVENT(kError, "report_without_message").QueueId(active->queue_id.Text()).Err(content.status());
  const bool full = whole > 0 && content.ok();
  std::unique_ptr<BodyWriter> writer = parts_.spool.NewBody();
  const dsn::Composed composed = dsn::Compose(MakeReport(item, notices, content.ok() ? *std::move(content) : "", full,
                                                         writer->queue_id(), now, options_.bounce));
  absl::StatusOr<Body> body = absl::UnknownError("not written");
  const absl::Status written = co_await writer->Append(composed.message);
  if (written.ok()) {
    body = co_await writer->Finish();
  } else {
    body = written;
  }
  absl::MutexLock lock(&active->mutex);
  if (!body.ok()) {
    active->unsaved.notices.insert(active->unsaved.notices.begin(), notices.begin(), notices.end());
    co_return body.status();
  }
  for (const Notice& notice : notices) parts_.metrics.ReportSent(notice.action);
  std::shared_ptr<ItemRecord> record = NewReportRecord(item, composed, *body, now, options_.bounce);
  LOG_EVENT(kInfo, "report")
      .QueueId(body->queue_id.Text())
      .Trace(TraceId(item.envelope().traceparent()))
      .Str("about", active->queue_id.Text());
  active->unsaved.reports.push_back({std::move(record), *std::move(body)});
  co_return absl::OkStatus();
}

Task<absl::StatusOr<std::string>> Dispatcher::ReadMessage(Active active, const v1::Item& item, uint64_t bytes) {
  bytes = std::min<uint64_t>(bytes, item.size_bytes());
  if (active->memory != nullptr) co_return active->memory->substr(0, bytes);
  const absl::StatusOr<absl::Cord> read = co_await parts_.spool.ReadBody(active->queue_id, item.blob(), 0, bytes);
  if (!read.ok()) co_return read.status();
  co_return std::string(*read);
}

}  // namespace posthouse::queue
