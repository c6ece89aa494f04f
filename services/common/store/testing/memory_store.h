// MemoryStore: the Store interface over maps, for tests, and the simplest statement
// of what every engine must do and may do.
//
// Rows and blobs live in a MemoryDisk. Several MemoryStores over one disk are several
// processes that share a cluster; a new store over an old disk is a process that
// restarts.
//
// Threads: any. Every call completes at once, on the caller's thread, unless the disk
// is stalled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"
#include "services/common/store/testing/memory_disk.h"

namespace posthouse::store {

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
  absl::Status Health() override;
  EngineLimits Limits() const override;
  uint64_t Incarnation() const override { return incarnation_; }
  // As a store that was opened with an accepted loss. Before its first use.
  void SetIncarnation(uint64_t incarnation) { incarnation_ = incarnation; }
  BlobStore& blobs() override { return *blobs_; }

 private:
  // Static, since a call whose deadline passed may outlive the store.
  static Task<absl::StatusOr<ReadResult>> ReadFrom(std::shared_ptr<MemoryDisk> disk, ReadRequest request);
  static Task<absl::Status> CommitTo(std::shared_ptr<MemoryDisk> disk, CommitRequest request);

  const std::shared_ptr<MemoryDisk> disk_;
  const std::unique_ptr<BlobStore> blobs_;
  uint64_t incarnation_ = 0;
};

}  // namespace posthouse::store
