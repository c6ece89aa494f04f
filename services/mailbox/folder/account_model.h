// AccountModel: how an account's folder tree lies in its partition (key_schema.h), for
// store::GuardedPartition. The whole tree is loaded at once; what other writers commit is
// followed through the log of tree changes.
// Threads: as GuardedModel says; TakeLeftovers(): any.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/common/store/guarded_partition.h"
#include "services/mailbox/folder/account_tree.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/tree_deciders.h"
#include "services/mailbox/folder/usage.h"

namespace posthouse::mailbox {

class AccountModel : public store::GuardedModel<AccountTree, AccountDraft> {
 public:
  static constexpr uint64_t kLogRows = 256;  // tree changes kept

  AccountModel(MailboxDeps& deps, TenantId tenant, AccountId account_id, std::shared_ptr<Usage> usage);

  static store::GuardedOptions Options(MailboxDeps& deps, const TenantId& tenant, const AccountId& account_id);

  // True once, when an account that was just loaded has folders that are to be destroyed.
  bool TakeLeftovers() { return leftovers_->exchange(false); }

  // ---- for GuardedPartition
  Task<absl::StatusOr<store::Loaded<AccountTree>>> Load(unsigned parts);
  void Begin(const AccountTree& tree, AccountDraft& draft) const;
  absl::StatusOr<store::SealedDraft> Seal(const AccountTree& tree, AccountDraft& draft);
  // The heads of new folders are made before the tree names them, so that the tree never names
  // a folder that is not there. Those of a change that fails are found by the sweeper.
  Task<absl::Status> Prepare(AccountDraft& draft);
  void Apply(AccountTree& tree, AccountDraft& draft);
  void Committed(const AccountDraft& draft);
  void Replace(const AccountTree* old, AccountTree& fresh);
  std::string LogPosition(const AccountTree& tree) const;
  absl::StatusOr<bool> Patch(AccountTree& tree, const std::string& head, const std::vector<store::Row>& log);

 private:
  // kDataLoss names the row and is counted.
  template <typename Proto>
  absl::StatusOr<Proto> Decode(const std::string& key, absl::string_view row) const;
  // The first load after a loss or a restore moves the numbers of UIDVALIDITY on (Store::Incarnation).
  Task<absl::Status> JumpNumbers(store::Loaded<AccountTree>& loaded) const;
  absl::Status TakeRow(const std::string& row, AccountTree& tree) const;

  MailboxDeps& deps_;
  const TenantId tenant_;
  const AccountId account_id_;
  const store::Partition partition_;
  const std::shared_ptr<Usage> usage_;
  const std::shared_ptr<std::atomic<bool>> leftovers_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace posthouse::mailbox
