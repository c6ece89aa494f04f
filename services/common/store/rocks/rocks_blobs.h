// RocksBlobs: the BlobStore of a RocksStore, in its own column family with BlobDB:
// bodies above 16 KiB live in blob files and are not rewritten by compaction.
//
// A body of at most one piece (1 MiB) is one row. Finish() does not even write a body
// of up to 256 KiB: the body waits in memory, readable, and reaches the disk in the same
// batch as the next commit. Larger bodies are written in pieces as they come, unsynced,
// under a stream number that a header row names at Finish(). Until then a mark row
// shows SweepUnfinished() which pieces to remove after a crash. Every commit's sync
// covers all blobs finished before, so CommitRequest.needs_blobs asks nothing more here.
// A writer holds up to one piece in memory. Together the writers of a store hold at most
// 128 MiB, and 128 KiB each beyond that; above it Append() returns kResourceExhausted.
// Rows and their combinations: key_encoding.h. Threads: any.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/synchronization/mutex.h"
#include "services/common/memory_budget/memory_budget.h"
#include "services/common/store/rocks/commit_op.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/store.h"

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
}  // namespace rocksdb

namespace posthouse::store {

class Committer;
class ReopenableDb;
class SpaceReturn;
class SpaceWatch;
class TieredReader;

class RocksBlobs final : public BlobStore {
 public:
  // All outlive this, and the committer stops first.
  RocksBlobs(const ReopenableDb& db, TieredReader& reader, Committer& committer, SpaceWatch& space,
             SpaceReturn& space_return);
  ~RocksBlobs() override;

  // Removes the pieces of writers that a crash ended. Call it before anything else.
  static absl::Status SweepUnfinished(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family);

  std::unique_ptr<BlobWriter> Create(const std::string& tenant, const std::string& name) override;
  Task<absl::StatusOr<absl::Cord>> Get(std::string tenant, std::string name, uint64_t offset, uint64_t length) override;
  Task<absl::StatusOr<uint64_t>> Size(std::string tenant, std::string name) override;
  Task<absl::Status> Delete(std::string tenant, std::string name) override;
  // In ascending order of names; the cursor is the last name.
  Task<absl::StatusOr<BlobPage>> List(std::string tenant, std::string cursor, size_t limit) override;

 private:
  class Writer;
  // Names on their way to the disk. They are taken, and readable once they have a body.
  struct Pending {
    std::optional<absl::Cord> body;
  };

  bool Reserve(const std::string& header_key);
  void Release(const std::string& header_key);
  std::optional<absl::Cord> FindPending(const std::string& header_key) const;
  Task<absl::StatusOr<BlobHeader>> ReadHeader(std::string header_key);
  Task<absl::Status> FinishSmall(std::string tenant, std::string name, absl::Cord body);
  Task<absl::Status> Publish(std::string header_key, std::unique_ptr<CommitOp> op);
  Task<absl::Status> CheckFree(std::string header_key);
  uint64_t NewStream();

  const ReopenableDb& db_;
  TieredReader& reader_;
  Committer& committer_;
  SpaceWatch& space_;
  SpaceReturn& space_return_;
  const std::shared_ptr<MemoryBudget> unwritten_;  // what the writers hold in memory
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Pending> pending_ ABSL_GUARDED_BY(mutex_);  // by header key
  absl::BitGen random_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::store
