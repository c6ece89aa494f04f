// Spool: every message that this shard has accepted and not yet settled, and the done marks
// of the settled ones. One partition and some blobs of a Store; key_schema.h has the rows
// and what recovery does with them.
//
// Durability: a change whose `done` is called with OK survives power loss. A change that
// fails has left nothing that a reader can see. Changes are committed in the order in which
// they were submitted, many in one commit; so the ledger is exact, and a settled message
// costs no sync of its own beside the next accepted one.
//
// One process owns a shard: Open() takes it, Release() hands it back. A second process that
// opens it makes every later commit of the first fail with kFailedPrecondition ("fenced");
// healthy() then says so. Where shards are shared by leases, the next owner waits for the
// lease of an owner that ended without Release(), and for no other; on RocksDB, whose
// directory has one process, nobody waits.
//
// Errors: those of store.h, but a commit with an unknown outcome is repeated until the
// outcome is known (guarded_partition.h). kDeadlineExceeded: the spool was closed before
// that, and the change may have happened.
//
// Threads: any. Completions arrive on the executor where a commit ended; awaited calls
// resume on the caller's. Close() before destruction.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"
#include "services/queue/spool/body_writer.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::store {
struct GuardMetrics;
template <typename Model>
class GuardedPartition;
}  // namespace posthouse::store

namespace posthouse::queue {

using Clock = std::function<absl::Time()>;

// ReadItems() ends a page after this many bytes of rows.
inline constexpr size_t kItemPageBytes = 1024 * 1024;

struct SpoolOptions {
  std::string shard = "0";
  Clock clock = [] { return absl::Now(); };
  // Timers and retries run here; it outlives the spool.
  Executor* executor = nullptr;
  // How long a lazy change waits for other changes to share its commit.
  absl::Duration linger = absl::Milliseconds(10);
  // For all bodies in memory together. Bodies that become rows are in memory until they are
  // committed, whatever the budget is; their owner then asks memory_is_short().
  size_t memory_body_budget = 64 * 1024 * 1024;
  store::GuardMetrics* metrics = nullptr;  // null: not counted
};

// A due row.
struct DueEntry {
  absl::Time due;
  QueueId queue_id;
  Destination destination;  // of all its waiting recipients, see DestinationOf()
  absl::Time wake;
  uint64_t size_bytes = 0;  // of the message; 0: not known
};
// A page of the due index.
struct DuePage {
  std::vector<DueEntry> entries;  // in order
  std::string last_key;           // pass as `after` for the next page
  bool more = false;
};

// A page of items.
struct ItemPage {
  std::vector<ItemRecord> items;  // in order of their ids
  std::string last_id;            // text of an id; pass as `after` for the next page
  bool more = false;
};

// Sums since the store was created (v1.Head).
struct Ledger {
  uint64_t accepted = 0, delivered = 0, relayed = 0, failed = 0, expired = 0, deleted = 0;
  uint64_t items = 0;
  uint64_t queued() const { return accepted - delivered - relayed - failed - expired - deleted; }
};

// The id of the message; `duplicate`: of an earlier Put() with the same key.
struct PutResult {
  QueueId queue_id;
  bool duplicate = false;
};

// What Open() found: the owner before this one.
enum class Predecessor {
  kNone,         // the shard is new
  kReleased,     // it has handed the shard back
  kNotReleased,  // it was killed, or is of a version that does not hand shards back
};
absl::string_view PredecessorName(Predecessor predecessor);  // "none", "released", "not_released"

class LastHead;
class SpoolModel;

class Spool {
 public:
  // Opens the shard, creating it when absent, and fences any other owner.
  // kFailedPrecondition: a newer schema wrote it. A damaged head is made anew.
  static Task<absl::StatusOr<std::unique_ptr<Spool>>> Open(store::Store& store, SpoolOptions options);

  std::unique_ptr<BodyWriter> NewBody();
  // Takes responsibility for a message (RFC 5321 §4.2.5, 250 after DATA). Sets the item's
  // queue id, size and blob from `body`. When record->idempotency_key was used before,
  // stores nothing and answers the first call's id.
  Task<absl::StatusOr<PutResult>> Put(std::shared_ptr<ItemRecord> record, Body body, absl::Time wake);
  // Whether a Put() that failed with `status` has surely stored nothing.
  static bool SurelyNotPut(const absl::Status& status);

  // Queues a change at once, so that the order of calls is the order of commits.
  void Submit(Change change, absl::AnyInvocable<void(absl::Status)> done);
  Task<absl::Status> Commit(Change change);  // Submit() and wait

  // nullopt: no such item (or done mark).
  Task<absl::StatusOr<std::optional<ItemRecord>>> Load(QueueId queue_id);
  Task<absl::StatusOr<std::optional<ItemRecord>>> LoadDone(QueueId queue_id);
  // Bytes of an item's message. kNotFound, kDataLoss: they are not there.
  Task<absl::StatusOr<absl::Cord>> ReadBody(QueueId queue_id, std::string blob, uint64_t offset, uint64_t length);
  // Where the rows cannot be read, the items say what is due.
  Task<absl::StatusOr<DuePage>> ReadDue(std::string after, size_t limit);
  // Items (or done marks) with ids greater than `after`, at most `limit` and about
  // kItemPageBytes. A row that cannot be read is logged and left out, also in a damaged block; so continue while
  // there is `more`, even after an empty page.
  Task<absl::StatusOr<ItemPage>> ReadItems(bool done, std::string after, size_t limit);

  Predecessor predecessor() const { return predecessor_; }
  Ledger ledger() const;
  // OK, or why this process can no longer write the shard.
  absl::Status healthy() const;
  // Whether this process is writing a body under that id.
  bool IsBeingWritten(const QueueId& queue_id) const { return blobs_in_progress_->Contains(queue_id); }
  // Bytes of bodies in memory, and whether that is more than the budget.
  size_t body_memory() const { return memory_use_->load(std::memory_order_relaxed); }
  bool memory_is_short() const { return body_memory() > options_.memory_body_budget; }
  store::Store& store() { return store_; }
  const SpoolOptions& options() const { return options_; }

  // Hands the shard back, durably and after all changes that were submitted before. Submit nothing afterwards: a
  // change would take the shard again. kFailedPrecondition: another process has it. kDeadlineExceeded: unknown.
  Task<absl::Status> Release(absl::Time deadline);
  // Refuses further changes with kUnavailable, and waits for the commits of those submitted.
  Task<void> Close();

 private:
  Spool(store::Store& store, SpoolOptions options);
  Task<absl::StatusOr<std::optional<ItemRecord>>> LoadRow(std::string key);
  Task<absl::Status> MendHead();
  struct LostDueKeys {
    std::string after, until;
  };
  // Adds what is due between the keys that cannot be read.
  Task<absl::Status> AddDueItems(const std::vector<LostDueKeys>& lost, DuePage& page);

  store::Store& store_;
  const SpoolOptions options_;
  const store::Partition partition_id_;
  const MemoryUse memory_use_ = std::make_shared<std::atomic<size_t>>(0);
  const std::shared_ptr<BlobsInProgress> blobs_in_progress_ = std::make_shared<BlobsInProgress>();
  const std::shared_ptr<LastHead> last_head_;
  Predecessor predecessor_ = Predecessor::kNone;  // set by Open()
  const std::shared_ptr<store::GuardedPartition<SpoolModel>> partition_;
};

}  // namespace posthouse::queue
