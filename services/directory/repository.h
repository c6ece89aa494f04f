// Repository: the directory's rows, who may change them, and the index over them.
//
// One writer: Open() takes the next epoch and claims the head row of every partition
// before it reads the rest. Each partition is a store::GuardedPartition, so a commit
// holds only while the head is this writer's. A writer whose place was taken (frozen,
// then resumed) cannot change anything: it becomes fenced() and must be restarted.
//
// Durability: Turn::Commit() is OK when the rows, the log row and the head are stored
// together. When the store does not know whether a commit happened, and cannot tell
// before the patience ends, the answer is kDeadlineExceeded. The next Begin() finds out
// before anything else is decided. The index always shows what the store has.
//
// Threads: any. Reading runs under a shared lock and must be short.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "posthouse/directory/v1/store.pb.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"
#include "services/directory/change_feed.h"
#include "services/directory/index.h"
#include "services/directory/record_edit.h"

namespace posthouse {
class Executor;
namespace store {
struct GuardMetrics;
}
}  // namespace posthouse

namespace posthouse::directory {

struct RepositoryOptions {
  Executor* executor = nullptr;            // for pauses between tries; null: none
  store::GuardMetrics* metrics = nullptr;  // null: not counted
  // How long a commit is tried whose outcome is unknown or that the store cannot take.
  absl::Duration patience = absl::Seconds(10);
};

class Repository {
 public:
  // Takes over `store`, which outlives this, and loads it. A new store gets the tenant
  // "default".
  static Task<absl::StatusOr<std::unique_ptr<Repository>>> Open(store::Store& store, RepositoryOptions options = {});
  ~Repository();

  // The writer's turn: while it lives, no other change is made, so what the index says
  // holds until Commit().
  class Turn {
   public:
    Turn(Turn&&) = default;
    const Index& index() const;
    // The stamp of the edit that this turn commits.
    const EditStamp& stamp() const { return stamp_; }
    // Once.
    Task<absl::Status> Commit(RecordEdit edit);

   private:
    friend class Repository;
    Turn(Repository& repository, AsyncMutex::Guard guard, EditStamp stamp)
        : repository_(&repository), guard_(std::move(guard)), stamp_(stamp) {}
    Repository* repository_;
    AsyncMutex::Guard guard_;
    EditStamp stamp_;
  };
  // Waits for the turn. kFailedPrecondition when fenced; kUnavailable when a commit is in
  // doubt and the store cannot be read.
  Task<absl::StatusOr<Turn>> Begin();

  template <typename F>
  auto Read(F question) const {
    absl::ReaderMutexLock lock(&mutex_);
    return question(static_cast<const Index&>(index_));
  }
  store::Store& store() { return store_; }
  ChangeFeed& feed() { return feed_; }
  const ChangeFeed& feed() const { return feed_; }
  bool fenced() const { return fenced_; }

 private:
  struct Partition;  // the guarded partition with its model
  struct Model;

  Repository(store::Store& store, RepositoryOptions options);
  Task<absl::Status> Load();
  Partition& Of(const store::Partition& partition);
  Task<absl::Status> MendHead(store::Partition partition);
  Task<absl::Status> Claim(store::Partition partition, bool first);
  void NoteLost(const store::Partition& partition, std::string first, std::string last, const absl::Status& why);
  template <typename Record, typename Put>
  Task<absl::Status> LoadRows(store::Partition partition, std::string prefix, Put put);
  Task<absl::Status> CommitEdit(RecordEdit edit, uint64_t revision);
  void Landed(v1::ChangeRecord record, const std::vector<std::function<void(Index&)>>& follow);

  store::Store& store_;
  const RepositoryOptions options_;
  const uint64_t owner_;  // random: tells this writer's heads from those of another with the same epoch
  ChangeFeed feed_;
  AsyncMutex writer_;
  std::atomic<bool> fenced_{false};
  std::atomic<uint64_t> last_revision_{0};  // of all partitions; never used twice
  bool log_lost_ = false;                   // before Open() returns: part of a log could not be read
  // For the holder of writer_, and before Open() returns.
  uint64_t epoch_ = 0;  // 0: not claimed yet
  std::map<std::string, std::unique_ptr<Partition>> partitions_;
  std::string in_doubt_;  // partition whose last commit may have happened; "" none

  mutable absl::Mutex mutex_;
  Index index_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::directory
