// WriteHealth: whether the engine takes writes, or which I/O error stopped it.
//
// RocksDB's background threads (a failed flush or compaction) and the committer (a
// failed log write) set the error. Only the committer clears it, when it has opened
// the database again (ReopenableDb::Reopen). Each open database has its own listener:
// an error that the new database meets at once stays, and one that the old database
// meets while it closes does not count against the new one. Threads: any.
//
// Corruption that a compaction meets is no write error: the rows are lost already, and
// opening the files again would only meet it again. RocksDB does not see it, and the
// committer turns compactions off (damaged()).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/common/metrics/metrics.h"

namespace rocksdb {
class EventListener;
class Status;
}  // namespace rocksdb

namespace posthouse::store {

class WriteHealth : public std::enable_shared_from_this<WriteHealth> {
 public:
  explicit WriteHealth(metrics::Counter& errors) : errors_(errors) {}
  // OK, or why nothing can be written now.
  absl::Status Get() const;
  // Keeps the first reason.
  void Fail(const absl::Status& why);
  // Replaces the reason.
  void Replace(const absl::Status& why);

  // A number for a database that is about to be opened.
  uint64_t NewDatabase();
  // Reports that database's background errors.
  std::shared_ptr<rocksdb::EventListener> ListenerOf(uint64_t database);
  // Like Fail(), from that database. Before Opened() the error is kept; an error of a
  // database before the open one does not count.
  void Report(uint64_t database, const absl::Status& why);
  // The newest database is open and takes over, healthy unless it has reported an error
  // already.
  void Opened();

  // A compaction met a damaged file since the process started.
  bool damaged() const { return damaged_.load(std::memory_order_acquire); }
  // Called with each error of that kind, on the compaction's thread; null: nothing.
  void SetOnDamage(std::function<void(const rocksdb::Status&)> on_damage);

  // Called after each Fail() that changed the health, and at damage, on the thread that failed; null: nothing.
  void SetOnFail(std::function<void()> on_fail);

 private:
  class Listener;
  void Damaged(uint64_t database, const rocksdb::Status& error);
  metrics::Counter& errors_;
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  uint64_t newest_ ABSL_GUARDED_BY(mutex_) = 0;         // the newest database
  uint64_t current_ ABSL_GUARDED_BY(mutex_) = 0;        // the open database
  absl::Status newest_status_ ABSL_GUARDED_BY(mutex_);  // while newest_ is not current_

  absl::Mutex on_fail_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  std::function<void()> on_fail_ ABSL_GUARDED_BY(on_fail_mutex_);
  std::function<void(const rocksdb::Status&)> on_damage_ ABSL_GUARDED_BY(on_fail_mutex_);
  std::atomic<bool> damaged_{false};
};

}  // namespace posthouse::store
