// Mailboxes: the accounts and folders that are open, bounded by the memory they hold.
// One Account and one Folder object for each, for as long as somebody uses it.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
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

  // The account, made when it is not there (the directory knows that it exists).
  // kInvalidArgument: ids that cannot be ours.
  Task<absl::StatusOr<std::shared_ptr<Account>>> OpenAccount(std::string tenant, std::string account_id);
  // A folder that the account's tree names, with half-done moves out of it finished.
  Task<absl::StatusOr<std::shared_ptr<Folder>>> OpenFolder(std::shared_ptr<Account> account, std::string folder_id);
  // As OpenFolder, whatever the tree says and without finishing moves.
  std::shared_ptr<Folder> Get(const Account& account, const std::string& folder_id);
  // Destroys a folder that the tree has forgotten.
  Task<absl::Status> DestroyFolder(std::shared_ptr<Account> account, std::string folder_id);
  // Counts all folders of the account.
  Task<absl::Status> CountUsage(std::shared_ptr<Account> account);

  // Limits of an account: what its reference says, else the default.
  Quota QuotaOf(const common::v1::AccountRef& account) const;

  // Closes what is not used: folders, the longest unused first, down to the budget of
  // memory; accounts without an open folder, when a folder was closed or many are open.
  // Called by OpenFolder now and then, and by the sweeper, which opens every account.
  void Trim();
  void UpdateMetrics();

 private:
  using Key = std::pair<std::string, std::string>;  // tenant, id
  struct Entry {
    std::shared_ptr<Folder> folder;
    std::list<Key>::iterator age;
  };

  MailboxDeps& deps_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<Key, std::shared_ptr<Account>> accounts_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Key, Entry> folders_ ABSL_GUARDED_BY(mutex_);
  std::list<Key> by_age_ ABSL_GUARDED_BY(mutex_);  // longest unused first
  uint64_t opens_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace posthouse::mailbox
