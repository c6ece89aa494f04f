// RocksStore: the Store interface on an embedded RocksDB, one directory a store.
//
// One process owns the directory. One group committer (committer.h) writes the
// commits: all that wait share one fsync. Reads that memory can answer run on the
// caller's thread, the others on a pool of `read_threads`. Blobs have a column family
// with blob files (rocks_blobs.h). key_encoding.h describes the bytes on disk.
//
// After power loss, kill -9 or an I/O error, everything that was acknowledged is
// there and nothing is half there. A full disk and most I/O errors need no
// restart: the engine resumes with the first commit after the cause is gone.
//
// Threads: any. Every call must have returned before the destructor runs. Calls that
// passed their deadline have; the destructor waits for the work that they left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/format.h"
#include "services/common/store/rocks/space_watch.h"
#include "services/common/store/store.h"

namespace rocksdb {
class Env;
}

namespace posthouse::store {

enum class CommitStep;

struct RocksOptions {
  std::string path;  // the store's own directory; created if absent
  std::string name;  // label of its metrics: "queue", "mailbox", "directory"
  uint64_t block_cache_bytes = uint64_t{64} << 20;
  // One memtable of one column family; all together take at most four times this.
  uint64_t write_buffer_bytes = uint64_t{32} << 20;
  uint64_t min_free_bytes = uint64_t{256} << 20;  // under it: deletes only
  int read_threads = 4;
  int background_threads = 2;     // flushes and compactions
  FormatRange formats;            // that this binary knows
  bool accept_data_loss = false;  // open although acknowledged commits are missing
  // Recover what is intact behind damaged log records. Open() sets it when a loss is
  // accepted and RocksDB cannot stop at the first one, since table files are ahead of it.
  bool skip_damaged_log_records = false;
  size_t max_batch_bytes = size_t{4} << 20;
  size_t max_waiting_bytes = size_t{64} << 20;  // of commits in the queue; over it kUnavailable
  absl::Duration space_check_interval = absl::Milliseconds(500);
  absl::Duration reopen_interval = absl::Milliseconds(200);  // between the first attempts to recover from a write error
  // The space of removed blobs is given back once so many bytes were removed (on a full
  // store: some), and none for a while.
  uint64_t return_space_at_bytes = uint64_t{64} << 20;
  absl::Duration return_space_pause = absl::Seconds(2);
  // When the disk does not answer to a commit: Health() is an error from the first time
  // on, and the commit is answered at the second.
  absl::Duration unready_after = absl::Seconds(10);
  absl::Duration answer_within = absl::Seconds(30);
  // For tests.
  rocksdb::Env* env = nullptr;
  MeasureSpace measure_space;
  std::function<void(CommitStep)> on_step;
};

class RocksStore final : public Store {
 public:
  // kFailedPrecondition: another process has the directory open, or the files are
  // of a newer format than this binary knows. kDataLoss: the files are damaged, or
  // acknowledged commits are missing (loss_check.h); see options.accept_data_loss.
  // In each case the message says what to do, and nothing was changed.
  static absl::StatusOr<std::unique_ptr<RocksStore>> Open(const RocksOptions& options, metrics::Registry& registry);
  ~RocksStore() override;

  Task<absl::StatusOr<ReadResult>> Read(ReadRequest request) override;
  Task<absl::Status> Commit(CommitRequest request) override;
  Task<std::vector<absl::Status>> CommitAll(std::vector<CommitRequest> requests) override;
  Task<absl::Status> Drop(Partition partition) override;
  Task<absl::StatusOr<std::vector<Partition>>> List(std::string tenant, std::string prefix, std::string after,
                                                    size_t limit) override;
  Task<absl::StatusOr<CapacityInfo>> Capacity() override;
  absl::Status Health() override;
  EngineLimits Limits() const override { return {}; }
  uint64_t Incarnation() const override;
  int Format() const override;
  Task<absl::Status> RaiseFormat(int format) override;
  absl::StatusOr<StoreImage> TakeImage(const std::string& directory) override;
  BlobStore& blobs() override;

  // Writes all rows and blobs to table and blob files; for tests.
  absl::Status Flush();

 private:
  struct Impl;
  explicit RocksStore(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace posthouse::store
