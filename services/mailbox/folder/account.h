// Account: the folder tree of one account, and its changes.
//
// The tree is in memory while the account is open. Each change is a decider (account_tree.h)
// that store::GuardedPartition commits on acct/<account>, guarded by row S. The partition of a
// new folder is made before the tree names it, and dropped after the tree forgot it, so that
// the tree never names a folder that is not there. The sweeper finds what a failed change
// leaves. Looks answer from memory, so they may miss another process's newest change.
//
// Errors: kNotFound no such folder, kAlreadyExists name taken, kFailedPrecondition
// not for this folder (INBOX, a parent), kInvalidArgument bad name; else as GuardedPartition.
// Threads: any.
#pragma once

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
#include "services/mailbox/folder/usage.h"

namespace posthouse::mailbox {

class Account {
 public:
  Account(MailboxDeps& deps, TenantId tenant, AccountId account_id);

  const TenantId& tenant() const { return tenant_; }
  const AccountId& account_id() const { return account_id_; }
  const std::shared_ptr<Usage>& usage() const { return usage_; }

  // Reads the tree; an account that is not there yet gets INBOX and the default
  // folders. Idempotent.
  Task<absl::Status> Open();

  // Brings the tree in memory to what the store has now. Ask before an answer of "not found"
  // destroys anything.
  Task<absl::Status> Refresh();

  // ---- after Open()
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

 private:
  using Rows = store::GuardedPartition<AccountModel>;

  Task<absl::Status> RegisterTenant();
  TreeOrder Order() const;
  template <typename Decide>
  Task<absl::Status> Change(Decide decide, bool use_reserve);
  template <typename F>
  auto Recall(F look) const;

  MailboxDeps& deps_;
  const TenantId tenant_;
  const AccountId account_id_;
  const std::shared_ptr<Usage> usage_ = std::make_shared<Usage>();
  const std::shared_ptr<Rows> rows_;
};

}  // namespace posthouse::mailbox
