#include "services/mailbox/folder/account.h"

#include <utility>

#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/status/status.h"
#include "services/mailbox/rows/folder_name.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {

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
  const TreeOrder order = Order();
  store::ChangeOptions options;
  options.use_reserve = use_reserve;
  co_return co_await rows_->Change([&](const AccountTree& tree, const store::FetchedRows&,
                                       AccountDraft& draft) { return decide(tree, draft, order); },
                                   std::move(options));
}

// Before Open(): as for an empty tree.
template <typename F>
auto Account::Recall(F look) const {
  auto found = rows_->Recall(look);
  return found.has_value() ? *std::move(found) : look(AccountTree());
}

// ---- opening

Task<absl::Status> Account::Open() {
  const auto exists = [](const AccountTree& tree) { return tree.exists; };
  if (Recall(exists)) co_return absl::OkStatus();
  PH_CO_ASSIGN_OR_RETURN(const bool made, co_await rows_->Look(exists));
  if (made) co_return absl::OkStatus();
  // First, so that the sweeper knows of every tenant that has rows.
  PH_CO_RETURN_IF_ERROR(co_await RegisterTenant());
  co_return co_await Change(
      [this](const AccountTree& tree, AccountDraft& draft, const TreeOrder& order) {
        return DecideNewAccount(tree, draft, order, deps_.settings.default_folders);
      },
      /*use_reserve=*/false);
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

}  // namespace posthouse::mailbox
