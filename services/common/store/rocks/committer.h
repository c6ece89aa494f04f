// Committer: group commit over one RocksDB.
//
//   callers            queue               committer thread
//   Run(op) ──────▶ [c][b][c][c] ─── all that wait ──▶ check guards in order,
//   Run(op) ──────▶                                    one WriteBatch,
//   RunLazily(op) ▶                                    one Write(sync) ──▶ complete
//
// One thread takes all waiting requests and checks the guards of each against the
// rows as the requests before it leave them. It writes the requests that pass as one
// WriteBatch with one fsync, and completes them with one Post per executor. The next
// batch gathers during the sync, so throughput rises with load.
// docs/adr/0010-group-committer.md says why.
//
// Guards. The caller reads guarded rows before it submits, so that a cache miss never
// stalls the committer's thread, and notes published() before that read. The
// committer trusts the value only when RecentRows knows that no later batch touched
// the row. Else it uses the remembered value, or, rarely, reads the row again.
//
// Durability. A batch with a request of `sync` is synced. The log is sequential, so
// everything written before is durable too: that is how a commit makes the blobs
// durable that it needs. After a power loss some unsynced batches (blob pieces) are
// there, always a prefix of the order in which they were submitted. Each batch begins
// with a sync mark (wal_scanner.h), so that the next opening can tell a torn tail from damage.
//
// Errors. A failed write leaves the outcome of its requests unknown:
// kDeadlineExceeded. After it nothing is written (kUnavailable, or kResourceExhausted
// when the disk was full) until the database is open again, which settles from the log
// what happened. The committer tries that by itself and with the commits that come in,
// at first once per reopen_interval and, as attempts fail, more rarely (retry_at_most).
// A disk that does not answer at all (a hung fsync) must not hold the callers: after
// answer_within those of the batch that is being written get kDeadlineExceeded, and
// those that wait behind it kUnavailable, since they were not written; so do new ones.
// oldest_wait() tells readiness.
//
// The disk may have dropped unsynced bytes with the failed sync, which a caller knows as
// written. Then no commit is accepted any more, since it could name a blob that is
// gone, and the process must restart.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/common/store/rocks/commit_op.h"
#include "services/common/store/rocks/recent_rows.h"
#include "services/common/store/rocks/reopenable_db.h"
#include "services/common/store/rocks/space_watch.h"
#include "services/common/store/rocks/store_metrics.h"
#include "services/common/store/rocks/sync_point.h"
#include "services/common/store/rocks/write_health.h"

namespace rocksdb {
class WriteBatch;
}

namespace posthouse::store {

// Points at which tests kill the process.
enum class CommitStep { kBeforeWrite, kAfterWrite, kBeforeCompletion };

struct CommitterOptions {
  size_t max_batch_bytes = 4 * 1024 * 1024;
  size_t max_waiting_bytes = 64 * 1024 * 1024;  // over it requests are refused: kUnavailable
  size_t max_lazy_bytes = 8 * 1024 * 1024;      // lazy requests are written, unsynced, from here on
  size_t recent_bytes = 4 * 1024 * 1024;
  absl::Duration reopen_interval = absl::Milliseconds(200);  // between the first attempts after a write error
  absl::Duration retry_at_most = absl::Seconds(5);           // between later ones: the interval doubles up to it
  SyncPoint* sync_point = nullptr;                           // outlives the committer; required
  absl::Duration answer_within = absl::Seconds(30);          // when the disk does not answer
  std::function<void(CommitStep)> on_step;
};

// Requests that complete together, in the frame of the coroutine that waits.
struct CommitWait {
  Executor* executor = nullptr;
  std::coroutine_handle<> handle;
  size_t left = 0;
};

class Committer {
 public:
  // `fallback` resumes coroutines that have no executor. All outlive the committer.
  Committer(ReopenableDb& db, SpaceWatch& space, Executor& fallback, StoreMetrics& metrics,
            std::shared_ptr<WriteHealth> health, CommitterOptions options);
  ~Committer();  // Stop()
  // Writes and completes what was submitted before, refuses the rest; joins.
  void Stop();

  // The newest batch whose rows can be read.
  uint64_t published() const { return published_.load(std::memory_order_acquire); }

  Task<absl::Status> Run(std::unique_ptr<CommitOp> op);
  // Queues all ops at once and waits for all. Skips null ops, whose result is OK.
  Task<std::vector<absl::Status>> RunAll(std::vector<std::unique_ptr<CommitOp>> ops);
  // Queues `op` for the next batch that a caller waits for, or until many lazy bytes wait,
  // and retries until it is written. False: the committer stops, and `op` is dropped.
  bool RunLazily(std::unique_ptr<CommitOp> op);
  size_t lazy_bytes() const { return lazy_bytes_.load(std::memory_order_relaxed); }
  // How long the disk has not answered to the batch in hand; zero when there is none.
  absl::Duration oldest_wait() const;

 private:
  class Awaiter;
  using Ops = std::vector<std::unique_ptr<CommitOp>>;
  using Ready = std::vector<std::pair<Executor*, std::vector<std::coroutine_handle<>>>>;

  // OK: all were queued with `wait`; else none was.
  absl::Status Submit(std::unique_ptr<CommitOp>* ops, size_t count, CommitWait* wait);
  void Enqueue(std::unique_ptr<CommitOp> op, int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  static int64_t SteadyNanos();
  static absl::Status Hung();  // not written, since the disk does not answer
  enum class Turn { kWrite, kRecover, kStop };
  void Loop();
  Turn TakeBatch(Ops* ops);
  bool WaitForWork() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteBatchOf(Ops ops);
  absl::Status EnsureWritable();
  absl::Status Reopen();
  void ReopenFailed(const absl::Status& why);
  void MakeUseOfSpace();
  bool QuarantineDue() const { return health_->damaged() && quarantined_epoch_.load() != db_.epoch(); }
  void Quarantine();
  absl::Status CheckGuards(const CommitOp& op);
  void Assemble(Ops& ops, bool* sync);
  absl::Status Write(bool sync);
  // Around each call that may hang: `ops` may be answered meanwhile (Abandon).
  void BeginCall(Ops& ops, bool writes);
  void EndCall(Ops& ops);
  void WatchCalls();
  // Answers the callers of `calling_` and of the queue; returns whom to resume.
  Ready Abandon() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Answer(CommitOp& op, const absl::Status& status, Ready& ready);
  static void Resume(Ready ready);
  void FailAll(Ops ops, const absl::Status& error);
  void Requeue(Ops lazy);
  void Complete(Ops& ops);
  void Step(CommitStep step) {
    if (options_.on_step) options_.on_step(step);
  }

  ReopenableDb& db_;
  SpaceWatch& space_;
  Executor& fallback_;
  StoreMetrics& metrics_;
  const std::shared_ptr<WriteHealth> health_;
  const CommitterOptions options_;

  std::atomic<uint64_t> published_{0};
  std::atomic<size_t> lazy_bytes_{0};

  absl::Mutex mutex_;
  absl::CondVar wake_;
  std::deque<std::unique_ptr<CommitOp>> queue_ ABSL_GUARDED_BY(mutex_);
  size_t waited_for_ ABSL_GUARDED_BY(mutex_) = 0;  // queued ops that are not lazy
  size_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool lazy_blocked_ ABSL_GUARDED_BY(mutex_) = false;
  bool sleeping_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // The batch whose call into RocksDB runs. Its ops are the watcher's while mutex_ is held.
  Ops* calling_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool call_writes_ ABSL_GUARDED_BY(mutex_) = false;
  bool hung_ ABSL_GUARDED_BY(mutex_) = false;  // it runs for longer than answer_within
  absl::CondVar watch_;
  std::atomic<int64_t> calling_since_nanos_{0};  // 0: no call runs

  // The committer thread's own.
  RecentRows recent_;
  const std::unique_ptr<rocksdb::WriteBatch> batch_;
  ReopenableDb::Ref open_;  // while a batch is worked on
  uint64_t batch_number_ = 0;
  int64_t next_reopen_nanos_ = 0;
  absl::Duration reopen_wait_ = absl::ZeroDuration();  // doubles with each failed attempt
  int64_t failed_reopens_ = 0;                         // since the last one that was logged
  int64_t next_reopen_log_nanos_ = 0;
  int64_t next_space_nanos_ = 0;
  std::atomic<uint64_t> quarantined_epoch_{0};  // of the database whose compactions are off
  uint64_t written_sequence_ = 0;               // of the last write that succeeded
  bool lost_ = false;                           // some of it was not there any more

  std::thread thread_;
  std::thread watcher_;
};

}  // namespace posthouse::store
