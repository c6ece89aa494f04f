// Admin: deletion of accounts and domains, and what follows a deletion.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/directory/account_edit.h"
#include "services/directory/admin.h"
#include "services/directory/key_schema.h"
#include "services/directory/record_checks.h"

namespace posthouse::directory {
namespace {

constexpr size_t kDefaultPage = 100;
constexpr size_t kMaxPage = 1000;
// Accounts, and aliases, of one commit: four rows each stay far below the store's limit of mutations.
constexpr size_t kBatch = 100;

absl::Status NoSuchDeletedAccount(const AccountId& id) {
  return NoSuchAccount(absl::StrCat("with id \"", id.value(), "\" among the deleted ones"));
}

}  // namespace

Task<absl::StatusOr<bool>> Admin::ReadIfWhole(store::Partition partition, std::string key,
                                              google::protobuf::MessageLite* record) {
  store::ReadRequest read;
  read.partition = std::move(partition);
  read.keys.push_back(key);
  const absl::StatusOr<store::ReadResult> result = co_await repository_.store().Read(std::move(read));
  absl::Status status = result.status();
  if (result.ok()) {
    if (!result->values[0]) co_return false;
    status = Decode(*result->values[0], record);
  }
  if (status.ok()) co_return true;
  if (!absl::IsDataLoss(status)) co_return status;
  LOG_EVENT(kError, "directory_rows_damaged").Str("first", key).Str("last", key).Err(status);
  co_return false;
}

Task<absl::StatusOr<v1::DeletedAccountRecord>> Admin::ReadForDeletion(AccountInfo account,
                                                                      std::optional<Address> postmaster) {
  v1::DeletedAccountRecord record;
  PH_CO_ASSIGN_OR_RETURN(*record.mutable_deleted()->mutable_account(),
                         co_await ReadAccount(account.address, account.tenant));
  // What is damaged of the rest is not kept for undelete, and keeps no account from its deletion.
  const store::Partition partition = TenantPartition(account.tenant);
  v1::CredentialRecord credential;
  PH_CO_ASSIGN_OR_RETURN(bool whole, co_await ReadIfWhole(partition, CredentialKey(account.account_id), &credential));
  if (whole) *record.mutable_credential() = std::move(credential);
  if (!postmaster) co_return record;
  v1::Alias alias;
  PH_CO_ASSIGN_OR_RETURN(whole, co_await ReadIfWhole(partition, AliasKey(*postmaster), &alias));
  if (whole) *record.mutable_postmaster() = std::move(alias);
  co_return record;
}

Task<absl::StatusOr<v1::DeletedAccountRecord>> Admin::ReadDeleted(AccountId account, TenantId tenant) {
  store::ReadRequest read;
  read.partition = TenantPartition(tenant);
  read.keys = {DeletedKey(account)};
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult result, co_await repository_.store().Read(std::move(read)));
  if (!result.values[0]) co_return NoSuchDeletedAccount(account);
  v1::DeletedAccountRecord record;
  const absl::Status status = Decode(*result.values[0], &record);
  if (absl::IsDataLoss(status)) co_return DamagedSinceStart(absl::StrCat("the deleted account ", account.value()));
  PH_CO_RETURN_IF_ERROR(status);
  co_return record;
}

Task<absl::StatusOr<v1::DeleteAccountResponse>> Admin::DeleteAccount(v1::DeleteAccountRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(request.address()));
  const Address address = parsed.Folded();
  std::optional<AccountInfo> info;
  v1::DeleteAccountResponse response;
  {
    PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
    info = turn.index().FindAccount(address);
    if (!info && !request.erase_now()) co_return MissingAccount(turn.index(), address);
    if (turn.index().AccountMayBeLost(address)) co_return MissingAccount(turn.index(), address);
    if (info) {
      PH_CO_ASSIGN_OR_RETURN(v1::DeletedAccountRecord record,
                             co_await ReadForDeletion(*info, PostmasterOf(turn.index(), *info)));
      const absl::Duration grace = request.erase_now() ? absl::ZeroDuration() : options_.deleted_account_grace;
      RecordEdit edit = DecideDeleteAccount(turn.stamp(), grace, &record);
      ForgetErased(turn.index(), info->tenant, turn.stamp().now, &edit);
      const absl::Status status = co_await Commit(turn, std::move(edit));
      // Also when it is not known whether it happened.
      cache_.Forget(info->account_id);
      PH_CO_RETURN_IF_ERROR(status);
      *response.mutable_deleted() = std::move(*record.mutable_deleted());
    }
  }
  if (info) co_return response;
  co_return co_await EndGrace(address.ToString());
}

Task<absl::StatusOr<v1::DeleteAccountResponse>> Admin::EndGrace(std::string address) {
  bool found = false;
  // One at a time: the address may have been of several tenants.
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
    const auto& deleted = turn.index().deleted();
    const auto next = std::find_if(deleted.begin(), deleted.end(), [&](const auto& entry) {
      return entry.second.address == address && entry.second.state == v1::DeletedAccount::STATE_KEPT &&
             entry.second.erase_after > turn.stamp().now;
    });
    if (next == deleted.end()) break;
    PH_CO_ASSIGN_OR_RETURN(v1::DeletedAccountRecord record, co_await ReadDeleted(next->first, next->second.tenant));
    PH_CO_RETURN_IF_ERROR(co_await Commit(turn, DecideEraseNow(turn.stamp(), std::move(record))));
    found = true;
  }
  if (!found) co_return NoSuchAccount(absl::StrCat(address, ", and no deleted one whose mail is kept"));
  co_return v1::DeleteAccountResponse();
}

Task<absl::StatusOr<v1::UndeleteAccountResponse>> Admin::UndeleteAccount(v1::UndeleteAccountRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  AccountId id(request.account_id());
  if (!request.has_account_id()) {
    PH_CO_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(request.address()));
    PH_CO_ASSIGN_OR_RETURN(id, FindDeleted(turn.index(), parsed.Folded().ToString()));
  }
  const auto found = turn.index().deleted().find(id);
  if (found == turn.index().deleted().end()) co_return NoSuchDeletedAccount(id);
  PH_CO_ASSIGN_OR_RETURN(v1::DeletedAccountRecord record, co_await ReadDeleted(id, found->second.tenant));
  v1::UndeleteAccountResponse response;
  PH_CO_RETURN_IF_ERROR(co_await Commit(
      turn, DecideUndeleteAccount(turn.index(), turn.stamp(), std::move(record), response.mutable_account())));
  co_return response;
}

Task<absl::StatusOr<v1::ListDeletedAccountsResponse>> Admin::ListDeletedAccounts(
    v1::ListDeletedAccountsRequest request) {
  std::string suffix;
  if (!request.domain().empty()) {
    PH_CO_ASSIGN_OR_RETURN(const std::string domain, NormalizeDomain(request.domain()));
    suffix = absl::StrCat("@", domain);
  }
  const absl::Time now = options_.clock();
  const auto wanted = [&](const DeletedInfo& info) {
    if (request.due_only() && (info.state == v1::DeletedAccount::STATE_ERASED || info.erase_after > now)) return false;
    return (request.tenant().empty() || info.tenant.value() == request.tenant()) &&
           (!request.has_home() || info.home.value() == request.home()) && absl::EndsWith(info.address, suffix);
  };
  const size_t limit =
      request.page().page_size() == 0 ? kDefaultPage : std::min<size_t>(request.page().page_size(), kMaxPage);
  v1::ListDeletedAccountsResponse response;
  std::vector<std::pair<AccountId, TenantId>> chosen;
  repository_.Read([&](const Index& index) {
    for (auto it = index.deleted().upper_bound(AccountId(request.page().page_token())); it != index.deleted().end();
         ++it) {
      if (!wanted(it->second)) continue;
      if (chosen.size() == limit) {
        response.mutable_page()->set_next_page_token(chosen.back().first.value());
        break;
      }
      chosen.emplace_back(it->first, it->second.tenant);
    }
    return 0;
  });
  for (const auto& [id, tenant] : chosen) {
    absl::StatusOr<v1::DeletedAccountRecord> record = co_await ReadDeleted(id, tenant);
    if (absl::IsNotFound(record.status())) continue;    // undeleted just now
    if (absl::IsFailedPrecondition(record.status())) {  // one damaged record must not hide the others
      LOG_EVENT(kError, "directory_rows_damaged").Str("first", id.value()).Str("last", id.value()).Err(record.status());
      continue;
    }
    if (!record.ok()) co_return record.status();
    *response.add_accounts() = std::move(*record->mutable_deleted());
  }
  co_return response;
}

Task<absl::StatusOr<v1::ReportErasureResponse>> Admin::ReportErasure(v1::ReportErasureRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  const AccountId account(request.account_id());
  const auto found = turn.index().deleted().find(account);
  if (found == turn.index().deleted().end()) {
    if (turn.index().FindAccountById(account)) {
      co_return absl::FailedPreconditionError("the account was undeleted");
    }
    co_return NoSuchDeletedAccount(account);
  }
  const TenantId tenant = found->second.tenant;
  PH_CO_ASSIGN_OR_RETURN(v1::DeletedAccountRecord record, co_await ReadDeleted(account, tenant));
  PH_CO_ASSIGN_OR_RETURN(RecordEdit edit, request.has_done()
                                              ? DecideEndErasure(turn.stamp(), request.done(), std::move(record))
                                              : DecideBeginErasure(turn.stamp(), std::move(record)));
  if (edit.mutations.empty()) co_return v1::ReportErasureResponse();
  ForgetErased(turn.index(), tenant, turn.stamp().now, &edit);
  PH_CO_RETURN_IF_ERROR(co_await Commit(turn, std::move(edit)));
  co_return v1::ReportErasureResponse();
}

Task<absl::StatusOr<v1::DeleteDomainResponse>> Admin::DeleteDomain(v1::DeleteDomainRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const std::string name, NormalizeDomain(request.domain()));
  // RFC 5321 §4.5.1: postmaster@ serves the domain, so it alone does not keep it.
  const bool addresses_go = request.with_addresses() || repository_.Read([&](const Index& index) {
    return index.accounts_in(name) == 0 && index.aliases_in(name) == 1 &&
           index.FindAlias(Address{"postmaster", name}).has_value();
  });
  v1::DeleteDomainResponse response;
  for (bool more = addresses_go; more;) {
    PH_CO_ASSIGN_OR_RETURN(more, co_await DeleteSomeAddresses(name, request.erase_now(), response));
  }
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  PH_CO_RETURN_IF_ERROR(co_await Commit(turn, DecideDeleteDomain(turn.index(), name)));
  co_return response;
}

Task<absl::StatusOr<bool>> Admin::DeleteSomeAddresses(std::string domain, bool erase_now,
                                                      v1::DeleteDomainResponse& counts) {
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  // Refuse for everything else that keeps the domain before anything is deleted.
  PH_CO_RETURN_IF_ERROR(DecideDeleteDomain(turn.index(), domain, /*addresses_go=*/true).status());
  const TenantId tenant(turn.index().FindDomain(domain)->tenant());
  RecordEdit edit{.partition = TenantPartition(tenant)};
  absl::flat_hash_set<std::string> postmasters;
  std::vector<AccountId> ids;
  store::ReadRequest read;
  read.partition = TenantPartition(tenant);
  read.prefix = AccountsOfDomainPrefix(domain);
  read.limit = kBatch;
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult accounts, co_await repository_.store().Read(read));
  for (const store::Row& row : accounts.page) {
    v1::Account account;
    const absl::Status status = Decode(row.value, &account);
    if (absl::IsDataLoss(status)) co_return DamagedSinceStart(row.key);
    PH_CO_RETURN_IF_ERROR(status);
    const std::optional<AccountInfo> info = turn.index().FindAccountById(AccountId(account.account_id()));
    if (!info) co_return absl::InternalError("an account row that the index does not have");
    const std::optional<Address> postmaster = PostmasterOf(turn.index(), *info);
    PH_CO_ASSIGN_OR_RETURN(v1::DeletedAccountRecord record, co_await ReadForDeletion(*info, postmaster));
    if (postmaster) {
      postmasters.insert(postmaster->ToString());
      counts.set_aliases(counts.aliases() + 1);
    }
    edit.Add(
        DecideDeleteAccount(turn.stamp(), erase_now ? absl::ZeroDuration() : options_.deleted_account_grace, &record));
    ids.push_back(info->account_id);
  }
  read.prefix = AliasesOfDomainPrefix(domain);
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult aliases, co_await repository_.store().Read(read));
  for (const store::Row& row : aliases.page) {
    // By its key, since its value may be damaged.
    const Address address{row.key.substr(read.prefix.size()), domain};
    if (postmasters.contains(address.ToString())) continue;
    PH_CO_ASSIGN_OR_RETURN(RecordEdit one, DecideDeleteAlias(turn.index(), address));
    edit.Add(std::move(one));
    counts.set_aliases(counts.aliases() + 1);
  }
  if (edit.mutations.empty()) co_return false;
  const absl::Status status = co_await Commit(turn, std::move(edit));
  for (const AccountId& id : ids) cache_.Forget(id);
  PH_CO_RETURN_IF_ERROR(status);
  counts.set_accounts(counts.accounts() + ids.size());
  co_return accounts.more || aliases.more;
}

}  // namespace posthouse::directory
