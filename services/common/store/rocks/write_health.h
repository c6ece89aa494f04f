// WriteHealth: whether the engine takes writes, or which I/O error stopped it.
//
// RocksDB's background threads (a failed flush or compaction) and the committer (a
// failed log write) set the error. Only the committer clears it, when it has opened
// the database again (ReopenableDb::Reopen). Each open database has its own listener:
// an error that the new database meets at once stays, and one that the old database
// meets while it closes does not count against the new one. Threads: any.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/common/metrics/metrics.h"

namespace rocksdb {
class EventListener;
}

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

  // Called after each Fail() that changed the health, on the thread that failed; null: nothing.
  void SetOnFail(std::function<void()> on_fail);

 private:
  class Listener;
  metrics::Counter& errors_;
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  uint64_t newest_ ABSL_GUARDED_BY(mutex_) = 0;         // the newest database
  uint64_t current_ ABSL_GUARDED_BY(mutex_) = 0;        // the open database
  absl::Status newest_status_ ABSL_GUARDED_BY(mutex_);  // while newest_ is not current_

  absl::Mutex on_fail_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  std::function<void()> on_fail_ ABSL_GUARDED_BY(on_fail_mutex_);
};

}  // namespace posthouse::store
