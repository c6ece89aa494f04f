// DbSlot: the open RocksDB of a store, and how it is opened, checked and opened again.
//
// After an I/O error RocksDB may be left read-only, with a log whose end is
// uncertain. Opening it again inside the process settles that as a restart would:
// from the log. Reads fail with kUnavailable for that while.
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
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/rocks/rocks_tuning.h"
#include "services/common/store/rocks/write_health.h"

namespace posthouse::store {

class DbSlot {
 public:
  struct Handles {
    ~Handles();  // closes
    std::unique_ptr<rocksdb::DB> db;
    rocksdb::ColumnFamilyHandle* rows = nullptr;
    rocksdb::ColumnFamilyHandle* blobs = nullptr;
  };
  using Ref = std::shared_ptr<const Handles>;

  static absl::StatusOr<std::unique_ptr<DbSlot>> Open(const RocksOptions& options, std::shared_ptr<WriteHealth> health);
  // To be held for one call into RocksDB, not across a co_await. Null: being reopened.
  Ref Get() const;
  // Changes with every Reopen().
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  // Closes and opens, when a probe file can be written and synced; else the old
  // one stays, for reads. Waits for the reads that run.
  absl::Status Reopen();

  const rocksdb::Statistics& statistics() const { return *tuning_.db.statistics; }
  const rocksdb::Cache& cache() const { return *tuning_.cache; }

 private:
  DbSlot(const RocksOptions& options, std::shared_ptr<WriteHealth> health);
  absl::StatusOr<Ref> OpenHandles() const;
  absl::Status Probe() const;

  const std::string path_;
  rocksdb::Env* const env_;
  const Tuning tuning_;
  std::atomic<uint64_t> epoch_{1};
  mutable absl::Mutex mutex_;
  Ref current_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::store
