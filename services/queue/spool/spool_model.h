// SpoolModel: what a commit of the spool is. The pure part of Spool: rows of the head,
// the decider of a change, and what store::GuardedPartition asks of its model.
//
// The head names the process that owns the shard (v1.Head, epoch and owner) and holds the
// ledger. The first commit of a model takes the shard over; after that a head of another
// owner is kFailedPrecondition ("fenced"). A commit with SpoolDraft::release hands the shard
// back; a later commit of the same owner takes it again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/queue/v1/store.pb.h"
#include "services/common/store/guarded_partition.h"
#include "services/common/store/store.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::queue {

// One commit of the spool in the making.
struct SpoolDraft : store::Draft {
  LedgerDelta ledger;
  std::vector<std::string> drop_blobs;  // once it is committed
  bool release = false;                 // this commit hands the shard back
  v1::Head head;                        // set by Seal()
};

// Drafts `change`. When the change has an idempotency key that the store, or an earlier
// change of the same commit, has already: drafts nothing and sets `duplicate_of`. In a full
// store only the removals of a change with `removal_only_ok` are drafted, unless it is `from_reserve`.
absl::StatusOr<store::Verdict> DecideChange(const Change& change, const store::FetchedRows& rows, SpoolDraft& draft,
                                            std::optional<QueueId>* duplicate_of);

// `head` after a commit.
v1::Head NextHead(v1::Head head, const LedgerDelta& delta);

// Whether the owner that `head` names has handed the shard back.
inline bool IsReleased(const v1::Head& head) { return head.epoch() != 0 && head.released_epoch() == head.epoch(); }

// The head of the last commit that is known, for readers beside the commits.
class LastHead {
 public:
  void Set(const v1::Head& head) {
    absl::MutexLock lock(&mutex_);
    head_ = head;
  }
  v1::Head Get() const {
    absl::MutexLock lock(&mutex_);
    return head_;
  }

 private:
  mutable absl::Mutex mutex_;
  v1::Head head_ ABSL_GUARDED_BY(mutex_);
};

class SpoolModel : public store::GuardedModel<v1::Head, SpoolDraft> {
 public:
  // `owner` is random and not 0: it differs from that of every other opening. `dropped` gets
  // the blobs of committed changes.
  SpoolModel(store::Store& store, store::Partition partition, uint64_t owner, std::shared_ptr<LastHead> last_head,
             std::function<void(std::vector<std::string>)> dropped);

  Task<absl::StatusOr<store::Loaded<v1::Head>>> Load(unsigned parts);
  void Begin(const v1::Head&, SpoolDraft&) const {}
  absl::StatusOr<store::SealedDraft> Seal(const v1::Head& head, SpoolDraft& draft);
  void Apply(v1::Head& head, SpoolDraft& draft);
  void Committed(const SpoolDraft& draft);

 private:
  store::Store* store_;
  store::Partition partition_;
  uint64_t owner_;
  std::shared_ptr<LastHead> last_head_;
  std::function<void(std::vector<std::string>)> dropped_;
  bool taken_over_ = false;
  uint64_t epoch_ = 0;  // since it was taken over
  // Numbers every head that this model seals, also one that is never committed: two commits
  // never write the same head, so a head proves which of them happened.
  uint64_t sequence_ = 0;
};

}  // namespace posthouse::queue
