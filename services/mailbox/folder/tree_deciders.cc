#include "services/mailbox/folder/tree_deciders.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/container/btree_set.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/status/status.h"
#include "services/mailbox/rows/folder_name.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {

using store::Verdict;

namespace {

// A change in the making: the tree, with what the draft and this change do to it.
class TreeEdit {
 public:
  TreeEdit(const AccountTree& tree, const AccountDraft& draft, const TreeOrder& order)
      : tree_(tree), order_(order), changes_(draft.changes), last_uid_validity_(draft.last_uid_validity) {}

  const FolderNode* Find(const std::string& node_id) const {
    const auto changed = changes_.nodes.find(node_id);
    if (changed == changes_.nodes.end()) return tree_.Find(node_id);
    return changed->second.has_value() ? &*changed->second : nullptr;
  }
  std::string Child(const std::string& parent, absl::string_view name) const {
    for (const auto& [id, node] : changes_.nodes) {
      if (node.has_value() && node->parent == parent && node->name == name) return id;
    }
    const std::string id = tree_.Child(parent, name);
    return changes_.nodes.contains(id) ? "" : id;
  }
  std::string NodeOfName(absl::string_view full_name) const {
    std::string node;
    for (const std::string& level : SplitName(full_name)) {
      node = Child(node, level);
      if (node.empty()) break;
    }
    return node;
  }
  bool HasChildren(const std::string& node_id) const {
    for (const auto& [id, node] : changes_.nodes) {
      if (node.has_value() && node->parent == node_id) return true;
    }
    return std::any_of(tree_.nodes().begin(), tree_.nodes().end(),
                       [&](const auto& n) { return n.second.parent == node_id && !changes_.nodes.contains(n.first); });
  }
  bool IsSubscribedName(const std::string& name) const {
    const auto changed = changes_.subscriptions.find(name);
    return changed == changes_.subscriptions.end() ? tree_.subscriptions().contains(name) : changed->second;
  }
  std::string FullName(std::string node_id) const {
    std::string name;
    for (const FolderNode* node = Find(node_id); node != nullptr; node = Find(node->parent)) {
      name = name.empty() ? node->name : JoinName(node->name, name);
    }
    return name;
  }
  FolderInfo Info(const std::string& node_id) const {
    const FolderNode& node = *Find(node_id);
    return {FullName(node_id), node.mailbox_id, node.special_use, node.subscribed, HasChildren(node_id)};
  }

  void Put(const std::string& node_id, std::optional<FolderNode> node) {
    grown_ += (node.has_value() ? 1 : 0) - (Find(node_id) != nullptr ? 1 : 0);
    changes_.nodes[node_id] = std::move(node);
    touched_nodes_.insert(node_id);
  }
  void SetSubscribed(const std::string& name, bool on) {
    if (on == IsSubscribedName(name)) return;
    grown_ += on ? 1 : -1;
    changes_.subscriptions[name] = on;
    touched_names_.insert(name);
  }
  void Doom(const FolderId& folder) {
    changes_.doomed[folder] = true;
    doomed_.push_back(folder);
  }
  // Makes what is missing of `name`; returns its node.
  std::string AddLevels(const std::string& name, const std::string& special_use, bool subscribed) {
    std::string parent;
    std::string full;
    const std::vector<std::string> levels = SplitName(name);
    for (size_t i = 0; i < levels.size(); ++i) {
      full = JoinName(full, levels[i]);
      const bool leaf = i + 1 == levels.size();
      std::string node_id = Child(parent, levels[i]);
      const FolderNode* old = node_id.empty() ? nullptr : Find(node_id);
      if (old == nullptr || (leaf && old->mailbox_id.empty())) {
        FolderNode node = old != nullptr ? *old : FolderNode{.name = levels[i], .parent = parent};
        if (old == nullptr) node_id = order_.new_id();
        // A name subscribed before it existed is subscribed now.
        node.subscribed = node.subscribed || (leaf && subscribed) || IsSubscribedName(full);
        SetSubscribed(full, false);
        if (leaf) node.special_use = special_use;
        MakeMailbox(node);
        Put(node_id, std::move(node));
      }
      parent = node_id;
    }
    return parent;
  }

  // Checks the limits and adds the change to the draft, tree and rows.
  absl::StatusOr<Verdict> Finish(AccountDraft& draft) && {
    if (touched_nodes_.empty() && touched_names_.empty()) return Verdict::kDone;
    // A change that makes the tree smaller is never refused.
    if (grown_ >= 0) PH_RETURN_IF_ERROR(CheckSize());
    for (const std::string& id : touched_nodes_) {
      // Unique names were rows n/ once; S guards them now.
      if (const FolderNode* old = tree_.Find(id); old != nullptr) draft.Remove(NameKey(old->parent, old->name));
      const std::optional<FolderNode>& node = changes_.nodes[id];
      if (node.has_value()) {
        draft.Set(FolderKey(id), EncodeRow(ToRow(*node)));
      } else {
        draft.Remove(FolderKey(id));
      }
    }
    for (const std::string& name : touched_names_) {
      if (changes_.subscriptions[name]) {
        v1::SubscriptionRow row;
        row.set_since(absl::ToUnixSeconds(order_.now));
        draft.Set(SubscriptionKey(name), EncodeRow(row));
      } else {
        draft.Remove(SubscriptionKey(name));
      }
    }
    for (const FolderId& folder : doomed_) {
      v1::DoomedRow row;
      row.set_at(absl::ToUnixSeconds(order_.now));
      draft.Set(DoomedKey(folder), EncodeRow(row));
    }
    draft.changes = std::move(changes_);
    draft.last_uid_validity = last_uid_validity_;
    std::move(made_.begin(), made_.end(), std::back_inserter(draft.made));
    return Verdict::kCommit;
  }

 private:
  // UIDVALIDITY: never the same twice in an account (RFC 9051 §2.3.1.1).
  void MakeMailbox(FolderNode& node) {
    const UidValidity seconds(static_cast<uint32_t>(absl::ToUnixSeconds(order_.now)));
    last_uid_validity_ = std::max(last_uid_validity_.Next(), seconds);
    node.uid_validity = last_uid_validity_;
    node.mailbox_id = FolderId(order_.new_id());
    node.created = absl::ToUnixSeconds(order_.now);
    made_.push_back(node);
  }
  absl::Status CheckSize() const {
    size_t nodes = tree_.nodes().size(), subscriptions = tree_.subscriptions().size();
    for (const auto& [id, node] : changes_.nodes) {
      if (node.has_value()) ++nodes;
      if (tree_.Find(id) != nullptr) --nodes;
    }
    for (const auto& [name, on] : changes_.subscriptions) {
      if (on) ++subscriptions;
      if (tree_.subscriptions().contains(name)) --subscriptions;
    }
    if (nodes > order_.max_folders || subscriptions > order_.max_folders) {
      return absl::OutOfRangeError("too many folders");
    }
    if ((nodes + subscriptions) * kMaxNameBytes <= order_.max_names_bytes) return absl::OkStatus();
    size_t bytes = 0;
    for (const auto& [id, node] : tree_.nodes()) {
      if (!changes_.nodes.contains(id)) bytes += FullName(id).size();
    }
    for (const auto& [id, node] : changes_.nodes) bytes += node.has_value() ? FullName(id).size() : 0;
    for (const std::string& name : tree_.subscriptions()) bytes += IsSubscribedName(name) ? name.size() : 0;
    for (const auto& [name, on] : changes_.subscriptions) {
      bytes += on && !tree_.subscriptions().contains(name) ? name.size() : 0;
    }
    return bytes <= order_.max_names_bytes ? absl::OkStatus() : absl::OutOfRangeError("too many long folder names");
  }

  const AccountTree& tree_;
  const TreeOrder& order_;
  TreeChanges changes_;
  UidValidity last_uid_validity_;
  std::vector<FolderNode> made_;
  std::vector<FolderId> doomed_;
  absl::btree_set<std::string> touched_nodes_;
  absl::btree_set<std::string> touched_names_;
  int grown_ = 0;
};

}  // namespace

absl::StatusOr<Verdict> DecideNewAccount(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order,
                                         const std::vector<DefaultFolder>& folders, uint64_t placement_epoch) {
  if (draft.exists) return Verdict::kDone;
  TreeEdit edit(tree, draft, order);
  edit.AddLevels(kInbox, "", /*subscribed=*/true);
  for (const DefaultFolder& folder : folders) {
    PH_ASSIGN_OR_RETURN(const std::string name, CanonicalName(folder.name));
    edit.AddLevels(name, folder.special_use, /*subscribed=*/true);
  }
  PH_ASSIGN_OR_RETURN(const Verdict verdict, std::move(edit).Finish(draft));
  draft.exists = true;
  draft.created = absl::ToUnixSeconds(order.now);
  draft.standing.placement_epoch = placement_epoch;
  return verdict;
}

absl::StatusOr<Verdict> DecideCreate(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order,
                                     const std::string& name, const std::string& special_use, FolderInfo& made) {
  TreeEdit edit(tree, draft, order);
  const FolderNode* existing = edit.Find(edit.NodeOfName(name));
  if (existing != nullptr && !existing->mailbox_id.empty()) return absl::AlreadyExistsError("the folder exists");
  made = edit.Info(edit.AddLevels(name, special_use, /*subscribed=*/false));
  return std::move(edit).Finish(draft);
}

absl::StatusOr<Verdict> DecideDelete(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order,
                                     const std::string& name, FolderId& mailbox_id) {
  TreeEdit edit(tree, draft, order);
  const std::string node_id = edit.NodeOfName(name);
  if (node_id.empty()) return absl::NotFoundError("no such folder");
  FolderNode node = *edit.Find(node_id);
  mailbox_id = node.mailbox_id;
  if (!mailbox_id.empty()) edit.Doom(mailbox_id);
  if (edit.HasChildren(node_id)) {
    // RFC 9051 §6.3.5: a name with children can lose its messages once.
    if (mailbox_id.empty()) return absl::FailedPreconditionError("the folder has children");
    node.mailbox_id = FolderId();
    node.special_use.clear();
    edit.Put(node_id, std::move(node));
  } else {
    // RFC 9051 §6.3.7: the subscription outlives the folder.
    if (node.subscribed) edit.SetSubscribed(name, true);
    edit.Put(node_id, std::nullopt);
  }
  return std::move(edit).Finish(draft);
}

absl::StatusOr<Verdict> DecideRename(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order,
                                     const std::string& from, const std::string& to, FolderInfo& renamed) {
  TreeEdit edit(tree, draft, order);
  const std::string node_id = edit.NodeOfName(from);
  if (node_id.empty()) return absl::NotFoundError("no such folder");
  if (!edit.NodeOfName(to).empty()) return absl::AlreadyExistsError("the folder exists");
  FolderNode node = *edit.Find(node_id);
  const size_t cut = to.rfind('/');
  node.parent.clear();
  if (cut != std::string::npos) {
    // RFC 9051 §6.3.6: missing superior names are made.
    const std::string parent_name = to.substr(0, cut);
    node.parent = edit.NodeOfName(parent_name);
    if (node.parent.empty()) {
      if (draft.store_is_full()) return absl::ResourceExhaustedError("the store is full: no folder can be made");
      node.parent = edit.AddLevels(parent_name, "", /*subscribed=*/false);
    }
  }
  node.name = cut == std::string::npos ? to : to.substr(cut + 1);
  if (edit.IsSubscribedName(to)) {
    node.subscribed = true;
    edit.SetSubscribed(to, false);
  }
  edit.Put(node_id, std::move(node));
  renamed = edit.Info(node_id);
  return std::move(edit).Finish(draft);
}

absl::StatusOr<Verdict> DecideSubscribe(const AccountTree& tree, AccountDraft& draft, const TreeOrder& order,
                                        const std::string& name, bool subscribed) {
  TreeEdit edit(tree, draft, order);
  const std::string node_id = edit.NodeOfName(name);
  if (node_id.empty()) {
    edit.SetSubscribed(name, subscribed);
  } else if (FolderNode node = *edit.Find(node_id); node.subscribed != subscribed) {
    node.subscribed = subscribed;
    edit.Put(node_id, std::move(node));
  }
  return std::move(edit).Finish(draft);
}

}  // namespace posthouse::mailbox
