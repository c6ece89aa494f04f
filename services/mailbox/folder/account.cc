#include "services/mailbox/folder/account.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/mailbox/folder/account_standing.h"
#include "services/mailbox/rows/folder_name.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {

namespace {

absl::Status NoSuchAccount() { return absl::NotFoundError("no such account"); }

absl::string_view NameOf(AccountState state) {
  switch (state) {
    case AccountState::kActive:
      return "active";
    case AccountState::kMoved:
      return "moved";
    case AccountState::kDeleted:
      return "deleted";
    case AccountState::kErasing:
      return "erasing";
    case AccountState::kErased:
      return "erased";
  }
  return "?";
}

}  // namespace

Account::Account(MailboxDeps& deps, TenantId tenant, AccountId account_id)
    : deps_(deps),
      tenant_(std::move(tenant)),
      account_id_(std::move(account_id)),
      rows_(std::make_shared<Rows>(AccountModel::Options(deps, tenant_, account_id_),
                                   AccountModel(deps, tenant_, account_id_, usage_))) {}

TreeOrder Account::Order() const {
  return {deps_.settings.max_folders_per_account, deps_.settings.max_folder_names_bytes, deps_.clock(), &NewId};
}

template <typename Decide>
Task<absl::Status> Account::Change(Decide decide, bool use_reserve) {
  co_return co_await ChangeAnyState(
      [&](const AccountTree& tree, AccountDraft& draft, const TreeOrder& order) -> absl::StatusOr<store::Verdict> {
        if (draft.standing.state != AccountState::kActive) return NoSuchAccount();
        return decide(tree, draft, order);
      },
      use_reserve);
}

template <typename Decide>
Task<absl::Status> Account::ChangeAnyState(Decide decide, bool use_reserve) {
  const TreeOrder order = Order();
  store::ChangeOptions options;
  options.use_reserve = use_reserve;
  co_return co_await rows_->Change([&](const AccountTree& tree, const store::FetchedRows&,
                                       AccountDraft& draft) { return decide(tree, draft, order); },
                                   std::move(options));
}

// Before Load(): as for an empty tree.
template <typename F>
auto Account::Recall(F look) const {
  auto found = rows_->Recall(look);
  return found.has_value() ? *std::move(found) : look(AccountTree());
}

// ---- opening

Task<absl::Status> Account::Load() {
  const auto loaded = [](const AccountTree&) { return true; };
  if (rows_->Recall(loaded).has_value()) co_return absl::OkStatus();
  co_return (co_await rows_->Look(loaded)).status();
}

Task<absl::Status> Account::Admit(uint64_t placement_epoch) {
  AccountChanges& changes = deps_.registry->changes();
  const uint64_t now = changes.now();
  const AccountStanding known = standing();
  const bool active = exists() && known.state == AccountState::kActive;
  const AccountChanges::Since since = changes.Look(account_id_, asked_at_);
  const bool told = active && placement_epoch <= known.placement_epoch;
  if (told && since == AccountChanges::Since::kNothing) co_return absl::OkStatus();
  if (IsBeingErased(known.state)) {
    deps_.metrics.refused_no_account.Add();
    co_return NoSuchAccount();
  }
  const absl::StatusOr<AccountRegistry::Placement> found = co_await deps_.registry->Find(account_id_);
  if (found.ok() && found->here) {
    const uint64_t epoch = std::max(found->epoch, known.placement_epoch);
    if (!exists()) {
      PH_CO_RETURN_IF_ERROR(co_await Make(epoch));
    } else if (!active || epoch > known.placement_epoch) {
      PH_CO_RETURN_IF_ERROR(co_await SetState(AccountState::kActive, epoch));
    }
    asked_at_ = now;
    co_return absl::OkStatus();
  }
  if (found.ok()) {
    if (active) PH_CO_RETURN_IF_ERROR(co_await SetState(AccountState::kMoved, found->epoch));
    deps_.metrics.refused_not_here.Add();
    co_return absl::FailedPreconditionError(
        absl::StrCat("not here: the account's home is \"", found->home.value(), "\""));
  }
  if (absl::IsNotFound(found.status())) {
    if (exists()) PH_CO_RETURN_IF_ERROR(co_await SetState(AccountState::kDeleted, known.placement_epoch));
    deps_.metrics.refused_no_account.Add();
    co_return NoSuchAccount();
  }
  // The directory is away. What was served stays served, unless it is known that the account changed.
  if (told && since == AccountChanges::Since::kMaybe) co_return absl::OkStatus();
  deps_.metrics.refused_unknown.Add();
  co_return absl::UnavailableError(absl::StrCat("the directory did not answer: ", found.status().message()));
}

Task<absl::Status> Account::Make(uint64_t placement_epoch) {
  // First, so that the sweeper finds every tenant that has rows.
  PH_CO_RETURN_IF_ERROR(co_await RegisterTenant());
  co_return co_await Change(
      [this, placement_epoch](const AccountTree& tree, AccountDraft& draft, const TreeOrder& order) {
        return DecideNewAccount(tree, draft, order, deps_.settings.default_folders, placement_epoch);
      },
      /*use_reserve=*/false);
}

Task<absl::Status> Account::SetState(AccountState state, uint64_t placement_epoch) {
  const AccountState before = standing().state;
  PH_CO_RETURN_IF_ERROR(co_await ChangeAnyState(
      [=](const AccountTree&, AccountDraft& draft, const TreeOrder& order) {
        return DecideStanding(draft, order, state, placement_epoch);
      },
      /*use_reserve=*/true));
  if (before != state) {
    LOG_EVENT(kInfo, "account_state")
        .Str("account_id", account_id_.value())
        .Str("state", NameOf(state))
        .Str("before", NameOf(before));
  }
  co_return absl::OkStatus();
}

Task<absl::Status> Account::Refresh() {
  store::ChangeOptions now;
  now.fresh = true;
  co_return (co_await rows_->Look([](const AccountTree&) { return true; }, std::move(now))).status();
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

// ---- looking

bool Account::exists() const {
  return Recall([](const AccountTree& tree) { return tree.exists; });
}

AccountStanding Account::standing() const {
  return Recall([](const AccountTree& tree) { return tree.standing; });
}

std::vector<FolderInfo> Account::List() const {
  return Recall([](const AccountTree& tree) { return tree.List(); });
}

std::vector<std::string> Account::SubscribedOnly() const {
  return Recall([](const AccountTree& tree) {
    return std::vector<std::string>(tree.subscriptions().begin(), tree.subscriptions().end());
  });
}

absl::StatusOr<FolderInfo> Account::FindByName(absl::string_view name) const {
  PH_ASSIGN_OR_RETURN(const std::string canonical, CanonicalName(name));
  return Recall([&](const AccountTree& tree) -> absl::StatusOr<FolderInfo> {
    const std::string node = tree.NodeOfName(canonical);
    if (node.empty()) return absl::NotFoundError("no such folder");
    return tree.Info(node);
  });
}

absl::StatusOr<FolderInfo> Account::FindById(const FolderId& folder) const {
  return Recall([&](const AccountTree& tree) -> absl::StatusOr<FolderInfo> {
    const std::string node = tree.NodeOfMailbox(folder);
    if (node.empty()) return absl::NotFoundError("no such folder");
    return tree.Info(node);
  });
}

bool Account::Has(const FolderId& folder) const {
  return Recall([&](const AccountTree& tree) { return !tree.NodeOfMailbox(folder).empty(); });
}

std::vector<FolderId> Account::FolderIds() const {
  return Recall([](const AccountTree& tree) {
    std::vector<FolderId> ids;
    for (const auto& [mailbox, node] : tree.mailboxes()) ids.push_back(mailbox);
    return ids;
  });
}

FolderId Account::inbox_id() const {
  return Recall([](const AccountTree& tree) {
    const FolderNode* inbox = tree.Find(tree.Child("", kInbox));
    return inbox == nullptr ? FolderId() : inbox->mailbox_id;
  });
}

// ---- changing

Task<absl::StatusOr<FolderInfo>> Account::Create(std::string name, std::string special_use) {
  PH_CO_ASSIGN_OR_RETURN(name, CanonicalName(name));
  if (!IsSpecialUse(special_use)) co_return absl::InvalidArgumentError("not a special use of RFC 6154");
  FolderInfo made;
  PH_CO_RETURN_IF_ERROR(
      co_await Change([&](const AccountTree& tree, AccountDraft& draft,
                          const TreeOrder& order) { return DecideCreate(tree, draft, order, name, special_use, made); },
                      /*use_reserve=*/false));
  co_return made;
}

// Deleting a folder makes room, so it goes on while the disk is full.
Task<absl::StatusOr<FolderId>> Account::Delete(std::string name) {
  PH_CO_ASSIGN_OR_RETURN(name, CanonicalName(name));
  // RFC 9051 §6.3.5.
  if (name == kInbox) co_return absl::FailedPreconditionError("INBOX cannot be deleted");
  FolderId mailbox_id;
  PH_CO_RETURN_IF_ERROR(
      co_await Change([&](const AccountTree& tree, AccountDraft& draft,
                          const TreeOrder& order) { return DecideDelete(tree, draft, order, name, mailbox_id); },
                      /*use_reserve=*/true));
  co_return mailbox_id;
}

Task<absl::StatusOr<FolderInfo>> Account::Rename(std::string from, std::string to) {
  PH_CO_ASSIGN_OR_RETURN(from, CanonicalName(from));
  PH_CO_ASSIGN_OR_RETURN(to, CanonicalName(to));
  if (from == kInbox) co_return absl::FailedPreconditionError("INBOX keeps its name");
  if (absl::string_view(to).substr(0, from.size() + 1) == from + "/") {
    co_return absl::InvalidArgumentError("a folder cannot become its own child");
  }
  FolderInfo renamed;
  PH_CO_RETURN_IF_ERROR(
      co_await Change([&](const AccountTree& tree, AccountDraft& draft,
                          const TreeOrder& order) { return DecideRename(tree, draft, order, from, to, renamed); },
                      /*use_reserve=*/true));
  co_return renamed;
}

Task<absl::Status> Account::Subscribe(std::string name, bool subscribed) {
  PH_CO_ASSIGN_OR_RETURN(name, CanonicalName(name));
  co_return co_await Change(
      [&](const AccountTree& tree, AccountDraft& draft, const TreeOrder& order) {
        return DecideSubscribe(tree, draft, order, name, subscribed);
      },
      /*use_reserve=*/true);
}

// ---- destroying

std::vector<FolderId> Account::Doomed() const {
  return Recall(
      [](const AccountTree& tree) { return std::vector<FolderId>(tree.doomed().begin(), tree.doomed().end()); });
}

Task<absl::StatusOr<bool>> Account::DoomFolders() {
  PH_CO_RETURN_IF_ERROR(co_await ChangeAnyState([](const AccountTree& tree, AccountDraft& draft,
                                                   const TreeOrder& order) { return DecideDoom(tree, draft, order); },
                                                /*use_reserve=*/true));
  co_return Recall([](const AccountTree& tree) { return !tree.nodes().empty() || !tree.subscriptions().empty(); });
}

Task<absl::Status> Account::Destroyed(FolderId folder, Usage::Amount held) {
  co_return co_await ChangeAnyState(
      [&](const AccountTree& tree, AccountDraft& draft, const TreeOrder&) {
        return DecideDestroyed(tree, draft, folder, static_cast<uint64_t>(held.messages),
                               static_cast<uint64_t>(held.bytes));
      },
      /*use_reserve=*/true);
}

Task<absl::Status> Account::FinishErasure() {
  co_return co_await ChangeAnyState([](const AccountTree& tree, AccountDraft& draft,
                                       const TreeOrder& order) { return DecideErased(tree, draft, order); },
                                    /*use_reserve=*/true);
}

}  // namespace posthouse::mailbox
