#include "services/common/store/rocks/committer.h"

#include <rocksdb/db.h>
#include <rocksdb/perf_context.h>
#include <rocksdb/perf_level.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/wal_scanner.h"

namespace posthouse::store {
namespace {

constexpr absl::Duration kIdleRetry = absl::Milliseconds(50);

size_t BytesOf(const CommitOp& op) {
  size_t bytes = 64 + op.drop_begin.size() + op.drop_end.size();
  for (const EncodedRow& row : op.rows) bytes += row.key.size() + (row.value ? row.value->size() : 0);
  for (const GuardedRow& row : op.guards) bytes += row.key.size() + (row.expected ? row.expected->size() : 0);
  for (const BlobRow& row : op.blob_rows) bytes += row.key.size() + (row.value ? row.value->size() : 0);
  return bytes;
}

// Puts the chunks of `value` straight into the batch, without flattening it.
void PutCord(rocksdb::WriteBatch& batch, rocksdb::ColumnFamilyHandle* family, const std::string& key,
             const absl::Cord& value) {
  std::vector<rocksdb::Slice> parts;
  for (const absl::string_view chunk : value.Chunks()) parts.emplace_back(chunk.data(), chunk.size());
  const rocksdb::Slice key_part(key);
  batch.Put(family, rocksdb::SliceParts(&key_part, 1),
            rocksdb::SliceParts(parts.data(), static_cast<int>(parts.size())));
}

void AddTo(rocksdb::WriteBatch& batch, rocksdb::ColumnFamilyHandle* blobs, const CommitOp& op) {
  if (!op.drop_end.empty()) batch.DeleteRange(op.drop_begin, op.drop_end);
  for (const EncodedRow& row : op.rows) {
    if (row.value.has_value()) {
      batch.Put(row.key, *row.value);
    } else {
      batch.Delete(row.key);
    }
  }
  for (const BlobRow& row : op.blob_rows) {
    if (row.value.has_value()) {
      PutCord(batch, blobs, row.key, *row.value);
    } else {
      batch.Delete(blobs, row.key);
    }
  }
}

}  // namespace

// ---- the callers' side

// Submits the ops and suspends; continues at once when they are refused.
class Committer::Awaiter {
 public:
  Awaiter(Committer& committer, std::unique_ptr<CommitOp>* ops, size_t count)
      : committer_(committer), ops_(ops), count_(count) {}
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> handle) {
    wait_.executor = Executor::Current() == nullptr ? &committer_.fallback_ : Executor::Current();
    wait_.handle = handle;
    absl::Status queued = committer_.Submit(ops_, count_, &wait_);
    // Once queued, the coroutine may have resumed already and destroyed this awaiter.
    if (queued.ok()) return true;
    refused_ = std::move(queued);
    return false;
  }
  absl::Status await_resume() { return std::move(refused_); }

 private:
  Committer& committer_;
  std::unique_ptr<CommitOp>* const ops_;
  const size_t count_;
  CommitWait wait_;
  absl::Status refused_;
};

Committer::Committer(ReopenableDb& db, SpaceWatch& space, Executor& fallback, StoreMetrics& metrics,
                     std::shared_ptr<WriteHealth> health, CommitterOptions options)
    : db_(db),
      space_(space),
      fallback_(fallback),
      metrics_(metrics),
      health_(std::move(health)),
      options_(std::move(options)),
      recent_(options_.recent_bytes),
      batch_(std::make_unique<rocksdb::WriteBatch>()),
      thread_([this] { Loop(); }),
      watcher_([this] { WatchCalls(); }) {
  health_->SetOnFail([this] {
    absl::MutexLock lock(&mutex_);
    wake_.Signal();
  });
  absl::MutexLock lock(&mutex_);
  wake_.Signal();  // an error may have come before SetOnFail()
}

Committer::~Committer() { Stop(); }

void Committer::Stop() {
  health_->SetOnFail(nullptr);
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.Signal();
  }
  if (thread_.joinable()) thread_.join();
  watch_.Signal();
  if (watcher_.joinable()) watcher_.join();
}

Task<absl::Status> Committer::Run(std::unique_ptr<CommitOp> op) {
  absl::Status result;
  op->result = &result;
  PH_CO_RETURN_IF_ERROR(co_await Awaiter(*this, &op, 1));
  co_return result;
}

Task<std::vector<absl::Status>> Committer::RunAll(std::vector<std::unique_ptr<CommitOp>> ops) {
  std::vector<absl::Status> results(ops.size());
  Ops present;
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i] == nullptr) continue;
    ops[i]->result = &results[i];
    present.push_back(std::move(ops[i]));
  }
  if (!present.empty()) {
    std::vector<absl::Status*> submitted;
    for (const auto& op : present) submitted.push_back(op->result);
    const absl::Status queued = co_await Awaiter(*this, present.data(), present.size());
    if (!queued.ok()) {
      for (absl::Status* result : submitted) *result = queued;
    }
  }
  co_return results;
}

absl::Status Committer::Submit(std::unique_ptr<CommitOp>* ops, size_t count, CommitWait* wait) {
  wait->left = count;
  const int64_t now = SteadyNanos();
  size_t bytes = 0;
  for (size_t i = 0; i < count; ++i) {
    ops[i]->wait = wait;
    ops[i]->bytes = BytesOf(*ops[i]);
    bytes += ops[i]->bytes;
  }
  absl::MutexLock lock(&mutex_);
  if (stopping_) return absl::UnavailableError("store is closing");
  if (hung_) return Hung();
  if (queued_bytes_ + bytes > options_.max_waiting_bytes && queued_bytes_ > 0) {
    metrics_.refused_busy.Add(static_cast<double>(count));
    return absl::UnavailableError("store is busy: too many commits wait for the disk");
  }
  for (size_t i = 0; i < count; ++i) Enqueue(std::move(ops[i]), now);
  waited_for_ += count;
  if (sleeping_) wake_.Signal();
  return absl::OkStatus();
}

bool Committer::RunLazily(std::unique_ptr<CommitOp> op) {
  op->bytes = BytesOf(*op);
  const size_t lazy = lazy_bytes_.fetch_add(op->bytes, std::memory_order_relaxed) + op->bytes;
  absl::MutexLock lock(&mutex_);
  if (stopping_) return false;
  Enqueue(std::move(op), SteadyNanos());
  if (sleeping_ && lazy > options_.max_lazy_bytes) wake_.Signal();
  return true;
}

void Committer::Enqueue(std::unique_ptr<CommitOp> op, int64_t now) {
  op->submitted_nanos = now;
  queued_bytes_ += op->bytes;
  queue_.push_back(std::move(op));
}

// ---- the committer's thread

void Committer::Loop() {
  rocksdb::SetPerfLevel(rocksdb::PerfLevel::kEnableTimeExceptForMutex);
  Ops ops;
  while (true) {
    switch (TakeBatch(&ops)) {
      case Turn::kWrite:
        WriteBatchOf(std::exchange(ops, {}));
        break;
      case Turn::kRecover:
        (void)EnsureWritable();  // logs its failure, and the next turn tries again
        break;
      case Turn::kStop:
        return;
    }
    open_.reset();
  }
}

// False: nothing is to be written, but an attempt to recover is due.
bool Committer::WaitForWork() {
  while (waited_for_ == 0 && !stopping_ && (lazy_blocked_ || lazy_bytes() <= options_.max_lazy_bytes)) {
    sleeping_ = true;
    if (QuarantineDue() && health_->Get().ok()) {
      sleeping_ = false;
      return false;
    }
    const bool broken = !lost_ && !health_->Get().ok();
    bool due = false;
    if (broken) {
      // Not in a loop, even when commits may try at once.
      const absl::Duration left = absl::Nanoseconds(next_reopen_nanos_ - SteadyNanos());
      due = wake_.WaitWithTimeout(&mutex_, std::max(left, kIdleRetry));
    } else {
      wake_.Wait(&mutex_);
    }
    sleeping_ = false;
    if (due) return false;
  }
  return true;
}

// kStop: the committer stops, and nothing is left to write.
Committer::Turn Committer::TakeBatch(Ops* ops) {
  absl::MutexLock lock(&mutex_);
  if (!WaitForWork()) return Turn::kRecover;
  size_t bytes = 0;
  while (!queue_.empty()) {
    const CommitOp& next = *queue_.front();
    const bool drops = !next.drop_end.empty();
    if (!ops->empty() && (drops || bytes + next.bytes > options_.max_batch_bytes)) break;
    bytes += next.bytes;
    if (next.wait != nullptr) --waited_for_;
    ops->push_back(std::move(queue_.front()));
    queue_.pop_front();
    lazy_blocked_ = false;
    if (drops) break;  // a batch of its own, since RecentRows knows rows and not ranges
  }
  queued_bytes_ -= bytes;
  metrics_.waiting_bytes.Set(static_cast<double>(queued_bytes_));
  return ops->empty() ? Turn::kStop : Turn::kWrite;
}

void Committer::WriteBatchOf(Ops ops) {
  BeginCall(ops, /*writes=*/false);
  const absl::Status writable = EnsureWritable();
  EndCall(ops);
  if (!writable.ok()) return FailAll(std::move(ops), writable);
  std::erase_if(ops, [](const auto& op) { return op->abandoned; });  // answered as not written
  ++batch_number_;
  bool sync = false;
  bool drops = false;
  Assemble(ops, &sync);
  for (const auto& op : ops) drops = drops || !op->drop_end.empty();
  if (batch_->Count() > 0) {
    Step(CommitStep::kBeforeWrite);
    BeginCall(ops, /*writes=*/true);
    const absl::Status written = Write(sync);
    EndCall(ops);
    if (!written.ok()) {
      recent_.Forget(batch_number_);
      published_.store(batch_number_, std::memory_order_release);
      health_->Fail(written);
      return FailAll(std::move(ops), absl::DeadlineExceededError(
                                         absl::StrCat("the commit may or may not have happened: ", written.message())));
    }
    Step(CommitStep::kAfterWrite);
  }
  if (drops) recent_.Forget(batch_number_);
  published_.store(batch_number_, std::memory_order_release);
  Complete(ops);
  std::erase_if(ops, [](const auto& op) { return op->rows.empty() || !op->status.ok(); });
  recent_.Keep(batch_number_, std::move(ops));
}

absl::Status Committer::CheckGuards(const CommitOp& op) {
  for (const GuardedRow& guard : op.guards) {
    const std::optional<std::string>* value = recent_.Find(guard.key);
    std::optional<std::string> reread;
    if (value == nullptr && recent_.Covers(op.seen_batch)) {
      value = &guard.seen;
    } else if (value == nullptr) {
      // Megabytes were written since the caller read the row. That is rare, and the row
      // is still in a memtable.
      metrics_.guard_rereads.Add();
      std::string bytes;
      const rocksdb::Status read = open_->db->Get(rocksdb::ReadOptions(), guard.key, &bytes);
      if (read.ok()) {
        reread = std::move(bytes);
      } else if (!read.IsNotFound()) {
        return FromRocks(read, "reading a guarded row");
      }
      value = &reread;
    }
    if (*value != guard.expected) return absl::AbortedError("a precondition does not hold");
  }
  return absl::OkStatus();
}

void Committer::Assemble(Ops& ops, bool* sync) {
  batch_->Clear();
  batch_->PutLogData(EncodeSyncMark(options_.sync_point->sequence()));
  for (const auto& op : ops) {
    op->status = CheckGuards(*op);
    if (!op->status.ok()) continue;
    AddTo(*batch_, open_->blobs, *op);
    for (const EncodedRow& row : op->rows) recent_.Note(row);
    *sync = *sync || op->sync;
  }
}

absl::Status Committer::Write(bool sync) {
  rocksdb::WriteOptions options;
  options.sync = sync;
  metrics_.batch_bytes.Observe(static_cast<double>(batch_->GetDataSize()));
  rocksdb::get_perf_context()->write_wal_time = 0;
  const rocksdb::Status written = open_->db->Write(options, batch_.get());
  if (sync) {
    metrics_.sync_seconds.Observe(absl::Nanoseconds(rocksdb::get_perf_context()->write_wal_time));
  }
  space_.Wrote(batch_->GetDataSize());
  // RocksDB does not know that a write failed (freezing_fs.h).
  if (open_->fs->frozen()) return FromRocks(open_->fs->why(), "writing a batch");
  if (written.ok()) written_sequence_ = open_->db->GetLatestSequenceNumber();
  if (written.ok() && sync) options_.sync_point->Reached(written_sequence_);
  return FromRocks(written, "writing a batch");
}

void Committer::FailAll(Ops ops, const absl::Status& error) {
  Ops lazy;
  for (auto& op : ops) {
    if (op->wait == nullptr && !op->abandoned) lazy.push_back(std::move(op));
  }
  std::erase(ops, nullptr);
  for (const auto& op : ops) op->status = error;
  Requeue(std::move(lazy));
  Complete(ops);
}

// Puts lazy requests back at the front: their callers have an answer. When the
// committer stops they are lost, which is allowed: no commit after them was OK.
void Committer::Requeue(Ops lazy) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return;
  lazy_blocked_ = true;  // until a caller waits, so that a broken disk is not tried in a loop
  for (auto it = lazy.rbegin(); it != lazy.rend(); ++it) {
    queued_bytes_ += (*it)->bytes;
    queue_.push_front(std::move(*it));
  }
}

void Committer::Complete(Ops& ops) {
  Step(CommitStep::kBeforeCompletion);
  const int64_t now = SteadyNanos();
  size_t requests = 0;
  Ready ready;
  for (const auto& op : ops) {
    if (op->status.ok() && op->on_written) op->on_written();
    if (op->abandoned) continue;
    if (op->wait == nullptr) {
      lazy_bytes_.fetch_sub(op->bytes, std::memory_order_relaxed);
      continue;
    }
    ++requests;
    if (op->sync) {
      metrics_.commit_seconds.Observe(absl::Nanoseconds(now - op->submitted_nanos));
      switch (op->status.code()) {
        case absl::StatusCode::kOk:
          metrics_.committed.Add();
          break;
        case absl::StatusCode::kAborted:
          metrics_.conflicts.Add();
          break;
        case absl::StatusCode::kDeadlineExceeded:
          metrics_.unknown.Add();
          break;
        case absl::StatusCode::kResourceExhausted:
          metrics_.refused_full.Add();
          break;
        default:
          metrics_.unavailable.Add();
          break;
      }
    }
    Answer(*op, op->status, ready);
  }
  metrics_.batch_requests.Observe(static_cast<double>(requests));
  Resume(std::move(ready));
}

}  // namespace posthouse::store
