// Spool: every message this shard has accepted and not yet settled, and the done
// marks of those it has. One partition and some blobs of a Store; rows and what
// recovery does with them: key_schema.h.
//
// Durability: a change whose `done` is called with OK survives power loss; one
// that fails has left nothing a reader can see. Changes are committed in the order
// they were submitted, many in one commit (which is what keeps the ledger exact
// and lets a settle ride along with the next accept for nothing).
//
// One process writes a shard. A second one that opens it makes every later commit
// of the first fail with kFailedPrecondition ("fenced"): healthy() says so.
//
// Errors: those of store.h; an unknown commit is retried here until it is known,
// so that kDeadlineExceeded never comes out of a change. kUnknown: the spool was
// closed before that.
//
// Threads: any. Completions arrive on the executor where a commit ended; awaited
// calls resume on the caller's. Close() before destruction.
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
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"
#include "services/queue/spool/body_writer.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::queue {

using Clock = std::function<absl::Time()>;

// ReadItems() stops after so much.
inline constexpr size_t kItemPageBytes = 1024 * 1024;

struct SpoolOptions {
  std::string shard = "0";
  Clock clock = [] { return absl::Now(); };
  // Timers and retries run here; it outlives the spool.
  Executor* executor = nullptr;
  // How long a lazy change waits for company.
  absl::Duration lazy_delay = absl::Milliseconds(10);
  // Bodies kept in memory at one time, all together. Those that are rows are kept
  // anyway until they are committed; who holds them then looks at memory_is_short().
  size_t memory_body_budget = 64 * 1024 * 1024;
};

// A due row.
struct DueEntry {
  absl::Time due;
  QueueId queue_id;
  Destination destination;  // of all its waiting recipients, see DestinationOf()
  absl::Time wake;
};
struct DuePage {
  std::vector<DueEntry> entries;  // in order
  std::string last_key;           // pass as `after` for the next page
  bool more = false;
};

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

struct PutResult {
  QueueId queue_id;
  bool duplicate = false;
};

class Spool {
 public:
  // Opens the shard, creating it when absent, and fences any other writer.
  // kFailedPrecondition when it was written by a newer schema.
  static Task<absl::StatusOr<std::unique_ptr<Spool>>> Open(store::Store& store, SpoolOptions options);
  virtual ~Spool() = default;

  virtual std::unique_ptr<BodyWriter> NewBody() = 0;
  // Takes responsibility for a message (RFC 5321 §4.2.5, 250 after DATA). Sets the
  // item's queue id, size and blob from `body`. When record->idempotency_key was
  // seen before, stores nothing and answers the first call's id.
  virtual Task<absl::StatusOr<PutResult>> Put(std::shared_ptr<ItemRecord> record, Body body, absl::Time wake) = 0;

  // Queues a change at once, so that the order of calls is the order of commits.
  virtual void Submit(Change change, absl::AnyInvocable<void(absl::Status)> done) = 0;
  Task<absl::Status> Commit(Change change);  // Submit() and wait

  // nullopt: no such item (or done mark).
  virtual Task<absl::StatusOr<std::optional<ItemRecord>>> Load(QueueId queue_id) = 0;
  virtual Task<absl::StatusOr<std::optional<ItemRecord>>> LoadDone(QueueId queue_id) = 0;
  // Bytes of an item's message. kNotFound, kDataLoss: it is not there.
  virtual Task<absl::StatusOr<absl::Cord>> ReadBody(QueueId queue_id, std::string blob, uint64_t offset,
                                                    uint64_t length) = 0;
  virtual Task<absl::StatusOr<DuePage>> ReadDue(std::string after, size_t limit) = 0;
  // Items (or done marks) with ids greater than `after`, at most `limit` and, however
  // many recipients they have, about kItemPageBytes. What cannot be read is logged and
  // left out: go on while there is `more`, whatever the size of a page.
  virtual Task<absl::StatusOr<ItemPage>> ReadItems(bool done, std::string after, size_t limit) = 0;

  virtual Ledger ledger() const = 0;
  // OK, or why this process can no longer write the shard.
  virtual absl::Status healthy() const = 0;
  // Whether a body of this process is being written under that name.
  virtual bool IsBeingWritten(const QueueId& queue_id) const = 0;
  // Bytes of bodies in memory, and whether that is more than the budget.
  virtual size_t body_memory() const = 0;
  bool memory_is_short() const { return body_memory() > options().memory_body_budget; }
  virtual store::Store& store() = 0;
  virtual const SpoolOptions& options() const = 0;

  // Fails what is not committed yet with kUnavailable and waits for the commit in progress.
  virtual Task<void> Close() = 0;
};

}  // namespace posthouse::queue
