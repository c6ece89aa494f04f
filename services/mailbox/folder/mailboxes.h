// Mailboxes: the open accounts and folders, bounded by the memory that they hold. There is one
// Account or Folder object for each while a caller uses it.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/mailbox/folder/account.h"
#include "services/mailbox/folder/folder.h"
#include "services/mailbox/folder/mailbox_deps.h"

namespace posthouse::common::v1 {
class AccountRef;
}

namespace posthouse::mailbox {

class Mailboxes {
 public:
  explicit Mailboxes(MailboxDeps& deps) : deps_(deps) {}

  // For a request: an account that this store serves (Account::Admit has the errors).
  // `placement_epoch`: as the request has it; 0: not known.
  // kInvalidArgument: an id with other characters than letters, digits, '-', '_' and '.'.
  Task<absl::StatusOr<std::shared_ptr<Account>>> OpenAccount(TenantId tenant, AccountId account_id,
                                                             uint64_t placement_epoch = 0);
  // For the store's own work: the account as it is here, also when it does not exist.
  Task<absl::StatusOr<std::shared_ptr<Account>>> LoadAccount(TenantId tenant, AccountId account_id);
  // A folder of the account's tree. Finishes interrupted moves out of it first. kNotFound.
  Task<absl::StatusOr<std::shared_ptr<Folder>>> OpenFolder(std::shared_ptr<Account> account, FolderId folder_id);
  // The folder object, without a look at the tree and without finishing moves.
  std::shared_ptr<Folder> Get(const Account& account, const FolderId& folder_id);
  // Destroys a folder that was taken out of the tree, and its row z/. Repeatable.
  Task<absl::Status> DestroyFolder(std::shared_ptr<Account> account, FolderId folder_id);
  // Counts all folders of the account.
  Task<absl::Status> CountUsage(std::shared_ptr<Account> account);

  // The limits in the account's reference, else the default.
  Quota QuotaOf(const common::v1::AccountRef& account) const;

  // Closes unused folders, the longest unused first, until they are within folder_cache_bytes;
  // then accounts without an open folder, when it closed a folder or many accounts are open.
  // OpenFolder calls it now and then; the sweeper, which opens every account, calls it, too.
  void Trim();
  void UpdateMetrics();

 private:
  using AccountName = std::pair<TenantId, AccountId>;
  using FolderName = std::pair<TenantId, FolderId>;
  struct Entry {
    std::shared_ptr<Folder> folder;
    std::list<FolderName>::iterator age;
  };

  MailboxDeps& deps_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<AccountName, std::shared_ptr<Account>> accounts_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<FolderName, Entry> folders_ ABSL_GUARDED_BY(mutex_);
  std::list<FolderName> by_age_ ABSL_GUARDED_BY(mutex_);  // longest unused first
  uint64_t opens_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace posthouse::mailbox
