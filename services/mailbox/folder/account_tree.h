// AccountTree: the folder tree of one account as a value.
//
// A node is one level of the tree. Its id never changes; its mailbox id, when it has one, is
// what clients see (RFC 8474 MAILBOXID) and names the partition of its messages. A level
// without a mailbox only holds children. A subscription belongs to the node of its name, or,
// while no such node exists, to the name.
//
// Names are canonical (folder_name.h). What may change in a tree, and how: tree_deciders.h.
// Threads: a value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/mailbox/folder/account_registry.h"

namespace posthouse::mailbox {

namespace v1 {
class FolderRow;
}

// A folder as callers see it.
struct FolderInfo {
  std::string name;    // full
  FolderId folder_id;  // empty: holds only children
  std::string special_use;
  bool subscribed = false;
  bool has_children = false;
};

// A node as its row f/ has it.
struct FolderNode {
  std::string name;    // this level
  std::string parent;  // node id; "" at the top
  FolderId mailbox_id;
  std::string special_use;
  bool subscribed = false;
  UidValidity uid_validity;
  int64_t created = 0;  // seconds since 1970
};

// The row of a node, and back. Neither fails: Acyclic() and the codec find damage.
v1::FolderRow ToRow(const FolderNode& node);
FolderNode FromRow(const v1::FolderRow& row);

// What the store does with an account (account_standing.h). The numbers are those of v1::AccountState.
enum class AccountState : uint8_t { kActive = 0, kMoved = 1, kDeleted = 2, kErasing = 3, kErased = 4 };

// The mail is going, or gone: there is no way back.
inline bool IsBeingErased(AccountState state) {
  return state == AccountState::kErasing || state == AccountState::kErased;
}

// What row S says beside the tree.
struct AccountStanding {
  AccountState state = AccountState::kActive;
  uint64_t placement_epoch = 0;    // of the directory's record, when it was last asked
  int64_t since = 0;               // seconds since 1970 when `state` was set; 0: since the account was made
  AccountRegistry::Erased erased;  // so far
};

// What a commit does to a tree: nodes put, or removed (nullopt), names subscribed or not, and
// folders to be destroyed, or destroyed (false).
struct TreeChanges {
  absl::btree_map<std::string, std::optional<FolderNode>> nodes;
  absl::btree_map<std::string, bool> subscriptions;
  absl::btree_map<FolderId, bool> doomed;
};

class AccountTree {
 public:
  bool exists = false;  // the account was made
  uint64_t version = 0;
  UidValidity last_uid_validity;
  int64_t created = 0;
  AccountStanding standing;

  void Put(const std::string& node_id, FolderNode node);
  void Remove(const std::string& node_id);
  void SetSubscribed(const std::string& name, bool subscribed);
  void SetDoomed(const FolderId& folder, bool doomed);
  void Apply(const TreeChanges& changes);

  const FolderNode* Find(const std::string& node_id) const;                    // null: none
  std::string Child(const std::string& parent, absl::string_view name) const;  // node id; "": none
  std::string NodeOfMailbox(const FolderId& mailbox_id) const;                 // "": none
  std::string NodeOfName(absl::string_view full_name) const;                   // "": none
  std::string FullName(std::string node_id) const;
  FolderInfo Info(const std::string& node_id) const;
  // Whether no node is its own ancestor. The other functions require it.
  bool Acyclic() const;
  std::vector<FolderInfo> List() const;  // by name
  const absl::flat_hash_map<std::string, FolderNode>& nodes() const { return nodes_; }
  const absl::flat_hash_map<FolderId, std::string>& mailboxes() const { return by_mailbox_; }  // id -> node
  const absl::btree_set<std::string>& subscriptions() const { return subscriptions_; }  // of names without a node
  const absl::btree_set<FolderId>& doomed() const { return doomed_; }  // left the tree, and are to be destroyed

 private:
  absl::flat_hash_map<std::string, FolderNode> nodes_;
  absl::flat_hash_map<std::pair<std::string, std::string>, std::string> by_name_;  // parent, name -> node
  absl::flat_hash_map<FolderId, std::string> by_mailbox_;
  absl::btree_set<std::string> subscriptions_;
  absl::btree_set<FolderId> doomed_;
};

}  // namespace posthouse::mailbox
