#include "services/queue/spool/spool.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/queue/spool/item_record.h"
#include "services/queue/spool/key_schema.h"
#include "services/queue/spool/queue_id.h"
#include "services/queue/spool/spool_batch.h"

namespace posthouse::queue {
namespace {

constexpr absl::Duration kUnknownRetry = absl::Milliseconds(50);
constexpr absl::Duration kUnknownRetryMax = absl::Seconds(5);

class SpoolImpl final : public Spool {
 public:
  SpoolImpl(store::Store& store, SpoolOptions options, v1::Head head)
      : store_(store),
        options_(std::move(options)),
        partition_(QueuePartition(options_.shard)),
        sequence_(head.sequence()),
        head_(std::move(head)) {
    timer_token_->spool = this;
  }
  ~SpoolImpl() override {
    absl::MutexLock lock(&timer_token_->mutex);
    timer_token_->spool = nullptr;
  }

  std::unique_ptr<BodyWriter> NewBody() override {
    return std::make_unique<BodyWriter>(store_, options_.clock(), memory_use_, options_.memory_body_budget,
                                        blobs_in_progress_);
  }

  Task<absl::StatusOr<PutResult>> Put(std::shared_ptr<ItemRecord> record, Body body, absl::Time wake) override;
  void Submit(Change change, absl::AnyInvocable<void(absl::Status)> done) override;
  Task<absl::StatusOr<std::optional<ItemRecord>>> Load(QueueId queue_id) override { return LoadRow(ItemKey(queue_id)); }
  Task<absl::StatusOr<std::optional<ItemRecord>>> LoadDone(QueueId queue_id) override {
    return LoadRow(DoneKey(queue_id));
  }
  Task<absl::StatusOr<absl::Cord>> ReadBody(QueueId queue_id, std::string blob, uint64_t offset,
                                            uint64_t length) override;
  Task<absl::StatusOr<DuePage>> ReadDue(std::string after, size_t limit) override;
  Task<absl::StatusOr<ItemPage>> ReadItems(bool done, std::string after, size_t limit) override;

  Ledger ledger() const override {
    absl::MutexLock lock(&mutex_);
    return {head_.accepted(), head_.delivered(), head_.relayed(), head_.failed(),
            head_.expired(),  head_.deleted(),   head_.items()};
  }
  absl::Status healthy() const override {
    absl::MutexLock lock(&mutex_);
    return broken_;
  }
  bool IsBeingWritten(const QueueId& queue_id) const override { return blobs_in_progress_->Contains(queue_id); }
  size_t body_memory() const override { return memory_use_->load(std::memory_order_relaxed); }
  store::Store& store() override { return store_; }
  const SpoolOptions& options() const override { return options_; }
  Task<void> Close() override;

 private:
  using Batch = std::vector<PendingChange>;
  // A timer that fires after the spool is gone finds null here.
  struct TimerToken {
    absl::Mutex mutex;
    SpoolImpl* spool ABSL_GUARDED_BY(mutex) = nullptr;
  };

  Task<absl::StatusOr<std::optional<ItemRecord>>> LoadRow(std::string key);
  Task<void> DropBlob(std::string name);
  Task<void> CommitLoop();
  Task<void> CommitBatch(Batch batch);
  // What a conflict was: duplicates leave the batch, a lost answer is found.
  enum class Conflict { kCommitted, kRetry, kFailed };
  Task<absl::StatusOr<Conflict>> Examine(Batch& batch, const std::string& next_value);
  // With no room for rows: removes those of settled items at least.
  Task<void> CommitRemovals(Batch batch, absl::Status full);
  void Complete(Batch batch, const absl::Status& status);
  void Committed(Batch batch, v1::Head next);
  bool StartLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ArmTimer();
  bool closing() const {
    absl::MutexLock lock(&mutex_);
    return closing_;
  }

  store::Store& store_;
  const SpoolOptions options_;
  const store::Partition partition_;
  const MemoryUse memory_use_ = std::make_shared<std::atomic<size_t>>(0);
  const std::shared_ptr<BlobsInProgress> blobs_in_progress_ = std::make_shared<BlobsInProgress>();
  const std::shared_ptr<TimerToken> timer_token_ = std::make_shared<TimerToken>();
  std::atomic<uint64_t> sequence_;
  mutable absl::Mutex mutex_;
  // As stored by the last commit, plus what CommitRemovals() could not write.
  v1::Head head_ ABSL_GUARDED_BY(mutex_);
  std::string stored_head_ ABSL_GUARDED_BY(mutex_) = EncodeValue(head_);
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);
  std::deque<PendingChange> pending_ ABSL_GUARDED_BY(mutex_);
  size_t urgent_ ABSL_GUARDED_BY(mutex_) = 0;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;  // a CommitLoop() exists
  bool timer_armed_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::AnyInvocable<void(bool)> idle_ ABSL_GUARDED_BY(mutex_);
};

// ---- committing

void SpoolImpl::Submit(Change change, absl::AnyInvocable<void(absl::Status)> done) {
  absl::Status refused;
  bool start = false;
  bool arm = false;
  {
    absl::MutexLock lock(&mutex_);
    if (!broken_.ok()) {
      refused = broken_;
    } else if (closing_) {
      refused = absl::UnavailableError("the spool is closing");
    } else {
      if (!change.lazy) ++urgent_;
      pending_.push_back({std::move(change), std::move(done)});
      start = (urgent_ > 0 || pending_.size() >= kMaxBatchChanges) && StartLocked();
      arm = !start && !running_ && !std::exchange(timer_armed_, true);
    }
  }
  if (!refused.ok()) {
    done(refused);
  } else if (start) {
    SpawnHere(CommitLoop());
  } else if (arm) {
    ArmTimer();
  }
}

bool SpoolImpl::StartLocked() {
  if (running_) return false;
  running_ = true;
  return true;
}

void SpoolImpl::ArmTimer() {
  options_.executor->PostAfter(options_.lazy_delay, [token = timer_token_] {
    SpoolImpl* spool = nullptr;
    {
      absl::MutexLock token_lock(&token->mutex);
      if (token->spool == nullptr) return;
      absl::MutexLock lock(&token->spool->mutex_);
      token->spool->timer_armed_ = false;
      // Once running_ is set, Close() waits for the loop: the spool stays.
      if (!token->spool->pending_.empty() && token->spool->StartLocked()) spool = token->spool;
    }
    if (spool != nullptr) SpawnHere(spool->CommitLoop());
  });
}

Task<void> SpoolImpl::CommitLoop() {
  bool first = true;
  while (true) {
    Batch batch;
    bool arm = false;
    absl::AnyInvocable<void(bool)> idle;
    {
      absl::MutexLock lock(&mutex_);
      // Lazy changes alone wait for company or the timer, unless that is who started us.
      if (pending_.empty() || (!first && urgent_ == 0 && pending_.size() < kMaxBatchChanges && !closing_)) {
        running_ = false;
        arm = !pending_.empty() && !std::exchange(timer_armed_, true);
        idle = std::move(idle_);
      } else {
        batch = TakeBatch(&pending_);
        for (const PendingChange& p : batch) urgent_ -= p.change.lazy ? 0 : 1;
      }
    }
    first = false;
    if (batch.empty()) {
      if (idle) {
        idle(true);  // the spool may be gone now
      } else if (arm) {
        ArmTimer();
      }
      co_return;
    }
    co_await CommitBatch(std::move(batch));
  }
}

Task<void> SpoolImpl::CommitBatch(Batch batch) {
  absl::Duration pause = kUnknownRetry;
  // Names this commit: two different batches must never write the same head, or one
  // that was lost would be taken for the other.
  uint64_t sequence = sequence_.fetch_add(1) + 1;
  bool unknown = false;  // an earlier try may have happened: only the head row can tell
  while (!batch.empty()) {
    v1::Head next;
    std::string old_value;
    {
      absl::MutexLock lock(&mutex_);
      next = NextHead(head_, batch, sequence);
      old_value = stored_head_;
    }
    const std::string next_value = EncodeValue(next);
    const absl::Status status = co_await store_.Commit(ToRequest(partition_, HeadKey(), old_value, next_value, batch));
    if (status.ok()) {
      Committed(std::move(batch), std::move(next));
      co_return;
    }
    const bool full = absl::IsResourceExhausted(status);
    unknown |= absl::IsDeadlineExceeded(status);
    if (!unknown && full) {
      co_await CommitRemovals(std::move(batch), status);
      co_return;
    }
    if (!unknown && !absl::IsAborted(status)) {
      Complete(std::move(batch), status);
      co_return;
    }
    absl::StatusOr<Conflict> found = status;
    if (full || absl::IsAborted(status)) found = co_await Examine(batch, next_value);
    if (found.ok() && *found == Conflict::kCommitted) {
      Committed(std::move(batch), std::move(next));
      co_return;
    }
    if (found.ok() && *found == Conflict::kFailed) {
      Complete(std::move(batch), healthy());
      co_return;
    }
    if (found.ok()) {  // certainly not committed, and the batch may be another now
      unknown = false;
      sequence = sequence_.fetch_add(1) + 1;
      continue;
    }
    // Nobody knows whether it happened; the next try finds out.
    LOG_EVENT(kWarning, "spool_commit_unknown").Err(status);
    if (closing()) {
      Complete(std::move(batch), absl::UnknownError("closed while a commit was unknown"));
      co_return;
    }
    if (Executor::Current() == nullptr) co_await SwitchTo(*options_.executor);
    co_await Sleep(pause);
    pause = std::min(pause * 2, kUnknownRetryMax);
  }
}

Task<absl::StatusOr<SpoolImpl::Conflict>> SpoolImpl::Examine(Batch& batch, const std::string& next_value) {
  store::ReadRequest request{.partition = partition_, .keys = {HeadKey()}};
  std::vector<size_t> asked;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (batch[i].change.idempotency_key.empty()) continue;
    request.keys.push_back(IdempotencyRowKey(batch[i].change.idempotency_key));
    asked.push_back(i);
  }
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store_.Read(std::move(request)));
  if (read.values[0] == next_value) co_return Conflict::kCommitted;
  v1::Head found;
  const absl::Status readable =
      read.values[0].has_value() ? DecodeValue(*read.values[0], &found) : absl::DataLossError("the head row is gone");
  {
    absl::MutexLock lock(&mutex_);
    if (!readable.ok() || found.epoch() != head_.epoch()) {
      broken_ = readable.ok() ? absl::FailedPreconditionError(
                                    absl::StrCat("fenced: shard ", options_.shard, " was opened by another process"))
                              : readable;
      LOG_EVENT(kError, "spool_fenced").Err(broken_);
      co_return Conflict::kFailed;
    }
    if (read.values[0] != stored_head_) {
      // A commit of ours that was reported as failed had happened.
      stored_head_ = *read.values[0];
      head_ = found;
    }
  }
  Batch kept;
  Batch duplicates;
  std::vector<std::string> first_ids;
  std::vector<bool> known(batch.size(), false);
  for (size_t n = 0; n < asked.size(); ++n) {
    v1::IdempotencyRow row;
    if (!read.values[n + 1].has_value() || !DecodeValue(*read.values[n + 1], &row).ok()) continue;
    known[asked[n]] = true;
    first_ids.push_back(row.queue_id());
  }
  for (size_t i = 0; i < batch.size(); ++i) (known[i] ? duplicates : kept).push_back(std::move(batch[i]));
  batch = std::move(kept);
  for (size_t n = 0; n < duplicates.size(); ++n) duplicates[n].done(absl::AlreadyExistsError(first_ids[n]));
  co_return Conflict::kRetry;
}

Task<void> SpoolImpl::CommitRemovals(Batch batch, absl::Status full) {
  Batch removal_only_ok;
  Batch refused;
  for (PendingChange& p : batch) (p.change.removal_only_ok ? removal_only_ok : refused).push_back(std::move(p));
  Complete(std::move(refused), full);
  if (removal_only_ok.empty()) co_return;
  std::string head;
  {
    absl::MutexLock lock(&mutex_);
    head = stored_head_;
  }
  const absl::Status status = co_await store_.Commit(ToRemovals(partition_, HeadKey(), head, removal_only_ok));
  if (status.ok()) {
    // The ledger is written by the next commit that finds room.
    v1::Head next;
    {
      absl::MutexLock lock(&mutex_);
      next = NextHead(head_, removal_only_ok, head_.sequence());
      head_ = next;
    }
    for (const PendingChange& p : removal_only_ok) {
      for (const std::string& blob : p.change.drop_blobs) SpawnHere(DropBlob(blob));
    }
  }
  Complete(std::move(removal_only_ok), status);
}

void SpoolImpl::Committed(Batch batch, v1::Head next) {
  {
    absl::MutexLock lock(&mutex_);
    stored_head_ = EncodeValue(next);
    head_ = std::move(next);
  }
  for (PendingChange& p : batch) {
    for (std::string& blob : p.change.drop_blobs) SpawnHere(DropBlob(std::move(blob)));
    p.done(absl::OkStatus());
  }
}

void SpoolImpl::Complete(Batch batch, const absl::Status& status) {
  for (PendingChange& p : batch) p.done(status);
}

Task<void> SpoolImpl::DropBlob(std::string name) {
  // The store object outlives the spool; what fails is swept later.
  log::LogIfError(co_await store_.blobs().Delete(kStoreTenant, name), "dropping the blob of a settled message");
}

Task<void> SpoolImpl::Close() {
  std::deque<PendingChange> refused;
  const bool wait = [&] {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    // Lazy changes are worth one last commit: they save deliveries done twice.
    if (!pending_.empty() && broken_.ok()) return true;
    refused.swap(pending_);
    urgent_ = 0;
    return running_;
  }();
  for (PendingChange& p : refused) p.done(absl::UnavailableError("the spool is closing"));
  if (!wait) co_return;
  co_await AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) {
    bool start = false;
    bool idle = false;
    {
      absl::MutexLock lock(&mutex_);
      idle = !running_ && pending_.empty();
      if (!idle) {
        idle_ = std::move(done);
        start = StartLocked();
      }
    }
    if (idle) done(true);
    if (start) SpawnHere(CommitLoop());
  });
}

// ---- putting and reading

Task<absl::StatusOr<PutResult>> SpoolImpl::Put(std::shared_ptr<ItemRecord> record, Body body, absl::Time wake) {
  record->item.set_queue_id(body.queue_id.Text());
  record->item.set_size_bytes(body.size_bytes);
  if (body.blob) record->item.set_blob(body.queue_id.Text());
  Change change;
  AddNewItem(record.get(), body.blob ? nullptr : body.memory.get(), wake, &change);
  const absl::Status status = co_await Commit(std::move(change));
  // Where an item might name it after all (kUnknown, and fenced ones), the blob is
  // left to the sweep: the sender's retry would be told that all is well.
  const bool surely_not = absl::IsAlreadyExists(status) || absl::IsResourceExhausted(status) ||
                          absl::IsInvalidArgument(status) || absl::IsUnavailable(status);
  if (body.blob && surely_not) co_await DropBlob(body.queue_id.Text());
  if (absl::IsAlreadyExists(status)) co_return PutResult{QueueId::FromText(status.message()).value_or(QueueId()), true};
  PH_CO_RETURN_IF_ERROR(status);
  co_return PutResult{body.queue_id, false};
}

Task<absl::StatusOr<std::optional<ItemRecord>>> SpoolImpl::LoadRow(std::string key) {
  store::ReadRequest request{.partition = partition_, .keys = {std::move(key)}};
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store_.Read(std::move(request)));
  if (!read.values[0].has_value()) co_return std::optional<ItemRecord>();
  PH_CO_ASSIGN_OR_RETURN(v1::StoredItem stored, DecodeStored(*read.values[0]));
  std::vector<std::optional<std::string>> chunks;
  if (stored.recipient_rows() > 0) {
    store::ReadRequest more{.partition = partition_, .keys = ChunkKeys(stored)};
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult rows, co_await store_.Read(std::move(more)));
    chunks = std::move(rows.values);
  }
  PH_CO_ASSIGN_OR_RETURN(ItemRecord record, ToItemRecord(std::move(stored), chunks));
  co_return std::optional<ItemRecord>(std::move(record));
}

Task<absl::StatusOr<absl::Cord>> SpoolImpl::ReadBody(QueueId queue_id, std::string blob, uint64_t offset,
                                                     uint64_t length) {
  if (!blob.empty()) co_return co_await store_.blobs().Get(kStoreTenant, std::move(blob), offset, length);
  store::ReadRequest request{.partition = partition_, .keys = {BodyKey(queue_id)}};
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store_.Read(std::move(request)));
  if (!read.values[0].has_value()) co_return absl::NotFoundError(absl::StrCat("no body of ", queue_id.Text()));
  PH_CO_ASSIGN_OR_RETURN(std::string body, DecodeBody(*std::move(read.values[0])));
  if (offset >= body.size()) co_return absl::Cord();
  co_return absl::Cord(absl::string_view(body).substr(offset, length));
}

Task<absl::StatusOr<DuePage>> SpoolImpl::ReadDue(std::string after, size_t limit) {
  store::ReadRequest request{.partition = partition_, .prefix = kDuePrefix, .after = std::move(after), .limit = limit};
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store_.Read(std::move(request)));
  DuePage page;
  page.more = read.more;
  for (store::Row& row : read.page) {
    page.last_key = row.key;
    const std::optional<DueKeyParts> parts = ParseDueKey(row.key);
    v1::DueRow value;
    if (!parts.has_value() || !DecodeValue(row.value, &value).ok()) {
      LOG_EVENT(kError, "bad_due_row").Str("key", row.key);
      continue;
    }
    page.entries.push_back(
        {parts->due, parts->queue_id, Destination::FromString(value.destination()), FromProto(value.wake())});
  }
  co_return page;
}

Task<absl::StatusOr<ItemPage>> SpoolImpl::ReadItems(bool done, std::string after, size_t limit) {
  const std::string prefix = done ? kDonePrefix : kItemPrefix;
  store::ReadRequest request{.partition = partition_, .prefix = prefix, .limit = limit};
  if (!after.empty()) request.after = absl::StrCat(prefix, after);
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store_.Read(std::move(request)));
  ItemPage page;
  page.more = read.more;
  size_t bytes = 0;
  for (const store::Row& row : read.page) {
    if (bytes >= kItemPageBytes) {
      page.more = true;
      break;
    }
    bytes += row.value.size();
    page.last_id = row.key.substr(prefix.size());
    absl::StatusOr<v1::StoredItem> stored = DecodeStored(row.value);
    std::vector<std::optional<std::string>> chunks;
    if (stored.ok() && stored->recipient_rows() > 0) {
      store::ReadRequest more{.partition = partition_, .keys = ChunkKeys(*stored)};
      PH_CO_ASSIGN_OR_RETURN(store::ReadResult rows, co_await store_.Read(std::move(more)));
      chunks = std::move(rows.values);
      for (const std::optional<std::string>& chunk : chunks) bytes += chunk.has_value() ? chunk->size() : 0;
    }
    absl::StatusOr<ItemRecord> record = stored.ok() ? ToItemRecord(*std::move(stored), chunks) : stored.status();
    if (record.ok()) {
      page.items.push_back(*std::move(record));
    } else {
      LOG_EVENT(kError, "bad_item_row").Str("key", row.key).Err(record.status());
    }
  }
  co_return page;
}

}  // namespace

Task<absl::Status> Spool::Commit(Change change) {
  co_return co_await AwaitCallback<absl::Status>(
      [&](absl::AnyInvocable<void(absl::Status)> done) { Submit(std::move(change), std::move(done)); });
}

Task<absl::StatusOr<std::unique_ptr<Spool>>> Spool::Open(store::Store& store, SpoolOptions options) {
  const store::Partition partition = QueuePartition(options.shard);
  for (int tries = 0; tries < 10; ++tries) {
    store::ReadRequest request{.partition = partition, .keys = {HeadKey()}};
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await store.Read(std::move(request)));
    v1::Head head;
    if (read.values[0].has_value()) {
      const absl::Status readable = DecodeValue(*read.values[0], &head);
      if (!readable.ok())
        co_return absl::FailedPreconditionError(absl::StrCat("head of the spool: ", readable.message()));
    }
    head.set_epoch(head.epoch() + 1);
    store::CommitRequest commit{.partition = partition};
    commit.preconditions.push_back({HeadKey(), read.values[0]});
    commit.mutations.push_back({HeadKey(), EncodeValue(head)});
    commit.use_reserve = true;  // what waits is delivered while the disk is full
    const absl::Status status = co_await store.Commit(std::move(commit));
    if (status.ok()) co_return std::make_unique<SpoolImpl>(store, std::move(options), std::move(head));
    // Conflict or unknown: look again. Raising the epoch twice does no harm.
    if (!absl::IsAborted(status) && !absl::IsDeadlineExceeded(status)) co_return status;
  }
  co_return absl::UnavailableError("the spool is being opened by others too");
}

}  // namespace posthouse::queue
