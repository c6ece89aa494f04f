// Changes of the folder tree that also touch messages.
//
// Threads: any. Errors: those of Account and Folder. DeleteFolder() answers OK as soon as the tree
// has lost the folder: the sweeper removes messages that are left. If RenameFolder() of INBOX fails
// after it has made the new folder, both stay, and each message is in one of them.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/mailbox/folder/account.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/mailboxes.h"

namespace posthouse::mailbox {

// Takes the folder out of the tree, then destroys its messages.
Task<absl::Status> DeleteFolder(Mailboxes& mailboxes, std::shared_ptr<Account> account, std::string name);

// Renaming INBOX makes the new folder and moves INBOX's messages there; INBOX and its
// children stay (RFC 9051 §6.3.6).
Task<absl::StatusOr<FolderInfo>> RenameFolder(MailboxDeps& deps, Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                              std::string from, std::string to);

}  // namespace posthouse::mailbox
