#include "services/mailbox/folder/folder_tree_ops.h"

#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mailbox/folder/mover.h"
#include "services/mailbox/rows/folder_name.h"

namespace posthouse::mailbox {

Task<absl::Status> DeleteFolder(Mailboxes& mailboxes, std::shared_ptr<Account> account, std::string name) {
  PH_CO_ASSIGN_OR_RETURN(const FolderId mailbox_id, co_await account->Delete(std::move(name)));
  if (mailbox_id.empty()) co_return absl::OkStatus();
  // No folder refers to the rows any more; the sweeper removes those that a failure leaves.
  log::LogIfError(co_await mailboxes.DestroyFolder(account, mailbox_id), "dropping a deleted folder");
  co_return absl::OkStatus();
}

Task<absl::StatusOr<FolderInfo>> RenameFolder(MailboxDeps& deps, Mailboxes& mailboxes, std::shared_ptr<Account> account,
                                              std::string from, std::string to) {
  PH_CO_ASSIGN_OR_RETURN(from, CanonicalName(from));
  if (from != kInbox) co_return co_await account->Rename(std::move(from), std::move(to));
  PH_CO_ASSIGN_OR_RETURN(const FolderInfo target, co_await account->Create(to, ""));
  PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Folder> inbox,
                         co_await mailboxes.OpenFolder(account, account->inbox_id()));
  PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Folder> folder,
                         co_await mailboxes.OpenFolder(account, target.folder_id));
  CopyOrder order;
  order.uids = UidSet::All();
  order.move = true;
  const absl::StatusOr<CopyDone> moved =
      co_await CopyMessages(deps, mailboxes, account, inbox, folder, std::move(order));
  if (!moved.ok()) co_return moved.status();
  co_return target;
}

}  // namespace posthouse::mailbox
