// ReopenableDb: the open RocksDB of a store, which can be closed and opened again.
//
// After an I/O error RocksDB may be read-only, and the end of its log uncertain.
// Opening the database again inside the process settles what the log holds, as a
// restart would. Reads answer kUnavailable meanwhile.
//
// RocksDB writes through a FreezingFs, which stops at the first failed write. While the
// disk takes no writes, the files are open for reading only. While the volume is short
// of space, the database is frugal: it neither compacts nor flushes by itself, and
// replays its logs into memory when it opens, so that removals need little more than
// their own bytes. The reserve, a file of allocated blocks, is let go for them.
//
// Threads: Get() and epoch() any; Reopen() one at a time. Internal to RocksStore.
#pragma once

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/statistics.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "services/common/store/rocks/freezing_fs.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/rocks/rocks_tuning.h"
#include "services/common/store/rocks/space_reserve.h"
#include "services/common/store/rocks/space_watch.h"
#include "services/common/store/rocks/write_health.h"

namespace posthouse::store {

class ReopenableDb {
 public:
  struct Handles {
    ~Handles();  // closes, then notifies `closed`
    // False: `db` may hold rows that the disk lacks. Ask after a read, before its result is used.
    bool Valid() const { return read_only || !fs->frozen(); }

    std::shared_ptr<FreezingFs> fs;
    std::unique_ptr<rocksdb::Env> env;  // with `fs`; outlives `db`
    rocksdb::Env* lock_env = nullptr;
    rocksdb::FileLock* lock = nullptr;  // of a database that is open for reading only
    bool read_only = false;
    bool frugal = false;
    mutable std::atomic<bool> closing{false};  // ends compactions that a caller runs
    std::unique_ptr<rocksdb::DB> db;
    rocksdb::ColumnFamilyHandle* rows = nullptr;
    rocksdb::ColumnFamilyHandle* blobs = nullptr;
    const std::shared_ptr<absl::Notification> closed = std::make_shared<absl::Notification>();
  };
  using Ref = std::shared_ptr<const Handles>;

  // `space` outlives this. On a volume without a free byte, the database may be open for
  // reading only; `health` says so.
  static absl::StatusOr<std::unique_ptr<ReopenableDb>> Open(const RocksOptions& options, SpaceWatch& space,
                                                            std::shared_ptr<WriteHealth> health);
  // For one call into RocksDB; a caller must not hold the Ref across a co_await. Null
  // while Reopen() runs.
  Ref Get() const;
  // Changes with every Reopen().
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  // Closes the database and opens it again, once a probe file could be written and
  // synced; else the files stay open for reads. Waits for running reads. The caller
  // calls WriteHealth::Opened() after OK, and Fail() else.
  absl::Status Reopen();
  // Allocates the reserve if there is room for it.
  void TakeReserve();
  uint64_t reserve_bytes() const { return reserve_.held() ? reserve_.bytes() : 0; }

  const rocksdb::Statistics& statistics() const { return *tuning_.db.statistics; }
  const rocksdb::Cache& cache() const { return *tuning_.cache; }

 private:
  enum class Mode { kNormal, kFrugal, kReadOnly };
  ReopenableDb(const RocksOptions& options, SpaceWatch& space, std::shared_ptr<WriteHealth> health);
  absl::StatusOr<Ref> OpenHandles(Mode mode) const;
  absl::Status OpenDb(Mode mode, Handles* handles) const;
  absl::StatusOr<Ref> OpenForWriting();
  Mode ModeNow();
  absl::Status Probe() const;
  void Close();
  void Install(Ref opened);

  const std::string path_;
  const FormatRange formats_;
  SpaceWatch& space_;
  SpaceReserve reserve_;
  bool swept_ = false;  // the pieces of blobs that a crash left unfinished
  rocksdb::Env* const env_;
  const std::shared_ptr<WriteHealth> health_;
  const Tuning tuning_;
  std::atomic<uint64_t> epoch_{1};
  mutable absl::Mutex mutex_;
  Ref current_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::store
