#include "services/mailbox/folder/account_standing.h"

#include <algorithm>
#include <optional>
#include <string>

#include "posthouse/mailbox/v1/store.pb.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

using store::Verdict;

// Folders, and subscriptions, that one commit takes out of the tree: with three rows a folder far
// below the limits of a commit, and with 70 bytes each of a log row.
constexpr size_t kDoomed = 200;

void SetState(AccountDraft& draft, const TreeOrder& order, AccountState state) {
  if (draft.standing.state == state) return;
  draft.standing.state = state;
  draft.standing.since = absl::ToUnixSeconds(order.now);
}

}  // namespace

absl::StatusOr<Verdict> DecideStanding(AccountDraft& draft, const TreeOrder& order, AccountState state,
                                       uint64_t placement_epoch) {
  if (IsBeingErased(draft.standing.state)) return absl::NotFoundError("no such account");
  if (draft.standing.state == state && draft.standing.placement_epoch >= placement_epoch) return Verdict::kDone;
  SetState(draft, order, state);
  draft.standing.placement_epoch = std::max(draft.standing.placement_epoch, placement_epoch);
  return Verdict::kCommit;
}

absl::StatusOr<Verdict> DecideDoom(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order) {
  if (draft.standing.state == AccountState::kErased) return Verdict::kDone;
  const bool begins = draft.standing.state != AccountState::kErasing;
  SetState(draft, order, AccountState::kErasing);
  size_t taken = 0;
  for (const auto& [id, node] : tree.nodes()) {
    if (draft.changes.nodes.contains(id)) continue;
    draft.changes.nodes[id] = std::nullopt;
    draft.Remove(FolderKey(id));
    draft.Remove(NameKey(node.parent, node.name));
    if (!node.mailbox_id.empty()) {
      v1::DoomedRow row;
      row.set_at(absl::ToUnixSeconds(order.now));
      draft.changes.doomed[node.mailbox_id] = true;
      draft.Set(DoomedKey(node.mailbox_id), EncodeRow(row));
    }
    if (++taken == kDoomed) break;
  }
  size_t names = 0;
  for (const std::string& name : tree.subscriptions()) {
    if (draft.changes.subscriptions.contains(name)) continue;
    draft.changes.subscriptions[name] = false;
    draft.Remove(SubscriptionKey(name));
    if (++names == kDoomed) break;
  }
  return begins || taken + names > 0 ? Verdict::kCommit : Verdict::kDone;
}

absl::StatusOr<Verdict> DecideDestroyed(const AccountTree& tree, AccountDraft& draft, const FolderId& folder,
                                        uint64_t messages, uint64_t bytes) {
  if (!tree.doomed().contains(folder) || draft.changes.doomed.contains(folder)) return Verdict::kDone;
  draft.changes.doomed[folder] = false;
  draft.Remove(DoomedKey(folder));
  if (draft.standing.state == AccountState::kErasing) {
    draft.standing.erased.folders += 1;
    draft.standing.erased.messages += messages;
    draft.standing.erased.bytes += bytes;
  }
  return Verdict::kCommit;
}

absl::StatusOr<Verdict> DecideErased(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order) {
  if (draft.standing.state == AccountState::kErased) return Verdict::kDone;
  if (draft.standing.state != AccountState::kErasing || !tree.nodes().empty() || !tree.doomed().empty()) {
    return absl::FailedPreconditionError("the account has folders that are not destroyed");
  }
  SetState(draft, order, AccountState::kErased);
  return Verdict::kCommit;
}

}  // namespace posthouse::mailbox
