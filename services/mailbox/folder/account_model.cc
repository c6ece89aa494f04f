#include "services/mailbox/folder/account_model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/status/status.h"
#include "services/mailbox/rows/head.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

// A UIDVALIDITY beyond those that lost commits may have given to folders (RFC 9051 §2.3.1.1).
// The random part keeps two restores of one backup apart.
UidValidity JumpedUidValidity(UidValidity last) {
  const uint64_t jumped = last.value() + Head::kJump + RandomNumber() % Head::kJump;
  return UidValidity(static_cast<uint32_t>(std::min<uint64_t>(jumped, UINT32_MAX - Head::kJump)));
}

}  // namespace

AccountModel::AccountModel(MailboxDeps& deps, TenantId tenant, AccountId account_id, std::shared_ptr<Usage> usage)
    : deps_(deps),
      tenant_(std::move(tenant)),
      account_id_(std::move(account_id)),
      partition_(AccountPartition(tenant_, account_id_)),
      usage_(std::move(usage)) {}

store::GuardedOptions AccountModel::Options(MailboxDeps& deps, const TenantId& tenant, const AccountId& account_id) {
  store::GuardedOptions options;
  options.store = &deps.store;
  options.partition = AccountPartition(tenant, account_id);
  options.head_key = AccountKey();
  options.log_prefix = kTreeChangePrefix;
  options.executor = deps.executor;
  options.max_batch = 10;  // a name of 32 levels makes 4 KiB of the log row
  options.metrics = &deps.metrics.account_commits;
  return options;
}

template <typename Proto>
absl::StatusOr<Proto> AccountModel::Decode(const std::string& key, absl::string_view row) const {
  absl::StatusOr<Proto> decoded = DecodeRow<Proto>(row);
  if (decoded.ok()) return decoded;
  deps_.metrics.corrupt_rows.Add();
  return Annotate(decoded.status(), absl::StrCat("account ", account_id_.value(), ", row ", absl::CHexEscape(key)));
}

absl::Status AccountModel::TakeRow(const std::string& row, AccountTree& tree) const {
  PH_ASSIGN_OR_RETURN(const v1::AccountRow account, Decode<v1::AccountRow>(AccountKey(), row));
  tree.version = account.tree_version();
  tree.last_uid_validity = UidValidity(account.last_uid_validity());
  tree.created = account.created();
  tree.exists = tree.created != 0;
  tree.standing.state = static_cast<AccountState>(account.state());
  tree.standing.placement_epoch = account.placement_epoch();
  tree.standing.since = account.state_since();
  tree.standing.erased = {account.erased_folders(), account.erased_messages(), account.erased_bytes()};
  return absl::OkStatus();
}

Task<absl::StatusOr<store::Loaded<AccountTree>>> AccountModel::Load(unsigned /*parts*/) {
  store::Loaded<AccountTree> loaded;
  bool first = true;
  for (const char* prefix : {kFolderPrefix, kSubscriptionPrefix, kDoomedPrefix}) {
    std::string after;
    for (bool more = true; more; first = false) {
      store::ReadRequest request;
      request.partition = partition_;
      // Row S is read with each page: pages of different trees do not mix.
      request.keys = {AccountKey()};
      request.prefix = prefix;
      request.after = after;
      request.limit = store::kMaxPageRows;
      PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await deps_.store.Read(std::move(request)));
      if (!first && read.values[0] != loaded.head) co_return absl::AbortedError("another writer changed the account");
      loaded.head = std::move(read.values[0]);
      for (const store::Row& row : read.page) {
        after = row.key;
        if (prefix == kDoomedPrefix) {
          loaded.state.SetDoomed(FolderId(RestOfKey(row.key)), true);
          continue;
        }
        if (prefix == kSubscriptionPrefix) {
          loaded.state.SetSubscribed(RestOfKey(row.key), true);
          continue;
        }
        PH_CO_ASSIGN_OR_RETURN(const std::string node_id, NodeOfFolderKey(row.key));
        PH_CO_ASSIGN_OR_RETURN(const v1::FolderRow folder, Decode<v1::FolderRow>(row.key, row.value));
        loaded.state.Put(node_id, FromRow(folder));
      }
      more = read.more;
    }
  }
  if (loaded.head.has_value()) {
    if (!loaded.state.Acyclic()) {
      deps_.metrics.corrupt_rows.Add();
      co_return absl::DataLossError(
          absl::StrCat("account ", account_id_.value(), " has a folder that is its own parent"));
    }
    PH_CO_RETURN_IF_ERROR(co_await JumpNumbers(loaded));
    PH_CO_RETURN_IF_ERROR(TakeRow(*loaded.head, loaded.state));
  }
  co_return loaded;
}

Task<absl::Status> AccountModel::JumpNumbers(store::Loaded<AccountTree>& loaded) const {
  PH_CO_ASSIGN_OR_RETURN(v1::AccountRow row, Decode<v1::AccountRow>(AccountKey(), *loaded.head));
  if (row.incarnation() >= deps_.store.Incarnation()) co_return absl::OkStatus();
  row.set_last_uid_validity(JumpedUidValidity(UidValidity(row.last_uid_validity())).value());
  row.set_incarnation(deps_.store.Incarnation());
  row.set_nonce(RandomNumber());
  store::CommitRequest commit;
  commit.partition = partition_;
  commit.preconditions = {{AccountKey(), loaded.head}};
  commit.mutations = {{AccountKey(), EncodeRow(row)}};
  commit.use_reserve = true;  // a full store is read, too
  PH_CO_RETURN_IF_ERROR(co_await deps_.store.Commit(commit));
  loaded.head = std::move(commit.mutations[0].value);
  co_return absl::OkStatus();
}

void AccountModel::Begin(const AccountTree& tree, AccountDraft& draft) const {
  draft.exists = tree.exists;
  draft.version = tree.version;
  draft.last_uid_validity = tree.last_uid_validity;
  // An account whose creation was lost may have had folders of these seconds.
  if (!tree.exists && deps_.store.Incarnation() > 0) {
    draft.last_uid_validity = JumpedUidValidity(UidValidity(static_cast<uint32_t>(absl::ToUnixSeconds(deps_.clock()))));
  }
  draft.created = tree.created;
  draft.standing = tree.standing;
}

absl::StatusOr<store::SealedDraft> AccountModel::Seal(const AccountTree& /*tree*/, AccountDraft& draft) {
  v1::AccountRow row;
  row.set_tree_version(++draft.version);
  row.set_last_uid_validity(draft.last_uid_validity.value());
  row.set_created(draft.created);
  row.set_incarnation(deps_.store.Incarnation());
  row.set_nonce(draft.nonce());
  row.set_state(static_cast<v1::AccountState>(draft.standing.state));
  row.set_placement_epoch(draft.standing.placement_epoch);
  row.set_state_since(draft.standing.since);
  row.set_erased_folders(draft.standing.erased.folders);
  row.set_erased_messages(draft.standing.erased.messages);
  row.set_erased_bytes(draft.standing.erased.bytes);
  v1::TreeChange change;
  for (const auto& [id, node] : draft.changes.nodes) {
    v1::TreeChange::Node& changed = *change.add_nodes();
    changed.set_node_id(id);
    if (node.has_value()) *changed.mutable_row() = ToRow(*node);
  }
  for (const auto& [name, on] : draft.changes.subscriptions)
    *(on ? change.add_subscribed() : change.add_unsubscribed()) = name;
  for (const auto& [folder, on] : draft.changes.doomed)
    *(on ? change.add_doomed() : change.add_destroyed()) = folder.value();
  change.set_nonce(draft.nonce());
  // Every version has one row, so the oldest key is known without reading.
  if (draft.version > kLogRows) draft.Remove(TreeChangeKey(draft.version - kLogRows));
  store::SealedDraft sealed;
  sealed.head = EncodeRow(row);
  sealed.proof = store::Row{TreeChangeKey(draft.version), EncodeRow(change)};
  return sealed;
}

Task<absl::Status> AccountModel::Prepare(AccountDraft& draft) {
  std::vector<store::CommitRequest> requests;
  for (const FolderNode& node : draft.made) {
    Head head;
    head.account_id = account_id_;
    head.uid_validity = node.uid_validity;
    head.created = node.created;
    head.incarnation = deps_.store.Incarnation();
    store::CommitRequest request;
    request.partition = FolderPartition(tenant_, node.mailbox_id);
    request.preconditions = {{HeadKey(), std::nullopt}};
    request.mutations = {{HeadKey(), head.Encode()}};
    requests.push_back(std::move(request));
  }
  if (requests.empty()) co_return absl::OkStatus();
  for (const absl::Status& status : co_await deps_.store.CommitAll(std::move(requests))) {
    PH_CO_RETURN_IF_ERROR(status);
  }
  co_return absl::OkStatus();
}

void AccountModel::Apply(AccountTree& tree, AccountDraft& draft) {
  tree.exists = draft.exists;
  tree.version = draft.version;
  tree.last_uid_validity = draft.last_uid_validity;
  tree.created = draft.created;
  tree.standing = draft.standing;
  tree.Apply(draft.changes);
}

void AccountModel::Committed(const AccountDraft& draft) {
  for (const FolderNode& node : draft.made) usage_->Count(node.mailbox_id, {});
}

// What a crash left of deletions, when the account is loaded for the first time.
void AccountModel::Replace(const AccountTree* old, AccountTree& fresh) {
  if (old == nullptr && !fresh.doomed().empty()) *leftovers_ = true;
}

std::string AccountModel::LogPosition(const AccountTree& tree) const { return TreeChangeKey(tree.version); }

absl::StatusOr<bool> AccountModel::Patch(AccountTree& tree, const std::string& head,
                                         const std::vector<store::Row>& log) {
  // All is decoded before the tree changes: a damaged row leaves it as it was.
  TreeChanges changes;
  uint64_t version = tree.version;
  for (const store::Row& row : log) {
    if (row.key != TreeChangeKey(++version)) return false;
    PH_ASSIGN_OR_RETURN(const v1::TreeChange change, Decode<v1::TreeChange>(row.key, row.value));
    for (const v1::TreeChange::Node& node : change.nodes()) {
      changes.nodes[node.node_id()] = node.has_row() ? std::optional<FolderNode>(FromRow(node.row())) : std::nullopt;
    }
    for (const std::string& name : change.subscribed()) changes.subscriptions[name] = true;
    for (const std::string& name : change.unsubscribed()) changes.subscriptions[name] = false;
    for (const std::string& folder : change.doomed()) changes.doomed[FolderId(folder)] = true;
    for (const std::string& folder : change.destroyed()) changes.doomed[FolderId(folder)] = false;
  }
  AccountTree next;
  PH_RETURN_IF_ERROR(TakeRow(head, next));
  if (next.version != version) return false;
  tree.exists = next.exists;
  tree.version = next.version;
  tree.last_uid_validity = next.last_uid_validity;
  tree.created = next.created;
  tree.standing = next.standing;
  tree.Apply(changes);
  return true;
}

}  // namespace posthouse::mailbox
