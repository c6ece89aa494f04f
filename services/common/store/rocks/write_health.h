// WriteHealth: whether the engine takes writes, or which I/O error stopped it.
//
// RocksDB's background threads (a failed flush or compaction) and the committer (a
// failed log write) set the error. Only the committer clears it, when it has opened
// the database again (ReopenableDb::Reopen). Threads: any.
#pragma once

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/common/metrics/metrics.h"

namespace rocksdb {
class EventListener;
}

namespace posthouse::store {

class WriteHealth {
 public:
  explicit WriteHealth(metrics::Counter& errors) : errors_(errors) {}
  // OK, or why nothing can be written now.
  absl::Status Get() const;
  void Fail(const absl::Status& why);
  // Replaces the reason.
  void Replace(const absl::Status& why);
  void Recovered();

  // Reports RocksDB's background errors to `health`.
  static std::shared_ptr<rocksdb::EventListener> MakeListener(std::shared_ptr<WriteHealth> health);

 private:
  metrics::Counter& errors_;
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::store
