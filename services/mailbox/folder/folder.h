// Folder: one open folder. Reads it, and makes every change to it.
//
// Durability: each change is one commit, guarded by the head: message rows, change-log row,
// dedupe rows and the new head, all or nothing. OK means that it survives power loss. A change
// of more than kBatch messages is several commits, each a correct state of its own. Changes
// that wait at the same time share a commit. UIDs and MODSEQs come from the head and are
// never used twice.
//
// Several Folder objects, also of several processes, may have the same folder open: what is in
// memory is a guess, and the store refuses a commit that is based on an old head
// (store::GuardedPartition). A read answers from memory, so it may miss another process's
// newest commits; everything that this object committed is in it.
//
// Errors: kNotFound the folder was deleted; kDeadlineExceeded unknown, repeat it under the same
// dedupe key or operation id; else as store::GuardedPartition.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/mailbox/folder/blob_pins.h"
#include "services/mailbox/folder/folder_deciders.h"
#include "services/mailbox/folder/folder_model.h"
#include "services/mailbox/folder/folder_types.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/recent_mark.h"
#include "services/mailbox/folder/usage.h"

namespace posthouse::mailbox {

class Folder {
 public:
  static constexpr size_t kBatch = kBatchMessages;      // messages of one flag change, expunge or copy commit
  static constexpr size_t kMaxVanishedRanges = 50'000;  // of ChangesAfter()

  Folder(MailboxDeps& deps, FolderRef ref, std::shared_ptr<Usage> usage);

  const FolderRef& id() const { return ref_; }
  const std::shared_ptr<Usage>& usage() const { return usage_; }

  // ---- reading (folder_read.cc)
  bool loaded() const;  // the head is in memory
  Task<absl::StatusOr<FolderSnapshot>> Snapshot();
  Task<absl::StatusOr<std::shared_ptr<const UidsView>>> Uids();
  // Messages of `uids` above `after`, with their keyword bits when `bits` is not null.
  Task<absl::StatusOr<std::vector<MessageMeta>>> Select(UidSet uids, Uid after, size_t limit,
                                                        std::vector<std::string>* bits = nullptr);
  // Changes after `modseq`, with at most `limit` messages above `after`. `full`: the log does not
  // reach back, or has more than kMaxVanishedRanges ranges.
  Task<absl::StatusOr<FolderChanges>> ChangesAfter(Modseq modseq, Uid after = Uid(), size_t limit = SIZE_MAX);
  // UIDs of `within` expunged after `modseq`; nullopt: the log does not reach back.
  Task<absl::StatusOr<std::optional<UidSet>>> VanishedAfter(Modseq modseq, UidSet within);
  // The messages of `uids` whose modseq is above `modseq`.
  Task<absl::StatusOr<UidSet>> ChangedSince(UidSet uids, Modseq modseq);
  // Messages that no session has claimed as \Recent.
  Task<absl::StatusOr<uint64_t>> CountRecent();
  RecentMark& recent() { return recent_; }
  // Adds the folder to its account's usage.
  Task<absl::Status> CountUsage();

  // ---- changing
  Task<absl::StatusOr<AppendResult>> Append(NewMessage message);
  // The UID that an append with this dedupe key has stored.
  Task<absl::StatusOr<std::optional<Uid>>> FindStoredUid(std::string dedupe_key);
  Task<absl::StatusOr<FlagResult>> StoreFlags(UidSet uids, FlagChange change);
  Task<absl::StatusOr<ExpungeResult>> Expunge(UidSet uids, bool even_undeleted, size_t max_ranges = SIZE_MAX);
  // Removes all its rows; answers what it held, as far as that is known. Every later call answers
  // kNotFound, also of other objects and processes: the head says so before a row goes. Repeatable.
  Task<absl::StatusOr<Usage::Amount>> Destroy();

  // ---- copying (mover.h)
  // The messages of `uids` above `after` that exist, at most kBatch. `hold` pins their bodies
  // before another change of this object can expunge them.
  Task<absl::StatusOr<std::vector<CopyItem>>> ReadForCopy(UidSet uids, Uid after, BlobPins::Hold& hold);
  // Adds the items in one commit with a CopyBatchRow; a batch that was done before is
  // answered from its row. `operation_id` may be empty: then no row is kept. The
  // second half of a `move` goes on while the disk is full.
  Task<absl::StatusOr<CopyBatch>> AddCopies(std::string operation_id, uint32_t batch, std::vector<CopyItem> items,
                                            bool last, bool move);
  Task<absl::StatusOr<std::optional<CopyBatch>>> ReadCopyBatch(std::string operation_id, uint32_t batch);
  Task<absl::Status> WriteIntent(MoveIntent intent);
  // Expunges `moved` and removes the intent, in one commit.
  Task<absl::Status> FinishIntent(std::string operation_id, UidSet moved);
  Task<absl::StatusOr<std::vector<MoveIntent>>> ReadIntents();
  // Held for a whole move out of this folder, so that no message is moved twice.
  AsyncMutex& move_mutex() { return move_mutex_; }
  // True once after the folder was opened with intents, and after a failed move.
  bool TakeRecoveryNeeded() { return rows_->model().TakeRecoveryNeeded(); }
  void SetRecoveryNeeded() { rows_->model().SetRecoveryNeeded(); }

  size_t MemoryBytes() const;

 private:
  using Rows = store::GuardedPartition<FolderModel>;

  static constexpr unsigned kIndex = FolderModel::kIndex;

  // One commit by `decide`. A change with `use_reserve` goes on while the disk is full.
  Task<absl::Status> Change(Rows::Decider decide, bool use_reserve, unsigned parts = 0);
  int64_t Now() const { return absl::ToUnixSeconds(deps_.clock()); }
  FolderSnapshot SnapshotOf(const FolderState& state) const { return {ref_.folder_id, state.head, state.keywords}; }
  Task<absl::StatusOr<std::vector<std::optional<std::string>>>> ReadKeys(store::Partition partition,
                                                                         std::vector<std::string> keys);
  // The UIDs that the log has as expunged in (after, to]; nullopt: some of its rows are gone.
  Task<absl::StatusOr<std::optional<UidSet>>> ExpungedBetween(Modseq after, Modseq to);
  Task<void> AddCachedRows(std::vector<CopyItem>& items);

  MailboxDeps& deps_;
  const FolderRef ref_;
  const store::Partition partition_;
  const store::Partition cache_partition_;
  const std::shared_ptr<Usage> usage_;
  const std::shared_ptr<Rows> rows_;
  RecentMark recent_;
  AsyncMutex move_mutex_;

  absl::Mutex view_mutex_;
  std::shared_ptr<const UidsView> view_ ABSL_GUARDED_BY(view_mutex_);  // of the newest head that was asked for
};

}  // namespace posthouse::mailbox
