// TieredReader: reads from memory on the caller's thread and from the disk on a pool.
// A hit costs no wake-up, and a miss blocks no event loop.
//
// Threads: any. Internal to RocksStore.
#pragma once

#include <rocksdb/options.h>
#include <rocksdb/status.h>

#include <cstddef>

#include "absl/status/status.h"
#include "services/common/async/task.h"
#include "services/common/async/thread_pool.h"
#include "services/common/store/rocks/damage.h"
#include "services/common/store/rocks/reopenable_db.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/store_metrics.h"

namespace posthouse::store {

class TieredReader {
 public:
  TieredReader(const ReopenableDb& db, ThreadPool& pool, Damage& damage, StoreMetrics& metrics)
      : db_(db), pool_(pool), damage_(damage), metrics_(metrics) {}

  // Calls `read(const ReopenableDb::Handles&, const rocksdb::ReadOptions&)` for memory
  // only. If it returns Incomplete, calls it again on the pool. `read` must live until
  // the await returns.
  template <typename ReadFn>
  Task<absl::Status> Run(ReadFn& read) {
    rocksdb::ReadOptions options;
    options.read_tier = rocksdb::kBlockCacheTier;
    rocksdb::Status status = Call(read, options);
    if (!status.IsIncomplete()) {
      metrics_.reads_inline.Add();
      co_return status.ok() ? absl::OkStatus() : FromRocks(status, "read");
    }
    co_return co_await RunOnPool(read);
  }

  // Calls `read` on the pool at once: for long reads, even of memory.
  template <typename ReadFn>
  Task<absl::Status> RunOnPool(ReadFn& read) {
    if (pool_.Backlog() > kMaxBacklog) co_return absl::UnavailableError("store is busy: too many reads wait");
    metrics_.reads_pool.Add();
    const auto work = [this, &read] { return Call(read, rocksdb::ReadOptions()); };
    const rocksdb::Status status = co_await posthouse::RunOn(pool_, work);
    co_return FromRocks(status, "read");
  }

 private:
  template <typename ReadFn>
  rocksdb::Status Call(ReadFn& read, const rocksdb::ReadOptions& options) {
    const ReopenableDb::Ref open = db_.Get();
    if (open == nullptr) return rocksdb::Status::Busy("recovering from an I/O error");
    rocksdb::Status status = read(*open, options);
    // A file that is in use and gone is damage: waiting brings it back no more than a rotten byte.
    if (status.IsPathNotFound()) status = rocksdb::Status::Corruption("a file is missing", status.ToString());
    // It may have read what a failed write left in memory only.
    if (!open->Valid()) return rocksdb::Status::Busy("recovering from an I/O error");
    if (status.IsCorruption()) damage_.Note(status);
    return status;
  }

  static constexpr size_t kMaxBacklog = 4096;
  const ReopenableDb& db_;
  ThreadPool& pool_;
  Damage& damage_;
  StoreMetrics& metrics_;
};

}  // namespace posthouse::store
