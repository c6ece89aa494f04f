// The changes of a folder as pure functions: each looks at the state, at rows that were read
// for it and at what earlier changes of the same commit drafted, and drafts its own part.
//
// They follow the rules of store::GuardedPartition: a decider may run many times, and only its
// last run counts, so `answer` is set anew by every run. A decider adds to the draft only when
// it answers kCommit. Folder calls them; folder_deciders_test.cc has them as tables.
//
// Errors: kResourceExhausted no UID is left; kOutOfRange no keyword number is left; kAborted another request moves
// under the same operation id; kDataLoss a row does not parse, or the index names a row that is
// not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/common/store/guarded_partition.h"
#include "services/mailbox/folder/folder_state.h"
#include "services/mailbox/folder/folder_types.h"

namespace posthouse::mailbox {

// Messages of one flag change, expunge or copy commit.
inline constexpr size_t kBatchMessages = 900;

// `now` is seconds since 1970, for SAVEDATE and the age of dedupe rows.
absl::StatusOr<store::Verdict> DecideAppend(const FolderState& state, const store::FetchedRows& rows,
                                            FolderDraft& draft, const NewMessage& message, int64_t now,
                                            AppendResult& answer);

// One batch of a flag change or expunge.
struct BatchAnswer {
  std::vector<MessageFlags> messages;  // flag change: as it left them
  UidSet modified;                     // flag change: failed unchanged_since
  Modseq own_modseq;                   // flag change: empty when nothing was changed
  UidSet expunged;
  Uid last_uid;       // of the batch
  bool more = false;  // messages above `last_uid` are left
};
// The messages of `uids` above `after`, at most kBatchMessages. Needs the index.
absl::StatusOr<store::Verdict> DecideFlags(const FolderState& state, const store::FetchedRows& rows, FolderDraft& draft,
                                           const UidSet& uids, Uid after, const FlagChange& change,
                                           BatchAnswer& answer);
// Those with \Deleted, or all. Needs the index.
absl::StatusOr<store::Verdict> DecideExpunge(const FolderState& state, FolderDraft& draft, const UidSet& uids,
                                             Uid after, bool even_undeleted, BatchAnswer& answer);

// The messages of `uids` above `after`, at most kBatchMessages, as a copy takes them, and their
// bodies. Changes nothing. Needs the index.
absl::StatusOr<store::Verdict> DecideReadForCopy(const FolderState& state, const store::FetchedRows& rows,
                                                 FolderDraft& draft, const UidSet& uids, Uid after,
                                                 std::vector<CopyItem>& answer, std::vector<ObjectId>& blobs);
// What a CopyBatchRow says.
absl::StatusOr<CopyBatch> DecodeCopyBatch(absl::string_view row);
// Adds copies of `items`. With a dedupe key (a/ of the operation and batch), a batch that was
// done before is answered from its row.
absl::StatusOr<store::Verdict> DecideCopy(const FolderState& state, const store::FetchedRows& rows, FolderDraft& draft,
                                          const std::string& dedupe_key, const std::vector<CopyItem>& items, bool last,
                                          int64_t now, CopyBatch& answer);

// Step 1 of a move (mover.h): the intent, in the source.
absl::StatusOr<store::Verdict> DecideBeginMove(const store::FetchedRows& rows, FolderDraft& draft,
                                               const MoveIntent& intent, int64_t now);
// Step 3: the moved messages and the intent go, in one commit. An intent that is not there was
// finished before. Needs the index.
absl::StatusOr<store::Verdict> DecideFinishMove(const FolderState& state, const store::FetchedRows& rows,
                                                FolderDraft& draft, const std::string& operation_id,
                                                const UidSet& moved, BatchAnswer& answer);

}  // namespace posthouse::mailbox
