#include "services/mailbox/folder/account_tree.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/mailbox/rows/folder_name.h"

namespace posthouse::mailbox {

v1::FolderRow ToRow(const FolderNode& node) {
  v1::FolderRow row;
  row.set_name(node.name);
  row.set_parent(node.parent);
  row.set_mailbox_id(node.mailbox_id.value());
  row.set_special_use(node.special_use);
  row.set_subscribed(node.subscribed);
  row.set_uid_validity(node.uid_validity.value());
  row.set_created(node.created);
  return row;
}

FolderNode FromRow(const v1::FolderRow& row) {
  return {row.name(),        row.parent(),     FolderId(row.mailbox_id()),
          row.special_use(), row.subscribed(), UidValidity(row.uid_validity()),
          row.created()};
}

// ---- the tree

void AccountTree::Put(const std::string& node_id, FolderNode node) {
  Remove(node_id);
  by_name_[{node.parent, node.name}] = node_id;
  if (!node.mailbox_id.empty()) by_mailbox_[node.mailbox_id] = node_id;
  nodes_[node_id] = std::move(node);
}

void AccountTree::Remove(const std::string& node_id) {
  const auto node = nodes_.find(node_id);
  if (node == nodes_.end()) return;
  // Another node may have taken the name in the same commit.
  const auto name = by_name_.find({node->second.parent, node->second.name});
  if (name != by_name_.end() && name->second == node_id) by_name_.erase(name);
  by_mailbox_.erase(node->second.mailbox_id);
  nodes_.erase(node);
}

void AccountTree::SetSubscribed(const std::string& name, bool subscribed) {
  if (subscribed) {
    subscriptions_.insert(name);
  } else {
    subscriptions_.erase(name);
  }
}

void AccountTree::SetDoomed(const FolderId& folder, bool doomed) {
  if (doomed) {
    doomed_.insert(folder);
  } else {
    doomed_.erase(folder);
  }
}

void AccountTree::Apply(const TreeChanges& changes) {
  for (const auto& [id, node] : changes.nodes) {
    if (node.has_value()) {
      Put(id, *node);
    } else {
      Remove(id);
    }
  }
  for (const auto& [name, on] : changes.subscriptions) SetSubscribed(name, on);
  for (const auto& [folder, on] : changes.doomed) SetDoomed(folder, on);
}

const FolderNode* AccountTree::Find(const std::string& node_id) const {
  const auto node = nodes_.find(node_id);
  return node == nodes_.end() ? nullptr : &node->second;
}

std::string AccountTree::Child(const std::string& parent, absl::string_view name) const {
  const auto it = by_name_.find({parent, std::string(name)});
  return it == by_name_.end() ? "" : it->second;
}

std::string AccountTree::NodeOfMailbox(const FolderId& mailbox_id) const {
  const auto it = by_mailbox_.find(mailbox_id);
  return mailbox_id.empty() || it == by_mailbox_.end() ? "" : it->second;
}

std::string AccountTree::NodeOfName(absl::string_view full_name) const {
  std::string node;
  for (const std::string& level : SplitName(full_name)) {
    node = Child(node, level);
    if (node.empty()) break;
  }
  return node;
}

std::string AccountTree::FullName(std::string node_id) const {
  std::string name;
  for (const FolderNode* node = Find(node_id); node != nullptr; node = Find(node->parent)) {
    name = name.empty() ? node->name : JoinName(node->name, name);
  }
  return name;
}

bool AccountTree::Acyclic() const {
  absl::flat_hash_set<absl::string_view> rooted;  // nodes whose ancestors end at the top
  for (const auto& [id, start] : nodes_) {
    std::vector<absl::string_view> path;
    const FolderNode* node = &start;
    for (absl::string_view at = id; node != nullptr && !rooted.contains(at); node = Find(node->parent)) {
      if (path.size() > nodes_.size()) return false;
      path.push_back(at);
      at = node->parent;
    }
    rooted.insert(path.begin(), path.end());
  }
  return true;
}

FolderInfo AccountTree::Info(const std::string& node_id) const {
  const FolderNode& node = nodes_.at(node_id);
  const bool parent =
      std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& n) { return n.second.parent == node_id; });
  return {FullName(node_id), node.mailbox_id, node.special_use, node.subscribed, parent};
}

std::vector<FolderInfo> AccountTree::List() const {
  absl::flat_hash_set<absl::string_view> parents;
  for (const auto& [id, node] : nodes_) parents.insert(node.parent);
  std::vector<FolderInfo> out;
  for (const auto& [id, node] : nodes_) {
    out.push_back({FullName(id), node.mailbox_id, node.special_use, node.subscribed, parents.contains(id)});
  }
  std::sort(out.begin(), out.end(), [](const FolderInfo& a, const FolderInfo& b) { return a.name < b.name; });
  return out;
}

}  // namespace posthouse::mailbox
