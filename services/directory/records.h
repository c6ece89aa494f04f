// Records: the directory's rows, who may change them, and the index over them.
//
// One writer: Open() takes the next epoch and stamps it into the head row of every
// partition before it reads the rest. From then on a commit holds only while the
// head is what this process wrote last, so a writer whose place was taken (frozen,
// then resumed) cannot change anything: it becomes `fenced` and must be restarted.
//
// Durability: Transaction::Commit() is OK when the change, its log row and the
// head are stored together. When the store does not know whether a commit
// happened, the next Begin() reads the head and finds out before anything else is
// decided; the index always says what the store says.
//
// Threads: any. Reading runs under a shared lock and must be short.
#pragma once

#include <cstdint>
#include <functional>
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
#include "posthouse/directory/v1/store.pb.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"
#include "services/directory/change_feed.h"
#include "services/directory/index.h"

namespace google::protobuf {
class MessageLite;
}

namespace posthouse::directory {

class Records;

// One admin change in one partition. Holds the writer's lock from Begin() until it
// is destroyed, so what the index says stays true until Commit().
class Transaction {
 public:
  Transaction(Transaction&&) = default;
  const Index& index() const;
  // The revision this change will have.
  uint64_t revision() const { return revision_; }

  void Put(std::string key, const google::protobuf::MessageLite& record);
  void Erase(std::string key);
  // What watchers are told.
  void Note(v1::Change::Kind kind, std::string name, std::string account_id = "");
  // How the index follows, when it is stored.
  void Apply(std::function<void(Index&)> apply) { apply_.push_back(std::move(apply)); }

  // Partition of the change. Once.
  Task<absl::Status> Commit(store::Partition partition);

 private:
  friend class Records;
  Transaction(Records& records, AsyncMutex::Guard guard, uint64_t revision)
      : records_(&records), guard_(std::move(guard)), revision_(revision) {}

  Records* records_;
  AsyncMutex::Guard guard_;
  uint64_t revision_;
  std::vector<store::Mutation> mutations_;
  std::vector<v1::Change> changes_;
  std::vector<std::function<void(Index&)>> apply_;
};

class Records {
 public:
  // Takes over `store` (which outlives this) and loads it. A new store gets the
  // tenant "default".
  static Task<absl::StatusOr<std::unique_ptr<Records>>> Open(store::Store& store);

  // Waits for its turn. kFailedPrecondition when fenced.
  Task<absl::StatusOr<Transaction>> Begin();

  template <typename F>
  auto Read(F question) const {
    absl::ReaderMutexLock lock(&mutex_);
    return question(static_cast<const Index&>(index_));
  }
  store::Store& store() { return store_; }
  ChangeFeed& feed() { return feed_; }
  const ChangeFeed& feed() const { return feed_; }
  bool fenced() const;

 private:
  friend class Transaction;
  struct Pending {
    store::Partition partition;
    v1::PartitionHead new_head;
    v1::ChangeRecord record;
    std::vector<std::function<void(Index&)>> apply;
  };

  explicit Records(store::Store& store) : store_(store) {}
  Task<absl::Status> Load();
  Task<absl::Status> TakePartition(store::Partition partition, bool first);
  template <typename Record, typename Put>
  Task<absl::Status> LoadRows(store::Partition partition, std::string prefix, Put put);
  Task<absl::Status> LoadLog(store::Partition partition, std::vector<v1::ChangeRecord>* log, uint64_t* floor);
  Task<absl::Status> Settle();
  void Accept(Pending pending);
  Task<absl::Status> CommitNow(Pending pending, std::vector<store::Mutation> mutations);
  void AppendLog(const Pending& pending, std::vector<store::Mutation>* mutations);

  store::Store& store_;
  ChangeFeed feed_;
  AsyncMutex writer_;
  // Used by the holder of writer_ only.
  uint64_t epoch_ = 0;
  uint64_t last_revision_ = 0;
  std::map<std::string, std::string> heads_;            // encoded head by partition id, as stored
  std::map<std::string, std::deque<uint64_t>> logged_;  // revisions in a partition's log
  std::optional<Pending> pending_;                      // the store does not know whether it happened

  mutable absl::Mutex mutex_;
  Index index_ ABSL_GUARDED_BY(mutex_);
  bool fenced_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace posthouse::directory
