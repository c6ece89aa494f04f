// Account: the folder tree of one account, and its changes.
//
// The tree is in memory while the account is open. Every change is one commit on
// acct/<account>, guarded by row S; the partition of a new folder is made before the
// tree names it, and dropped after the tree forgot it, so that the tree never names
// a folder that is not there. Half-made partitions are found by the sweeper.
//
// Errors: kNotFound no such folder, kAlreadyExists name taken, kFailedPrecondition
// not for this folder (INBOX, a parent), kInvalidArgument bad name; else as Store.
// Threads: any.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/usage.h"

namespace posthouse::mailbox {

struct FolderInfo {
  std::string name;       // full
  std::string folder_id;  // "": holds only children
  std::string special_use;
  bool subscribed = false;
  bool has_children = false;
};

class Account {
 public:
  Account(MailboxDeps& deps, std::string tenant, std::string account_id);

  const std::string& tenant() const { return tenant_; }
  const std::string& account_id() const { return account_id_; }
  const std::shared_ptr<Usage>& usage() const { return usage_; }

  // Reads the tree; an account that is not there yet gets INBOX and the default
  // folders. Idempotent.
  Task<absl::Status> Open();

  // ---- after Open()
  std::vector<FolderInfo> List() const;                                 // by name
  std::vector<std::string> SubscribedOnly() const;                      // subscribed names without a folder
  absl::StatusOr<FolderInfo> FindByName(absl::string_view name) const;  // canonicalises
  absl::StatusOr<FolderInfo> FindById(absl::string_view folder_id) const;
  bool Has(absl::string_view folder_id) const;  // as FindById, and cheap
  std::vector<std::string> FolderIds() const;
  std::string inbox_id() const;

  // Missing parents are made; a level without messages becomes a folder.
  Task<absl::StatusOr<FolderInfo>> Create(std::string name, std::string special_use);
  // Answers the id of the folder whose messages are to be destroyed; "": none.
  Task<absl::StatusOr<std::string>> Delete(std::string name);
  // Not for INBOX: its messages move instead (folder_tree_ops.h).
  Task<absl::StatusOr<FolderInfo>> Rename(std::string from, std::string to);
  Task<absl::Status> Subscribe(std::string name, bool subscribed);

 private:
  struct Node {
    std::string name;  // this level
    std::string parent;
    std::string mailbox_id;
    std::string special_use;
    bool subscribed = false;
    uint32_t uid_validity = 0;
    int64_t created = 0;
  };
  // The tree as a value: a change is tried on a copy, committed, and swapped in.
  struct Tree {
    uint64_t version = 0;
    uint32_t last_uid_validity = 0;
    int64_t created = 0;
    std::string row;  // row S as stored; "" before the account exists
    absl::flat_hash_map<std::string, Node> nodes;
    absl::flat_hash_map<std::pair<std::string, std::string>, std::string> by_name;  // parent, name -> node
    absl::flat_hash_map<std::string, std::string> by_mailbox;
    absl::btree_set<std::string> subscriptions;

    std::string FindNode(absl::string_view full_name) const;  // "": none
    std::string FullName(std::string node_id) const;
    bool HasChildren(const std::string& node_id) const;
    FolderInfo Info(const std::string& node_id) const;
  };
  struct Edit;  // a tree in the making, and its rows

  Task<absl::Status> Load();
  Task<absl::Status> CreateAccount();
  Task<absl::Status> RegisterTenant();
  Task<absl::Status> MakeHeads(const std::vector<Node>& folders);
  absl::Status CheckSize(const Tree& tree) const;
  // kAborted: the tree was re-read, decide again.
  Task<absl::Status> Commit(Edit edit);
  Edit Begin() const;
  void AddLevels(Edit& edit, const std::string& name, const std::string& special_use, bool subscribed) const;

  MailboxDeps& deps_;
  const std::string tenant_;
  const std::string account_id_;
  const store::Partition partition_;
  const std::shared_ptr<Usage> usage_ = std::make_shared<Usage>();

  AsyncMutex changing_;
  mutable absl::Mutex mutex_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const Tree> tree_ ABSL_GUARDED_BY(mutex_) = std::make_shared<Tree>();

  std::shared_ptr<const Tree> tree() const;
};

}  // namespace posthouse::mailbox
