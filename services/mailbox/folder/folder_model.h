// FolderModel: how a folder lies in its partition (key_schema.h), for store::GuardedPartition.
//
// Head and keywords are loaded when the folder is first used, the index of its messages when
// something needs it. What other writers commit is followed through the change log: a log row
// names the messages that changed, and their rows are read again; the rest of the index stays.
//
// Threads: as GuardedModel says; TakeRecoveryNeeded() and SetRecoveryNeeded(): any.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/common/async/task.h"
#include "services/common/store/guarded_partition.h"
#include "services/mailbox/folder/folder_state.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/usage.h"

namespace posthouse::mailbox {

class FolderModel : public store::GuardedModel<FolderState, FolderDraft> {
 public:
  static constexpr unsigned kIndex = 1;  // ChangeOptions::parts: the index, too

  FolderModel(MailboxDeps& deps, FolderRef ref, std::shared_ptr<Usage> usage);

  static store::GuardedOptions Options(MailboxDeps& deps, const FolderRef& ref);
  static Usage::Amount AmountOf(const Head& head);

  // True once, when a folder that was just opened has moves to finish.
  bool TakeRecoveryNeeded() { return recovery_needed_->exchange(false); }
  void SetRecoveryNeeded() { *recovery_needed_ = true; }

  // ---- for GuardedPartition
  Task<absl::StatusOr<store::Loaded<FolderState>>> Load(unsigned parts);
  bool Has(const FolderState& state, unsigned parts) const;
  absl::Status Refuse(const FolderState& state) const;
  void Begin(const FolderState& state, FolderDraft& draft) const;
  absl::StatusOr<store::SealedDraft> Seal(const FolderState& state, FolderDraft& draft);
  void Apply(FolderState& state, FolderDraft& draft);
  void Committed(const FolderDraft& draft);
  void Replace(const FolderState* old, FolderState& fresh);
  std::string LogPosition(const FolderState& state) const;
  absl::StatusOr<bool> Patch(FolderState& state, const std::string& head, const std::vector<store::Row>& log);

 private:
  // An index that is right up to `modseq`; the rows that changed since are to be read again.
  struct OldIndex {
    FolderIndex index;
    Modseq modseq;
    UidValidity uid_validity;
  };

  absl::StatusOr<Head> DecodeHead(absl::string_view row) const;
  absl::Status TakeHead(store::Loaded<FolderState>& loaded, std::optional<std::string> row) const;
  void KeepIndex(FolderState& state);
  // The first load after a loss or a restore moves the folder's numbers on (Store::Incarnation).
  Task<absl::Status> JumpNumbers(store::Loaded<FolderState>& loaded) const;
  Task<absl::Status> LoadKeywords(FolderState& state) const;
  Task<absl::Status> LoadIndex(store::Loaded<FolderState>& loaded);
  absl::Status CheckUids(const Head& head, const FolderIndex& index) const;
  Task<absl::Status> ReadAllMessages(FolderIndex& index) const;
  Task<absl::StatusOr<bool>> FollowLog(store::Loaded<FolderState>& loaded, OldIndex& old) const;
  Task<absl::Status> ReadMessages(const UidSet& uids, FolderIndex& index) const;
  absl::StatusOr<v1::MessageRow> DecodeMessage(Uid uid, absl::string_view row) const;

  MailboxDeps& deps_;
  const FolderRef ref_;
  const store::Partition partition_;
  const store::Partition cache_partition_;
  const std::shared_ptr<Usage> usage_;
  const std::shared_ptr<std::atomic<bool>> recovery_needed_ = std::make_shared<std::atomic<bool>>(false);
  std::optional<OldIndex> old_index_;
};

}  // namespace posthouse::mailbox
