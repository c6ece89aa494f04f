// Account: the folder tree of one account, and its changes.
//
// The tree is in memory while the account is open. Each change is a decider (tree_deciders.h)
// that store::GuardedPartition commits on acct/<account>, guarded by row S. The partition of a
// new folder is made before the tree names it, and dropped after the tree forgot it, so that
// the tree never names a folder that is not there. The sweeper finds what a failed change
// leaves. Looks answer from memory, so they may miss another process's newest change.
//
// The directory says which accounts there are, and which store is their home (Admit). A look at an
// account that was deleted meanwhile still answers; a change does not.
//
// Errors: kNotFound no such folder or account, kAlreadyExists name taken, kFailedPrecondition
// not for this folder (INBOX, a parent), kInvalidArgument bad name; else as GuardedPartition.
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/mailbox/folder/account_model.h"
#include "services/mailbox/folder/account_tree.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/tree_deciders.h"
#include "services/mailbox/folder/usage.h"

namespace posthouse::mailbox {

class Account {
 public:
  Account(MailboxDeps& deps, TenantId tenant, AccountId account_id);

  const TenantId& tenant() const { return tenant_; }
  const AccountId& account_id() const { return account_id_; }
  const std::shared_ptr<Usage>& usage() const { return usage_; }

  // Reads the tree, once. Makes nothing: exists() says whether the store has the account.
  Task<absl::Status> Load();
  // After Load(): OK when this store serves the account. Asks the directory when the account is not
  // here, when the directory may have changed it, or when `placement_epoch` is newer than what is
  // known. An account that the directory has and that is not here yet is made, with INBOX and the
  // default folders. kNotFound: no such account; kFailedPrecondition "not here": its home is another
  // store; kUnavailable: the directory did not answer, and the account must not be served without.
  Task<absl::Status> Admit(uint64_t placement_epoch);

  // Brings the tree in memory to what the store has now. Ask before an answer of "not found"
  // destroys anything.
  Task<absl::Status> Refresh();

  // ---- after Load()
  bool exists() const;
  AccountStanding standing() const;
  std::vector<FolderInfo> List() const;                                 // by name
  std::vector<std::string> SubscribedOnly() const;                      // subscribed names without a folder
  absl::StatusOr<FolderInfo> FindByName(absl::string_view name) const;  // canonicalises
  absl::StatusOr<FolderInfo> FindById(const FolderId& folder) const;
  bool Has(const FolderId& folder) const;  // as FindById, and cheap
  std::vector<FolderId> FolderIds() const;
  FolderId inbox_id() const;

  // Missing parents are made; a level without messages becomes a folder.
  Task<absl::StatusOr<FolderInfo>> Create(std::string name, std::string special_use);
  // Answers the folder whose messages are to be destroyed; empty: none.
  Task<absl::StatusOr<FolderId>> Delete(std::string name);
  // Not for INBOX: its messages move instead (folder_tree_ops.h).
  Task<absl::StatusOr<FolderInfo>> Rename(std::string from, std::string to);
  Task<absl::Status> Subscribe(std::string name, bool subscribed);

  // ---- destroying folders (eraser.h, mailboxes.h)
  std::vector<FolderId> Doomed() const;
  // True once after the first Load(): a crash left Doomed() folders.
  bool TakeLeftovers() { return rows_->model().TakeLeftovers(); }
  // Takes some folders out of the tree of an account that is erased. False: none is left.
  Task<absl::StatusOr<bool>> DoomFolders();
  // The folder's partition is gone.
  Task<absl::Status> Destroyed(FolderId folder, Usage::Amount held);
  Task<absl::Status> FinishErasure();

 private:
  using Rows = store::GuardedPartition<AccountModel>;

  Task<absl::Status> RegisterTenant();
  TreeOrder Order() const;
  // A change of the tree; kNotFound when the account is not active.
  template <typename Decide>
  Task<absl::Status> Change(Decide decide, bool use_reserve);
  template <typename Decide>
  Task<absl::Status> ChangeAnyState(Decide decide, bool use_reserve);
  Task<absl::Status> Make(uint64_t placement_epoch);
  Task<absl::Status> SetState(AccountState state, uint64_t placement_epoch);
  template <typename F>
  auto Recall(F look) const;

  MailboxDeps& deps_;
  const TenantId tenant_;
  const AccountId account_id_;
  const std::shared_ptr<Usage> usage_ = std::make_shared<Usage>();
  const std::shared_ptr<Rows> rows_;
  std::atomic<uint64_t> asked_at_{0};  // AccountChanges::now() before the directory last said "here"
};

}  // namespace posthouse::mailbox
