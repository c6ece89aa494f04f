// Eraser: erases the mail of deleted accounts, when the directory says that their grace time is
// over.
//
//   step                                              a crash after it: the next run
//   1 directory: ERASING (there is no undelete now)   finds the account in the list of due ones
//   2 row S: kErasing; folders become rows z/         goes on where the tree still has folders
//   3 for each z/: head destroyed, rows dropped, z/   drops again what is left; counts of a folder
//     removed                                         that a crash cut short may be missing
//   4 row e/ of the store, row S: kErased             tells the directory
//   5 directory: ERASED                               done; row S goes after kTombstone
//
// Every step may be repeated. The bodies are left to the sweeper. Accounts are found in the
// directory's list, never by listing the store.
//
// Threads: one run at a time.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/mailbox/folder/account_registry.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/mailboxes.h"

namespace posthouse::mailbox {

class Eraser {
 public:
  // How long row S of an erased account is kept.
  static constexpr absl::Duration kTombstone = absl::Hours(24 * 14);

  Eraser(MailboxDeps& deps, Mailboxes& mailboxes) : deps_(deps), mailboxes_(mailboxes) {}

  // Erases what is due; answers how many accounts. An account that fails does not stop the others;
  // its error is returned in the end. kCancelled after Stop().
  Task<absl::StatusOr<uint64_t>> Run();
  // Ends a run soon. Threads: any.
  void Stop() { stopped_ = true; }

 private:
  Task<absl::Status> Erase(AccountRegistry::Erasure due, uint64_t& erased);
  Task<absl::Status> EraseFolders(std::shared_ptr<Account> account);
  // Removes rows S that are old enough.
  Task<absl::Status> Forget();
  absl::Status Stopped() const;

  MailboxDeps& deps_;
  Mailboxes& mailboxes_;
  std::atomic<bool> stopped_{false};
};

}  // namespace posthouse::mailbox
