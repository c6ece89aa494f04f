// Folder: one open folder. Holds its head and, once something needs it, an index of
// its messages; makes every change to it.
//
// Durability: each change is one guarded commit: head compare-and-set, message rows,
// change-log row, dedupe rows. OK means it survives power loss. A change of more than
// kBatch messages is several commits, each a correct state of its own. On a conflict
// (another writer) the cached state is dropped, re-read, and the change decided anew;
// after an unknown outcome the change-log row, which carries a nonce, tells whether it
// happened. UIDs and MODSEQs come from the head and are never used twice.
//
// Errors: kNotFound the folder was deleted; else as store::Store, kAborted after
// several conflicts in a row.
//
// Threads: any. Changes are serialised by an AsyncMutex that is held over the commit;
// reads look at memory under a mutex that is held over no await. Appends that wait at
// the same time share one commit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mailbox/folder/context.h"
#include "services/mailbox/folder/usage.h"
#include "services/mailbox/rows/folder_index.h"
#include "services/mailbox/rows/head.h"
#include "services/mailbox/rows/records.h"

namespace posthouse::mailbox {

struct CachedMessage;  // cache_rows.h

struct FolderId {
  std::string tenant;
  std::string account_id;
  std::string folder_id;
};

// The head with the names of its keywords.
struct FolderSnapshot {
  std::string folder_id;
  Head head;
  std::vector<std::string> keywords;
};

struct UidsView {
  FolderSnapshot state;
  UidSet uids;
  uint32_t first_unseen = 0;
};

struct NewMessage {
  uint32_t flags = 0;
  std::vector<std::string> keywords;
  int64_t internal_date = 0;
  int zone = 0;
  uint64_t size_bytes = 0;
  std::string blob;                             // 16 bytes; the blob is written
  std::string thread_id;                        // message::ThreadId; may be empty
  std::string done_key;                         // d/ or a/ key that makes a repetition a no-op; "": none
  std::shared_ptr<const CachedMessage> cached;  // null: built when first read
};

struct AppendResult {
  uint32_t uid = 0;
  bool duplicate = false;  // nothing stored: done_key was there, with this UID
  FolderSnapshot state;
};

struct FlagChange {
  enum class Mode { kReplace, kAdd, kRemove };
  Mode mode = Mode::kReplace;
  uint32_t flags = 0;
  std::vector<std::string> keywords;
  std::optional<uint64_t> unchanged_since;  // RFC 7162 §3.1.3
  bool only_changed = false;                // report only the messages that changed
  // A part of the work: messages above this UID, and no more after about so many.
  uint32_t after = 0;
  size_t max_messages = SIZE_MAX;
};

struct FlagResult {
  std::vector<MessageMeta> messages;      // as they are now
  std::vector<std::string> keyword_bits;  // of `messages`, pairwise
  UidSet modified;                        // failed unchanged_since
  std::vector<uint64_t> own_modseqs;      // taken by this change, ascending
  uint32_t continue_after = 0;            // not 0: those above it are still to be done
  FolderSnapshot state;
};

struct ExpungeResult {
  UidSet expunged;
  bool more = false;  // stopped at `max_ranges`
  FolderSnapshot state;
};

// What a copy takes from a source message.
struct CopyItem {
  uint32_t uid = 0;
  std::string row;                                // m/ row as stored
  std::vector<std::string> keywords;              // by name: the target numbers them anew
  std::vector<std::optional<std::string>> cache;  // e/, s/, h/ rows
};

struct CopyBatch {
  std::vector<std::pair<uint32_t, uint32_t>> uids;  // source, target
  uint32_t covered_to = 0;
  bool last = false;
};

// One batch of a move that is under way.
struct MoveIntent {
  std::string operation_id;
  std::string to_folder_id;
  UidSet uids;
  uint32_t batch = 0;
  bool last = false;
};

struct FolderChanges {
  FolderSnapshot state;
  std::vector<MessageMeta> messages;      // new and changed
  std::vector<std::string> keyword_bits;  // pairwise
  UidSet vanished;                        // when asked from UID 0
  bool full = false;
  bool more = false;  // messages above the last one follow
};

class Folder : public std::enable_shared_from_this<Folder> {
 public:
  static constexpr size_t kBatch = 900;        // messages of one flag change, expunge or copy commit
  static constexpr size_t kAppendGroup = 250;  // messages of one append commit
  static constexpr int kAttempts = 8;
  static constexpr size_t kMaxVanishedRanges = 50'000;  // of ChangesAfter()

  Folder(Context& context, FolderId id, std::shared_ptr<Usage> usage);

  const FolderId& id() const { return id_; }
  const std::shared_ptr<Usage>& usage() const { return usage_; }

  // ---- reading
  bool loaded() const;  // the head is in memory
  Task<absl::StatusOr<FolderSnapshot>> Snapshot();
  Task<absl::StatusOr<std::shared_ptr<const UidsView>>> Uids();
  // Messages of `uids` above `after`, with their keyword bits when `bits` is not null.
  Task<absl::StatusOr<std::vector<MessageMeta>>> Select(UidSet uids, uint32_t after, size_t limit,
                                                        std::vector<std::string>* bits = nullptr);
  // What changed after `modseq`, of the messages above `after` at most `limit`; `full`
  // when the log does not reach back, or has more to tell than all that is there.
  Task<absl::StatusOr<FolderChanges>> ChangesAfter(uint64_t modseq, uint32_t after = 0, size_t limit = SIZE_MAX);
  // UIDs of `within` expunged after `modseq`; nullopt: the log does not reach back.
  Task<absl::StatusOr<std::optional<UidSet>>> VanishedAfter(uint64_t modseq, UidSet within);
  // The messages of `uids` whose modseq is above `modseq`.
  Task<absl::StatusOr<UidSet>> ChangedSince(UidSet uids, uint64_t modseq);
  // Adds the folder to its account's usage.
  Task<absl::Status> CountUsage();

  // ---- changing
  Task<absl::StatusOr<AppendResult>> Append(NewMessage message);
  // What an append with this done_key stored before.
  Task<absl::StatusOr<std::optional<uint32_t>>> FindDoneUid(std::string done_key);
  Task<absl::StatusOr<FlagResult>> StoreFlags(UidSet uids, FlagChange change);
  Task<absl::StatusOr<ExpungeResult>> Expunge(UidSet uids, bool even_undeleted, size_t max_ranges = SIZE_MAX);
  // Everything in it is gone for good; calls from now on answer kNotFound.
  Task<absl::Status> Destroy();

  // ---- copying (mover.h). The blobs of the items are pinned in `hold` before the
  // folder lets anybody expunge them.
  Task<absl::StatusOr<std::vector<CopyItem>>> ReadForCopy(UidSet uids, uint32_t after, BlobPins::Hold& hold);
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
  bool TakeRecoveryNeeded();
  void SetRecoveryNeeded();

  size_t MemoryBytes() const;

 private:
  struct Pending {
    NewMessage message;
    absl::AnyInvocable<void(absl::StatusOr<AppendResult>)> done;
    std::optional<absl::StatusOr<AppendResult>> result;
  };
  // One commit in the making.
  struct Change {
    Head head;  // as it will be
    std::vector<store::Precondition> guards;
    std::vector<store::Mutation> mutations;
    std::vector<std::string> new_keywords;
    UidSet changed;
    UidSet expunged;
    std::vector<store::Mutation> cache;  // rows of the cache partition
    uint64_t nonce = 0;
    bool use_reserve = false;  // goes on while the disk is full
  };

  // All of these need writer_ held.
  Task<absl::Status> LoadHead();
  Task<absl::Status> LoadKeywords();
  Task<absl::Status> LoadIndex();
  Task<absl::Status> Reload(uint64_t modseq, std::string* change_row);
  Change Begin(uint64_t nonce) const;
  // kAborted: not done; the cached head is fresh, decide again. `apply` brings the index up to date.
  Task<absl::Status> Commit(Change change, absl::FunctionRef<void(FolderIndex&)> apply);
  absl::StatusOr<std::string> KeywordBits(const std::vector<std::string>& names, bool drop_excess,
                                          Change& change) const;
  Task<void> DrainAppends();
  Task<absl::Status> CommitGroup(std::vector<Pending>& group);
  Task<absl::Status> FindDone(std::vector<Pending>& group);
  Task<absl::Status> StoreBatch(const std::vector<uint32_t>& uids, const FlagChange& change, FlagResult& result);
  Task<absl::Status> ExpungeBatch(const std::vector<uint32_t>& uids, bool even_undeleted, std::string finish_intent,
                                  UidSet& expunged);
  Task<absl::StatusOr<std::vector<std::optional<std::string>>>> ReadKeys(store::Partition partition,
                                                                         std::vector<std::string> keys);
  Task<absl::StatusOr<UidSet>> ExpungedAfter(uint64_t modseq);
  FolderSnapshot SnapshotLocked() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  FolderSnapshot Current() const;
  void Forget();

  Context& context_;
  const FolderId id_;
  const store::Partition partition_;
  const store::Partition cache_partition_;
  const std::shared_ptr<Usage> usage_;

  AsyncMutex move_mutex_;
  AsyncMutex writer_;

  mutable absl::Mutex mutex_;
  bool loaded_ ABSL_GUARDED_BY(mutex_) = false;
  bool destroyed_ ABSL_GUARDED_BY(mutex_) = false;
  bool recovery_needed_ ABSL_GUARDED_BY(mutex_) = false;
  Head head_ ABSL_GUARDED_BY(mutex_);
  std::string head_row_ ABSL_GUARDED_BY(mutex_);  // as stored: what the next commit compares with
  std::vector<std::string> keywords_ ABSL_GUARDED_BY(mutex_);
  std::optional<FolderIndex> index_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const UidsView> uids_view_ ABSL_GUARDED_BY(mutex_);
  std::vector<Pending> pending_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace posthouse::mailbox
