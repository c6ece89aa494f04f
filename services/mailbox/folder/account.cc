#include "services/mailbox/folder/account.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/status/status.h"
#include "services/mailbox/rows/folder_name.h"
#include "services/mailbox/rows/head.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

constexpr int kAttempts = 8;

v1::FolderRow ToRow(const auto& node) {
  v1::FolderRow row;
  row.set_name(node.name);
  row.set_parent(node.parent);
  row.set_mailbox_id(node.mailbox_id);
  row.set_special_use(node.special_use);
  row.set_subscribed(node.subscribed);
  row.set_uid_validity(node.uid_validity);
  row.set_created(node.created);
  return row;
}

}  // namespace

// ---- the tree as a value

std::string Account::Tree::FindNode(absl::string_view full_name) const {
  std::string node;
  for (const std::string& level : SplitName(full_name)) {
    const auto it = by_name.find({node, level});
    if (it == by_name.end()) return "";
    node = it->second;
  }
  return node;
}

std::string Account::Tree::FullName(std::string node_id) const {
  std::string name;
  while (!node_id.empty()) {
    const auto it = nodes.find(node_id);
    if (it == nodes.end()) break;
    name = name.empty() ? it->second.name : JoinName(it->second.name, name);
    node_id = it->second.parent;
  }
  return name;
}

bool Account::Tree::HasChildren(const std::string& node_id) const {
  return std::any_of(nodes.begin(), nodes.end(), [&](const auto& n) { return n.second.parent == node_id; });
}

FolderInfo Account::Tree::Info(const std::string& node_id) const {
  const Node& node = nodes.at(node_id);
  return {FullName(node_id), node.mailbox_id, node.special_use, node.subscribed, HasChildren(node_id)};
}

struct Account::Edit {
  Tree tree;
  std::vector<store::Mutation> mutations;
  std::vector<Node> made;  // need a head before the tree names them

  void Put(const std::string& node_id, Node node) {
    if (const auto old = tree.nodes.find(node_id); old != tree.nodes.end()) {
      tree.by_mailbox.erase(old->second.mailbox_id);
      if (old->second.parent != node.parent || old->second.name != node.name) {
        tree.by_name.erase({old->second.parent, old->second.name});
        mutations.push_back({NameKey(old->second.parent, old->second.name), std::nullopt});
        mutations.push_back({NameKey(node.parent, node.name), EncodeText(IdToBytes(node_id))});
      }
    } else {
      mutations.push_back({NameKey(node.parent, node.name), EncodeText(IdToBytes(node_id))});
    }
    mutations.push_back({FolderKey(node_id), EncodeRow(ToRow(node))});
    tree.by_name[{node.parent, node.name}] = node_id;
    if (!node.mailbox_id.empty()) tree.by_mailbox[node.mailbox_id] = node_id;
    tree.nodes[node_id] = std::move(node);
  }
  void Remove(const std::string& node_id) {
    const Node node = tree.nodes.at(node_id);
    mutations.push_back({FolderKey(node_id), std::nullopt});
    mutations.push_back({NameKey(node.parent, node.name), std::nullopt});
    tree.by_name.erase({node.parent, node.name});
    tree.by_mailbox.erase(node.mailbox_id);
    tree.nodes.erase(node_id);
  }
  void SetSubscription(const std::string& name, bool on, int64_t now) {
    if (on == tree.subscriptions.contains(name)) return;
    if (on) {
      v1::SubscriptionRow row;
      row.set_since(now);
      mutations.push_back({SubscriptionKey(name), EncodeRow(row)});
      tree.subscriptions.insert(name);
    } else {
      mutations.push_back({SubscriptionKey(name), std::nullopt});
      tree.subscriptions.erase(name);
    }
  }
  // UIDVALIDITY: never the same twice in an account (RFC 9051 §2.3.1.1).
  void MakeMailbox(Node& node, absl::Time now) {
    const auto seconds = static_cast<uint32_t>(absl::ToUnixSeconds(now));
    tree.last_uid_validity = std::max(tree.last_uid_validity + 1, seconds);
    node.uid_validity = tree.last_uid_validity;
    node.mailbox_id = NewId();
    node.created = absl::ToUnixSeconds(now);
    made.push_back(node);
  }
};

// ---- opening

Account::Account(MailboxDeps& deps, std::string tenant, std::string account_id)
    : deps_(deps),
      tenant_(std::move(tenant)),
      account_id_(std::move(account_id)),
      partition_(AccountPartition(tenant_, account_id_)) {}

std::shared_ptr<const Account::Tree> Account::tree() const {
  absl::MutexLock lock(&mutex_);
  return tree_;
}

Task<absl::Status> Account::Open() {
  {
    absl::MutexLock lock(&mutex_);
    if (open_) co_return absl::OkStatus();
  }
  const AsyncMutex::Guard guard = co_await changing_.Lock();
  {
    absl::MutexLock lock(&mutex_);
    if (open_) co_return absl::OkStatus();
  }
  PH_CO_RETURN_IF_ERROR(co_await Load());
  for (int attempt = 0; attempt < kAttempts && tree()->row.empty(); ++attempt) {
    const absl::Status status = co_await CreateAccount();
    if (!status.ok() && !absl::IsAborted(status)) co_return status;
  }
  if (tree()->row.empty()) co_return absl::AbortedError("the account changes too fast");
  absl::MutexLock lock(&mutex_);
  open_ = true;
  co_return absl::OkStatus();
}

Task<absl::Status> Account::Load() {
  auto tree = std::make_shared<Tree>();
  for (const char* prefix : {kFolderPrefix, kSubscriptionPrefix}) {
    std::string after;
    for (bool more = true; more;) {
      store::ReadRequest request;
      request.partition = partition_;
      // Row S is read with each page: two pages of different trees do not mix.
      request.keys = {AccountKey()};
      request.prefix = prefix;
      request.after = after;
      request.limit = store::kMaxPageRows;
      PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(std::move(request)));
      const std::string row = read.values[0].value_or("");
      if (row != tree->row && !(tree->nodes.empty() && tree->subscriptions.empty())) {
        co_return absl::AbortedError("another writer changed the account");
      }
      tree->row = row;
      for (const store::Row& stored : read.page) {
        after = stored.key;
        if (prefix == kSubscriptionPrefix) {
          tree->subscriptions.insert(RestOfKey(stored.key));
          continue;
        }
        PH_CO_ASSIGN_OR_RETURN(const std::string node_id, NodeOfFolderKey(stored.key));
        PH_CO_ASSIGN_OR_RETURN(const v1::FolderRow f, DecodeRow<v1::FolderRow>(stored.value));
        tree->by_name[{f.parent(), f.name()}] = node_id;
        if (!f.mailbox_id().empty()) tree->by_mailbox[f.mailbox_id()] = node_id;
        tree->nodes[node_id] = {f.name(),       f.parent(),       f.mailbox_id(), f.special_use(),
                                f.subscribed(), f.uid_validity(), f.created()};
      }
      more = read.more;
    }
  }
  if (!tree->row.empty()) {
    PH_CO_ASSIGN_OR_RETURN(const v1::AccountRow row, DecodeRow<v1::AccountRow>(tree->row));
    tree->version = row.tree_version();
    tree->last_uid_validity = row.last_uid_validity();
    tree->created = row.created();
  }
  absl::MutexLock lock(&mutex_);
  tree_ = std::move(tree);
  co_return absl::OkStatus();
}

Task<absl::Status> Account::RegisterTenant() {
  store::ReadRequest read;
  read.partition = SystemPartition();
  read.keys = {TenantKey(tenant_)};
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult found, co_await deps_.store.Read(std::move(read)));
  if (found.values[0].has_value()) co_return absl::OkStatus();
  v1::TenantRow row;
  row.set_since(absl::ToUnixSeconds(deps_.clock()));
  store::CommitRequest commit;
  commit.partition = SystemPartition();
  commit.mutations = {{TenantKey(tenant_), EncodeRow(row)}};
  co_return co_await deps_.store.Commit(std::move(commit));
}

Task<absl::Status> Account::CreateAccount() {
  // First, so that the sweeper knows of every tenant that has rows.
  PH_CO_RETURN_IF_ERROR(co_await RegisterTenant());
  Edit edit = Begin();
  edit.tree.created = absl::ToUnixSeconds(deps_.clock());
  AddLevels(edit, kInbox, "", /*subscribed=*/true);
  for (const DefaultFolder& f : deps_.settings.default_folders) {
    PH_CO_ASSIGN_OR_RETURN(const std::string name, CanonicalName(f.name));
    AddLevels(edit, name, f.special_use, /*subscribed=*/true);
  }
  co_return co_await Commit(std::move(edit));
}

// ---- looking

std::vector<FolderInfo> Account::List() const {
  const std::shared_ptr<const Tree> t = tree();
  absl::flat_hash_set<std::string> parents;
  for (const auto& [id, node] : t->nodes) parents.insert(node.parent);
  std::vector<FolderInfo> out;
  for (const auto& [id, node] : t->nodes) {
    out.push_back({t->FullName(id), node.mailbox_id, node.special_use, node.subscribed, parents.contains(id)});
  }
  std::sort(out.begin(), out.end(), [](const FolderInfo& a, const FolderInfo& b) { return a.name < b.name; });
  return out;
}

std::vector<std::string> Account::SubscribedOnly() const {
  const std::shared_ptr<const Tree> t = tree();
  return {t->subscriptions.begin(), t->subscriptions.end()};
}

absl::StatusOr<FolderInfo> Account::FindByName(absl::string_view name) const {
  PH_ASSIGN_OR_RETURN(const std::string canonical, CanonicalName(name));
  const std::shared_ptr<const Tree> t = tree();
  const std::string node = t->FindNode(canonical);
  if (node.empty()) return absl::NotFoundError("no such folder");
  return t->Info(node);
}

absl::StatusOr<FolderInfo> Account::FindById(absl::string_view folder_id) const {
  const std::shared_ptr<const Tree> t = tree();
  const auto it = t->by_mailbox.find(folder_id);
  if (folder_id.empty() || it == t->by_mailbox.end()) return absl::NotFoundError("no such folder");
  return t->Info(it->second);
}

bool Account::Has(absl::string_view folder_id) const {
  return !folder_id.empty() && tree()->by_mailbox.contains(folder_id);
}

std::vector<std::string> Account::FolderIds() const {
  const std::shared_ptr<const Tree> t = tree();
  std::vector<std::string> out;
  for (const auto& [mailbox, node] : t->by_mailbox) out.push_back(mailbox);
  return out;
}

std::string Account::inbox_id() const {
  const std::shared_ptr<const Tree> t = tree();
  const auto it = t->by_name.find({"", kInbox});
  return it == t->by_name.end() ? "" : t->nodes.at(it->second).mailbox_id;
}

// ---- changing

Account::Edit Account::Begin() const {
  Edit edit;
  edit.tree = *tree();
  return edit;
}

void Account::AddLevels(Edit& edit, const std::string& name, const std::string& special_use, bool subscribed) const {
  const absl::Time now = deps_.clock();
  std::string parent;
  std::string full;
  const std::vector<std::string> levels = SplitName(name);
  for (size_t i = 0; i < levels.size(); ++i) {
    full = JoinName(full, levels[i]);
    const auto it = edit.tree.by_name.find({parent, levels[i]});
    std::string node_id = it == edit.tree.by_name.end() ? "" : it->second;
    const bool leaf = i + 1 == levels.size();
    if (node_id.empty() || (leaf && edit.tree.nodes[node_id].mailbox_id.empty())) {
      Node node;
      if (node_id.empty()) {
        node_id = NewId();
        node.parent = parent;
        node.name = levels[i];
      } else {
        node = edit.tree.nodes[node_id];
      }
      // A name subscribed before it existed is subscribed now.
      node.subscribed = node.subscribed || (leaf && subscribed) || edit.tree.subscriptions.contains(full);
      edit.SetSubscription(full, false, 0);
      if (leaf) node.special_use = special_use;
      edit.MakeMailbox(node, now);
      edit.Put(node_id, std::move(node));
    }
    parent = node_id;
  }
}

Task<absl::Status> Account::MakeHeads(const std::vector<Node>& folders) {
  std::vector<store::CommitRequest> requests;
  for (const Node& node : folders) {
    Head head;
    head.account_id = account_id_;
    head.uid_validity = node.uid_validity;
    head.created = node.created;
    store::CommitRequest request;
    request.partition = FolderPartition(tenant_, node.mailbox_id);
    request.preconditions = {{HeadKey(), std::nullopt}};
    request.mutations = {{HeadKey(), head.Encode()}};
    requests.push_back(std::move(request));
  }
  for (const absl::Status& status : co_await deps_.store.CommitAll(std::move(requests))) {
    PH_CO_RETURN_IF_ERROR(status);
  }
  co_return absl::OkStatus();
}

// All names together stay in one answer (LIST), with their counters.
absl::Status Account::CheckSize(const Tree& tree) const {
  const size_t limit = deps_.settings.max_folders_per_account;
  if (tree.nodes.size() > limit || tree.subscriptions.size() > limit) {
    return absl::ResourceExhaustedError("too many folders");
  }
  const size_t names_limit = deps_.settings.max_folder_names_bytes;
  if ((tree.nodes.size() + tree.subscriptions.size()) * kMaxNameBytes <= names_limit) return absl::OkStatus();
  size_t bytes = 0;
  for (const auto& [id, node] : tree.nodes) bytes += tree.FullName(id).size();
  for (const std::string& name : tree.subscriptions) bytes += name.size();
  return bytes <= names_limit ? absl::OkStatus() : absl::ResourceExhaustedError("too many long folder names");
}

Task<absl::Status> Account::Commit(Edit edit) {
  const std::shared_ptr<const Tree> before = tree();
  // What makes the tree smaller is never refused.
  if (edit.tree.nodes.size() + edit.tree.subscriptions.size() >= before->nodes.size() + before->subscriptions.size()) {
    PH_CO_RETURN_IF_ERROR(CheckSize(edit.tree));
  }
  if (!edit.made.empty()) PH_CO_RETURN_IF_ERROR(co_await MakeHeads(edit.made));
  v1::AccountRow row;
  row.set_tree_version(++edit.tree.version);
  row.set_last_uid_validity(edit.tree.last_uid_validity);
  row.set_created(edit.tree.created);
  row.set_nonce(NewNonce());
  const std::string encoded = EncodeRow(row);
  store::CommitRequest request;
  request.partition = partition_;
  request.preconditions = {
      {AccountKey(), edit.tree.row.empty() ? std::nullopt : std::optional<std::string>(edit.tree.row)}};
  request.mutations = std::move(edit.mutations);
  request.mutations.push_back({AccountKey(), encoded});
  // Deleting a folder makes room, so it goes on while the disk is full.
  request.use_reserve = edit.tree.nodes.size() <= before->nodes.size();
  const absl::Status status = co_await deps_.store.Commit(std::move(request));
  if (status.ok()) {
    edit.tree.row = encoded;
    for (const Node& node : edit.made) usage_->Count(node.mailbox_id, {});
    {
      absl::MutexLock lock(&mutex_);
      tree_ = std::make_shared<Tree>(std::move(edit.tree));
    }
    co_return status;
  }
  if (!absl::IsAborted(status) && !absl::IsDeadlineExceeded(status)) co_return status;
  (absl::IsAborted(status) ? deps_.metrics.conflicts : deps_.metrics.unknown_commits).Add();
  PH_CO_RETURN_IF_ERROR(co_await Load());
  if (tree()->row == encoded) co_return absl::OkStatus();  // it did happen
  co_return absl::AbortedError("another writer changed the account");
}

Task<absl::StatusOr<FolderInfo>> Account::Create(std::string name, std::string special_use) {
  PH_CO_ASSIGN_OR_RETURN(name, CanonicalName(name));
  if (!IsSpecialUse(special_use)) co_return absl::InvalidArgumentError("not a special use of RFC 6154");
  const AsyncMutex::Guard guard = co_await changing_.Lock();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Edit edit = Begin();
    const std::string existing = edit.tree.FindNode(name);
    if (!existing.empty() && !edit.tree.nodes[existing].mailbox_id.empty()) {
      co_return absl::AlreadyExistsError("the folder exists");
    }
    AddLevels(edit, name, special_use, /*subscribed=*/false);
    const absl::Status status = co_await Commit(std::move(edit));
    if (status.ok()) co_return FindByName(name);
    if (!absl::IsAborted(status)) co_return status;
  }
  co_return absl::AbortedError("the account changes too fast");
}

Task<absl::StatusOr<std::string>> Account::Delete(std::string name) {
  PH_CO_ASSIGN_OR_RETURN(name, CanonicalName(name));
  // RFC 9051 §6.3.5.
  if (name == kInbox) co_return absl::FailedPreconditionError("INBOX cannot be deleted");
  const AsyncMutex::Guard guard = co_await changing_.Lock();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Edit edit = Begin();
    const std::string node_id = edit.tree.FindNode(name);
    if (node_id.empty()) co_return absl::NotFoundError("no such folder");
    Node node = edit.tree.nodes[node_id];
    const std::string mailbox_id = node.mailbox_id;
    if (edit.tree.HasChildren(node_id)) {
      if (mailbox_id.empty()) co_return absl::FailedPreconditionError("the folder has children");
      node.mailbox_id.clear();
      node.special_use.clear();
      edit.Put(node_id, node);
    } else {
      // RFC 9051 §6.3.7: the subscription outlives the folder.
      if (node.subscribed) edit.SetSubscription(name, true, absl::ToUnixSeconds(deps_.clock()));
      edit.Remove(node_id);
    }
    const absl::Status status = co_await Commit(std::move(edit));
    if (status.ok()) co_return mailbox_id;
    if (!absl::IsAborted(status)) co_return status;
  }
  co_return absl::AbortedError("the account changes too fast");
}

Task<absl::StatusOr<FolderInfo>> Account::Rename(std::string from, std::string to) {
  PH_CO_ASSIGN_OR_RETURN(from, CanonicalName(from));
  PH_CO_ASSIGN_OR_RETURN(to, CanonicalName(to));
  if (from == kInbox) co_return absl::FailedPreconditionError("INBOX keeps its name");
  if (absl::string_view(to).substr(0, from.size() + 1) == from + "/") {
    co_return absl::InvalidArgumentError("a folder cannot become its own child");
  }
  const AsyncMutex::Guard guard = co_await changing_.Lock();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Edit edit = Begin();
    const std::string node_id = edit.tree.FindNode(from);
    if (node_id.empty()) co_return absl::NotFoundError("no such folder");
    if (!edit.tree.FindNode(to).empty()) co_return absl::AlreadyExistsError("the folder exists");
    const size_t cut = to.rfind('/');
    std::string parent;
    if (cut != std::string::npos) {
      // RFC 9051 §6.3.6: missing superior names are made.
      const std::string parent_name = to.substr(0, cut);
      if (edit.tree.FindNode(parent_name).empty()) AddLevels(edit, parent_name, "", /*subscribed=*/false);
      parent = edit.tree.FindNode(parent_name);
    }
    Node node = edit.tree.nodes[node_id];
    node.parent = parent;
    node.name = cut == std::string::npos ? to : to.substr(cut + 1);
    if (edit.tree.subscriptions.contains(to)) {
      node.subscribed = true;
      edit.SetSubscription(to, false, 0);
    }
    edit.Put(node_id, std::move(node));
    const absl::Status status = co_await Commit(std::move(edit));
    if (status.ok()) co_return FindByName(to);
    if (!absl::IsAborted(status)) co_return status;
  }
  co_return absl::AbortedError("the account changes too fast");
}

Task<absl::Status> Account::Subscribe(std::string name, bool subscribed) {
  PH_CO_ASSIGN_OR_RETURN(name, CanonicalName(name));
  const AsyncMutex::Guard guard = co_await changing_.Lock();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Edit edit = Begin();
    const std::string node_id = edit.tree.FindNode(name);
    if (node_id.empty()) {
      edit.SetSubscription(name, subscribed, absl::ToUnixSeconds(deps_.clock()));
    } else if (edit.tree.nodes[node_id].subscribed != subscribed) {
      Node node = edit.tree.nodes[node_id];
      node.subscribed = subscribed;
      edit.Put(node_id, std::move(node));
    }
    if (edit.mutations.empty()) co_return absl::OkStatus();
    const absl::Status status = co_await Commit(std::move(edit));
    if (!absl::IsAborted(status)) co_return status;
  }
  co_return absl::AbortedError("the account changes too fast");
}

}  // namespace posthouse::mailbox
