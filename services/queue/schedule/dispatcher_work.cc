// What a job does: load, prepare, attempt, settle.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/rpc/trace.h"
#include "services/common/status/status.h"
#include "services/queue/schedule/dispatcher_impl.h"
#include "services/queue/spool/key_schema.h"
#include "services/queue/schedule/resolution.h"

namespace posthouse::queue {
namespace {

constexpr uint64_t kHeaderBytes = 64 * 1024;
constexpr absl::Duration kSavePause = absl::Seconds(1);
constexpr absl::Duration kSavePauseMax = absl::Seconds(5);  // a drain waits so long at most

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

}  // namespace

Transaction MakeTransaction(const v1::Item& item, const std::string& destination, absl::Time now) {
  Transaction t;
  for (int i = 0; i < item.recipients_size(); ++i) {
    const v1::ItemRecipient& recipient = item.recipients(i);
    if (!IsWaiting(recipient) || FromProto(recipient.next_attempt()) > now) continue;
    if (DestinationOf(recipient) == destination) t.targets.push_back({i, recipient.recipient()});
  }
  if (t.targets.empty()) return t;
  const v1::Envelope& envelope = item.envelope();
  t.queue_id = item.queue_id();
  t.destination = destination;
  t.reverse_path = envelope.reverse_path();
  t.body = envelope.body();
  t.smtputf8 = envelope.smtputf8();
  t.ret = envelope.ret();
  t.envid = envelope.envid();
  t.traceparent = envelope.traceparent();
  t.accepted = FromProto(item.accepted());
  t.size_bytes = item.size_bytes();
  return t;
}

Task<void> DispatcherImpl::RunJob(std::shared_ptr<DispatcherImpl> self, Sites::Started started) {
  const Job job = started.job;
  Live live;
  bool slot_free = false;
  bool retry = false;
  const bool begun = self->Begin(job, &live, &retry);
  if (begun) {
    const bool fresh = live != nullptr && !job.destination.empty();
    if (live == nullptr) live = co_await self->Load(job, retry);
    if (live != nullptr) {
      if (retry) (co_await self->MakeDue(live)).IgnoreError();  // logged; it was due as it was
      if (!fresh) co_await self->Prepare(live);
      if (!job.destination.empty()) slot_free = co_await self->Attempt(live, started);
    }
  }
  Startable next;
  {
    absl::MutexLock lock(&self->mutex_);
    const absl::Time now = self->Now();
    if (!slot_free) self->sites_.Done(started.site);
    Claim& claim = self->claims_.at(job.queue_id);
    if (begun) --claim.running;
    self->Leave(job.queue_id, job.destination, now);
    next = self->TakeStartable(now);
  }
  self->Launch(std::move(next), /*here=*/false);
  absl::MutexLock lock(&self->mutex_);
  --self->tasks_;  // the last thing: Drain() may be waiting for it
}

bool DispatcherImpl::Begin(const Job& job, Live* live, bool* retry) {
  absl::MutexLock lock(&mutex_);
  Claim& claim = claims_.at(job.queue_id);
  if (claim.cancelled) return false;
  ++claim.running;
  *live = claim.live;
  *retry = std::exchange(claim.retry, false);
  return true;
}

// Null: there is nothing to do now.
Task<DispatcherImpl::Live> DispatcherImpl::Load(Job job, bool retry) {
  absl::StatusOr<std::optional<Record>> loaded = co_await parts_.spool.Load(job.queue_id);
  if (!loaded.ok()) {
    LOG_EVENT(kError, "item_unreadable").QueueId(job.queue_id).Err(loaded.status());
    absl::MutexLock lock(&mutex_);
    Stray(Now());
    co_return nullptr;
  }
  if (!loaded->has_value()) {
    Refile(job, nullptr);
    co_return nullptr;
  }
  auto live = std::make_shared<LiveItem>(std::make_shared<Record>(**std::move(loaded)), nullptr);
  absl::MutexLock lock(&mutex_);
  absl::MutexLock live_lock(&live->mutex);
  if (live->stored_due != job.due) Refile(job, live->record.get());
  if (live->stored_due > Now() && !retry) {
    // The entry was older than the row.
    window_.Add({live->stored_due, job.queue_id, DestinationOf(live->record->item), Wake(live->record->item)});
    co_return nullptr;
  }
  claims_.at(job.queue_id).live = live;
  co_return live;
}

// A due row that does not match its item (key_schema.h). Mostly an entry that was
// read just before its row moved; then this changes nothing.
void DispatcherImpl::Refile(const Job& job, const Record* record) {
  Change change;
  change.lazy = true;
  change.queue_id = job.queue_id;
  change.Remove(DueKey(job.due, job.queue_id));
  if (record != nullptr) change.Set(DueKey(record->due(), job.queue_id), DueValueOf(*record, Wake(record->item)));
  parts_.spool.Submit(std::move(change), [](absl::Status status) { log::LogIfError(status, "re-filing a due row"); });
}

Task<void> DispatcherImpl::Prepare(Live live) {
  std::set<std::string> destinations;
  {
    absl::MutexLock lock(&live->mutex);
    for (const auto& recipient : live->record->item.recipients()) destinations.insert(DestinationOf(recipient));
  }
  const absl::Time now = Now();
  {
    absl::MutexLock lock(&mutex_);
    std::erase_if(destinations, [&](const std::string& d)
                                    ABSL_NO_THREAD_SAFETY_ANALYSIS { return sites_.BlockedUntil(SiteOf(d)) <= now; });
  }
  int nobody = 0;
  bool save = false;
  {
    absl::MutexLock lock(&live->mutex);
    nobody = ApplyTime(
        now, options_.settlement, [&](const std::string& d) { return destinations.contains(d); }, &live->record->item,
        &live->unsaved);
  }
  CountNobody(live, nobody);
  co_await Resolve(live);
  {
    absl::MutexLock lock(&live->mutex);
    save = live->unsaved.any();
  }
  if (save) (co_await Save(live)).IgnoreError();  // logged; the item stays due
}

Task<void> DispatcherImpl::Resolve(Live live) {
  Transaction unknown;
  {
    absl::MutexLock lock(&live->mutex);
    unknown = MakeTransaction(live->record->item, "", Now());
  }
  for (const Target& target : unknown.targets) {
    const absl::Time started = Now();
    const auto answer = co_await parts_.routing.Recipient(target.recipient.address());
    AttemptTime time{.started = started, .now = Now(), .random = Random()};
    std::optional<Outcome> failed;
    int nobody = 0;
    {
      absl::MutexLock lock(&live->mutex);
      v1::Item* item = &live->record->item;
      failed = ApplyResolution(target.index, answer, time.now, options_.settlement, item, &live->unsaved);
      if (failed.has_value()) {
        nobody = ApplyOutcomes({target}, {*failed}, time, options_.settlement, item, &live->unsaved);
      }
    }
    CountNobody(live, nobody);
    if (!failed.has_value()) continue;
    unknown.targets = {target};
    LogOutcomes(unknown, {.outcomes = {*failed}}, started, time.now);
    co_return;  // the rest is looked at when the item comes again
  }
}

Task<bool> DispatcherImpl::Attempt(Live live, Sites::Started started) {
  const std::string& destination = started.job.destination;
  AttemptTime time{.started = Now()};
  Transaction transaction;
  {
    absl::MutexLock lock(&live->mutex);
    transaction = MakeTransaction(live->record->item, destination, time.started);
    if (transaction.targets.empty()) co_return false;
    transaction.memory = live->memory;
    transaction.read = [spool = &parts_.spool, id = live->queue_id, blob = live->record->item.blob()](
                           uint64_t offset, uint64_t length) { return spool->ReadBody(id, blob, offset, length); };
  }
  Delivery& delivery = Sites::IsLocal(destination) ? parts_.local : parts_.remote;
  DeliveryResult result = co_await delivery.Deliver(transaction);
  time.now = Now();
  time.random = Random();
  time.unreachable = result.reach == Reach::kUnreachable;
  ReportSite(started, result, time.now, &time);
  bool cut = false;
  {
    absl::MutexLock lock(&mutex_);
    cut = aborting_;
  }
  if (cut) {
    // What we cut ourselves says nothing about the recipient: it stays due.
    for (size_t i = result.outcomes.size(); i-- > 0;) {
      if (result.outcomes[i].kind != Outcome::Kind::kTemporary) continue;
      result.outcomes.erase(result.outcomes.begin() + static_cast<ptrdiff_t>(i));
      transaction.targets.erase(transaction.targets.begin() + static_cast<ptrdiff_t>(i));
    }
    if (result.outcomes.empty()) co_return true;
  }
  LogOutcomes(transaction, result, time.started, time.now);
  int nobody = 0;
  {
    absl::MutexLock lock(&live->mutex);
    nobody = ApplyOutcomes(transaction.targets, result.outcomes, time, options_.settlement, &live->record->item,
                           &live->unsaved);
  }
  CountNobody(live, nobody);
  (co_await Save(live)).IgnoreError();  // logged; the item stays due
  co_return true;
}

void DispatcherImpl::ReportSite(const Sites::Started& started, const DeliveryResult& result, absl::Time now,
                                AttemptTime* time) {
  Startable next;
  {
    absl::MutexLock lock(&mutex_);
    sites_.Done(started.site);
    std::vector<std::string> sites = {started.site};
    if (!Sites::IsLocal(started.site) && !result.site.empty() && result.site != started.site) {
      Learn(started.job.destination, result.site);
      sites.push_back(result.site);
    }
    for (const std::string& site : sites) {
      for (const Job& returned : sites_.Report(site, result.reach, now, time->random)) {
        Leave(returned.queue_id, returned.destination, now);
      }
      time->blocked_until = std::max(time->blocked_until, sites_.BlockedUntil(site));
    }
    next = TakeStartable(now);
  }
  Launch(std::move(next), /*here=*/false);
}

void DispatcherImpl::LogOutcomes(const Transaction& transaction, const DeliveryResult& result, absl::Time started,
                                 absl::Time now) {
  const bool local = Sites::IsLocal(transaction.destination);
  const std::string trace_id = TraceId(transaction.traceparent);
  for (size_t i = 0; i < result.outcomes.size() && i < transaction.targets.size(); ++i) {
    const Outcome& outcome = result.outcomes[i];
    parts_.metrics.Attempt(local, outcome);
    const bool done = outcome.kind == Outcome::Kind::kDelivered || outcome.kind == Outcome::Kind::kRelayed;
    if (done) parts_.metrics.Delivered(local, now - transaction.accepted);
    if (!log::Enabled(log::Level::kInfo)) continue;
    log::Event event(log::Level::kInfo, "attempt");
    event.QueueId(transaction.queue_id).Trace(trace_id).Str("outcome", KindName(outcome.kind));
    event.Str("recipient", transaction.targets[i].recipient.address()).Str("status", outcome.status);
    if (!outcome.attempt.host().empty()) event.Str("host", outcome.attempt.host());
    if (!outcome.attempt.address().empty()) event.Str("address", outcome.attempt.address());
    if (outcome.attempt.reply().code() != 0) {
      event.Int("reply", outcome.attempt.reply().code()).Str("text", outcome.attempt.reply().text());
    }
    if (!outcome.attempt.tls().empty()) event.Str("tls", outcome.attempt.tls());
    if (!outcome.attempt.error().empty()) event.Str("error", outcome.attempt.error());
    event.Seconds("took_seconds", now - started).Seconds("age_seconds", now - transaction.accepted);
  }
}

void DispatcherImpl::CountNobody(const Live& live, int nobody) {
  if (nobody == 0) return;
  // RFC 5321 §4.5.5: a report is never answered with a report.
  parts_.metrics.double_bounces.Add(nobody);
  LOG_EVENT(kWarning, "double_bounce").QueueId(live->queue_id).Int("recipients", nobody);
}

// ---- saving

Task<absl::Status> DispatcherImpl::Save(Live live) {
  const AsyncMutex::Guard guard = co_await live->save.Lock();
  absl::Duration pause = kSavePause;
  while (true) {
    const absl::Status status = co_await SaveOnce(live);
    if (status.ok()) co_return status;
    parts_.metrics.save_failures.Add();
    LOG_EVENT(kError, "outcome_not_saved").QueueId(live->queue_id).Err(status);
    if (stopping() || !parts_.spool.healthy().ok()) co_return status;
    co_await Sleep(pause);
    pause = std::min(pause * 2, kSavePauseMax);
  }
}

Task<absl::Status> DispatcherImpl::SaveOnce(Live live) {
  Unsaved saving;
  Change change;
  absl::Time due;
  while (true) {
    v1::Item item;
    std::vector<Notice> notices;
    {
      absl::MutexLock lock(&live->mutex);
      if (live->unsaved.notices.empty()) {
        if (!live->unsaved.any()) co_return absl::OkStatus();  // another job's save took it along
        saving = std::exchange(live->unsaved, Unsaved());
        change = BuildChange(*live, saving);
        due = live->record->due();
        break;
      }
      // Reports are written first: no state is committed without what it owes.
      notices.swap(live->unsaved.notices);
      item = live->record->item;
    }
    PH_CO_RETURN_IF_ERROR(co_await WriteReport(live, std::move(item), std::move(notices)));
  }
  const absl::Status status = co_await parts_.spool.Commit(std::move(change));
  {
    absl::MutexLock lock(&live->mutex);
    if (!status.ok()) {
      live->record->recipient_rows = 0;  // nothing is known of them: write all
      saving.ledger += live->unsaved.ledger;
      saving.changed.merge(live->unsaved.changed);
      saving.urgent |= live->unsaved.urgent;
      saving.notices = std::move(live->unsaved.notices);
      live->unsaved = std::move(saving);
      co_return status;
    }
    live->stored_due = due;
    live->settled = AllSettled(live->record->item) && !live->unsaved.any();
  }
  for (ReportItem& report : saving.reports) Accept(std::move(report.record), std::move(report.body.memory));
  co_return absl::OkStatus();
}

Change DispatcherImpl::BuildChange(LiveItem& live, const Unsaved& saving) {
  Change change;
  const std::vector<int> changed(saving.changed.begin(), saving.changed.end());
  const bool settled = AllSettled(live.record->item);
  if (settled) {
    AddSettle(live.record.get(), live.stored_due, Now(), changed, &change);
  } else {
    RefreshNextAttempt(&live.record->item);
    AddUpdate(live.record.get(), live.stored_due, Wake(live.record->item), changed, &change);
  }
  change.ledger += saving.ledger;
  for (const ReportItem& report : saving.reports) {
    const std::string* body = report.body.blob ? nullptr : report.body.memory.get();
    AddNewItem(report.record.get(), body, Wake(report.record->item), &change);
  }
  change.settles = settled && saving.reports.empty();
  // What a mailbox has is known to it: a crash costs a repeated no-op. What a remote
  // host has is known to us only.
  change.lazy = !saving.urgent;
  return change;
}

Task<absl::Status> DispatcherImpl::WriteReport(Live live, v1::Item item, std::vector<Notice> notices) {
  const absl::Time now = Now();
  const uint64_t whole = ReturnBytes(item, notices, options_.bounce);
  absl::StatusOr<std::string> content = co_await ReadMessage(live, item, whole > 0 ? whole : kHeaderBytes);
  if (!content.ok()) LOG_EVENT(kError, "report_without_message").QueueId(live->queue_id).Err(content.status());
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
  absl::MutexLock lock(&live->mutex);
  if (!body.ok()) {
    live->unsaved.notices.insert(live->unsaved.notices.begin(), notices.begin(), notices.end());
    co_return body.status();
  }
  for (const Notice& notice : notices) parts_.metrics.ReportSent(notice.action);
  std::shared_ptr<Record> record = MakeReportRecord(item, composed, *body, now, options_.bounce);
  LOG_EVENT(kInfo, "report")
      .QueueId(body->queue_id)
      .Trace(TraceId(item.envelope().traceparent()))
      .Str("about", live->queue_id);
  live->unsaved.reports.push_back({std::move(record), *std::move(body)});
  co_return absl::OkStatus();
}

Task<absl::StatusOr<std::string>> DispatcherImpl::ReadMessage(Live live, const v1::Item& item, uint64_t bytes) {
  bytes = std::min<uint64_t>(bytes, item.size_bytes());
  if (live->memory != nullptr) co_return live->memory->substr(0, bytes);
  const absl::StatusOr<absl::Cord> read = co_await parts_.spool.ReadBody(item.queue_id(), item.blob(), 0, bytes);
  if (!read.ok()) co_return read.status();
  co_return std::string(*read);
}

}  // namespace posthouse::queue
