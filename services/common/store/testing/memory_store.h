// MemoryStore: the Store interface over maps, for tests and as the simplest
// statement of what every engine must do.
//
// Rows live in a MemoryDisk, which may outlive the store: opening a second
// MemoryStore over the same disk is a restart after a crash (finished blobs and
// committed rows are there, unfinished writers are not). Faults are injected on
// the disk. Threads: any; every call completes at once, on the caller's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"

namespace posthouse::store {

// What survives a MemoryStore, and the switches that tests turn.
class MemoryDisk {
 public:
  // Free space as Capacity() reports it; under `min_free_bytes` the store is full.
  void SetFreeBytes(uint64_t free_bytes, uint64_t min_free_bytes = 1);

  // Called before each valid commit. Anything but OK is what the caller gets; the
  // commit happens all the same when the hook sets `*apply_anyway`: so the answer
  // kDeadlineExceeded ("unknown") can be tested with either truth. The hook must
  // not use the store. Null: no faults.
  using CommitHook = std::function<absl::Status(const CommitRequest& request, bool* apply_anyway)>;
  void SetCommitHook(CommitHook hook);
  // Every read, of rows and blobs, fails with this until it is OK again.
  void SetReadError(absl::Status error);

 private:
  friend class MemoryStore;
  friend class MemoryBlobs;
  using Rows = std::map<std::string, std::string>;
  bool full() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return free_bytes_ < min_free_bytes_; }

  absl::Mutex mutex_;
  std::map<std::pair<std::string, std::string>, Rows> partitions_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<std::string, std::string>, absl::Cord> blobs_ ABSL_GUARDED_BY(mutex_);
  uint64_t free_bytes_ ABSL_GUARDED_BY(mutex_) = uint64_t{1} << 40;
  uint64_t min_free_bytes_ ABSL_GUARDED_BY(mutex_) = 1;
  CommitHook commit_hook_ ABSL_GUARDED_BY(mutex_);
  absl::Status read_error_ ABSL_GUARDED_BY(mutex_);
};

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(std::shared_ptr<MemoryDisk> disk = std::make_shared<MemoryDisk>());
  ~MemoryStore() override;

  MemoryDisk& disk() { return *disk_; }

  Task<absl::StatusOr<ReadResult>> Read(ReadRequest request) override;
  Task<absl::Status> Commit(CommitRequest request) override;
  Task<absl::Status> Drop(Partition partition) override;
  Task<absl::StatusOr<std::vector<Partition>>> List(std::string tenant, std::string prefix, std::string after,
                                                    size_t limit) override;
  Task<absl::StatusOr<CapacityInfo>> Capacity() override;
  EngineLimits Limits() const override { return {}; }
  BlobStore& blobs() override { return *blobs_; }

 private:
  absl::StatusOr<ReadResult> ReadNow(const ReadRequest& request);
  absl::Status CommitNow(CommitRequest request);
  absl::StatusOr<std::vector<Partition>> ListNow(const std::string& tenant, const std::string& prefix,
                                                 const std::string& after, size_t limit);

  const std::shared_ptr<MemoryDisk> disk_;
  const std::unique_ptr<BlobStore> blobs_;
};

}  // namespace posthouse::store
