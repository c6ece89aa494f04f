// What a store does with an account, beside its folder tree: the deciders of row S that change
// no folder names. They follow the rules of tree_deciders.h.
//
//   kActive ◀──▶ kMoved, kDeleted        as the directory answers
//   any ──▶ kErasing ──▶ kErased         the directory has let the mail go; there is no way back
//
// Threads: stateless.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "services/common/ids/ids.h"
#include "services/mailbox/folder/account_tree.h"
#include "services/mailbox/folder/tree_deciders.h"

namespace posthouse::mailbox {

// kNotFound: the account is being erased.
absl::StatusOr<store::Verdict> DecideStanding(AccountDraft& draft, const TreeOrder& order, AccountState state,
                                              uint64_t placement_epoch);
// kErasing; takes some folders and subscriptions out of the tree. kDone: none is left.
absl::StatusOr<store::Verdict> DecideDoom(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order);
// The folder of a row z/ is gone: so is the row. Counted while the account is being erased.
absl::StatusOr<store::Verdict> DecideDestroyed(const AccountTree& tree, AccountDraft& draft, const FolderId& folder,
                                               uint64_t messages, uint64_t bytes);
// kFailedPrecondition: folders are left.
absl::StatusOr<store::Verdict> DecideErased(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order);

}  // namespace posthouse::mailbox
