// ReopenableDb: the open RocksDB of a store, which can be closed and opened again.
//
// After an I/O error RocksDB may be read-only, and the end of its log uncertain.
// Opening the database again inside the process settles what the log holds, as a
// restart would. Reads answer kUnavailable meanwhile.
//
// Threads: Get() and epoch() any; Reopen() one at a time. Internal to RocksStore.
#pragma once

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/statistics.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/rocks/rocks_tuning.h"
#include "services/common/store/rocks/write_health.h"

namespace posthouse::store {

class ReopenableDb {
 public:
  struct Handles {
    ~Handles();  // closes, then notifies `closed`
    std::unique_ptr<rocksdb::DB> db;
    rocksdb::ColumnFamilyHandle* rows = nullptr;
    rocksdb::ColumnFamilyHandle* blobs = nullptr;
    const std::shared_ptr<absl::Notification> closed = std::make_shared<absl::Notification>();
  };
  using Ref = std::shared_ptr<const Handles>;

  static absl::StatusOr<std::unique_ptr<ReopenableDb>> Open(const RocksOptions& options,
                                                            std::shared_ptr<WriteHealth> health);
  // For one call into RocksDB; a caller must not hold the Ref across a co_await. Null
  // while Reopen() runs.
  Ref Get() const;
  // Changes with every Reopen().
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  // Closes the database and opens it again, once a probe file could be written and
  // synced; else the old one stays open, for reads. Waits for running reads. The
  // caller calls WriteHealth::Opened() after OK.
  absl::Status Reopen();

  const rocksdb::Statistics& statistics() const { return *tuning_.db.statistics; }
  const rocksdb::Cache& cache() const { return *tuning_.cache; }

 private:
  ReopenableDb(const RocksOptions& options, std::shared_ptr<WriteHealth> health);
  absl::StatusOr<Ref> OpenHandles() const;
  absl::Status Probe() const;

  const std::string path_;
  rocksdb::Env* const env_;
  const std::shared_ptr<WriteHealth> health_;
  const Tuning tuning_;
  std::atomic<uint64_t> epoch_{1};
  mutable absl::Mutex mutex_;
  Ref current_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::store
