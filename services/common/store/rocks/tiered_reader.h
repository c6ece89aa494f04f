// TieredReader: reads from memory on the caller's thread, and from the disk on a
// pool: a hit costs no wake-up, a miss blocks no event loop.
//
// Threads: any. Internal to RocksStore.
#pragma once

#include <rocksdb/options.h>
#include <rocksdb/status.h>

#include <cstddef>

#include "absl/status/status.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/common/store/rocks/db_slot.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/store_metrics.h"

namespace posthouse::store {

class TieredReader {
 public:
  TieredReader(const DbSlot& slot, ThreadPool& pool, StoreMetrics& metrics)
      : slot_(slot), pool_(pool), metrics_(metrics) {}

  // Calls `read(const DbSlot::Handles&, const rocksdb::ReadOptions&)`, which says
  // Incomplete when memory does not do, and is then called again on the pool.
  // `read` must live until the await returns.
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

  // Straight to the pool: for what is long even when it is in memory.
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
    const DbSlot::Ref open = slot_.Get();
    if (open == nullptr) return rocksdb::Status::Busy("recovering from an I/O error");
    return read(*open, options);
  }

  static constexpr size_t kMaxBacklog = 4096;
  const DbSlot& slot_;
  ThreadPool& pool_;
  StoreMetrics& metrics_;
};

}  // namespace posthouse::store
