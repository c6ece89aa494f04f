// The changes of an account's folder tree as pure deciders.
//
// They follow the rules of store::GuardedPartition: they run again after a conflict, several
// may share a commit, and an error changes nothing. Names are canonical (folder_name.h).
// kResourceExhausted from each that makes the tree larger: a limit of TreeOrder, or a full store.
// Threads: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/ids/ids.h"
#include "services/common/store/guarded_draft.h"
#include "services/mailbox/folder/account_tree.h"
#include "services/mailbox/settings.h"

namespace posthouse::mailbox {

// One commit to a tree in the making.
struct AccountDraft : store::Draft {
  bool exists = false;
  uint64_t version = 0;
  UidValidity last_uid_validity;
  int64_t created = 0;
  AccountStanding standing;
  TreeChanges changes;
  std::vector<FolderNode> made;  // their folders need a head before the tree names them
};

// What the deciders take from outside.
struct TreeOrder {
  size_t max_folders = 0;      // nodes, and names subscribed without one
  size_t max_names_bytes = 0;  // of all full names together: they stay in one answer (LIST)
  absl::Time now;              // becomes a date, and a UIDVALIDITY unless one was as high
  std::function<std::string()> new_id;
};

// A new account with INBOX and the default folders, all subscribed. kDone: it exists.
absl::StatusOr<store::Verdict> DecideNewAccount(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order,
                                                const std::vector<DefaultFolder>& folders,
                                                uint64_t placement_epoch = 0);
// Missing parents are made; a level without a mailbox becomes a folder. kAlreadyExists.
absl::StatusOr<store::Verdict> DecideCreate(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order,
                                            const std::string& name, const std::string& special_use, FolderInfo& made);
// `mailbox_id`: whose messages are to be destroyed; a row z/ names it until then. A folder that has children becomes a
// level without a mailbox. kNotFound; kFailedPrecondition: such a level already.
absl::StatusOr<store::Verdict> DecideDelete(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order,
                                            const std::string& name, FolderId& mailbox_id);
// With its children. Missing parents of `to` are made. kNotFound, kAlreadyExists.
absl::StatusOr<store::Verdict> DecideRename(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order,
                                            const std::string& from, const std::string& to, FolderInfo& renamed);
absl::StatusOr<store::Verdict> DecideSubscribe(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order,
                                               const std::string& name, bool subscribed);

}  // namespace posthouse::mailbox
