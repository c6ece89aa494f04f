// Accounts and their passwords.
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/status/status.h"
#include "services/directory/admin.h"
#include "services/directory/key_schema.h"
#include "services/directory/lookup.h"

namespace posthouse::directory {
namespace {

constexpr size_t kMaxHome = 64;

absl::Status NoSuchAccount(absl::string_view name) {
  return absl::NotFoundError(absl::StrCat("there is no account ", name));
}

v1::CredentialRecord Credential(std::string hash) {
  v1::CredentialRecord credential;
  credential.set_password_hash(std::move(hash));
  credential.mutable_changed()->set_seconds(absl::ToUnixSeconds(absl::Now()));
  return credential;
}

}  // namespace

Task<absl::StatusOr<std::string>> Admin::HashOf(bool has_password, std::string password, bool has_hash,
                                                std::string hash) {
  if (has_hash) {
    PH_CO_RETURN_IF_ERROR(CheckHash(hash));
    co_return hash;
  }
  if (!has_password) co_return std::string();
  PH_CO_RETURN_IF_ERROR(CheckPassword(password));
  PH_CO_ASSIGN_OR_RETURN(absl::StatusOr<std::string> made,
                         co_await gate_.Run([&] { return MakeHash(password, cost_); }));
  co_return made;
}

Task<absl::StatusOr<v1::Account>> Admin::ReadAccount(Address address, std::string tenant) {
  store::ReadRequest read;
  read.partition = TenantPartition(tenant);
  read.keys.push_back(AccountKey(address));
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult result, co_await records_.store().Read(std::move(read)));
  if (!result.values[0]) co_return NoSuchAccount(address.ToString());
  v1::Account account;
  PH_CO_RETURN_IF_ERROR(Decode(*result.values[0], &account));
  co_return account;
}

Task<absl::StatusOr<v1::CreateAccountResponse>> Admin::CreateAccount(v1::CreateAccountRequest request) {
  v1::Account account = std::move(*request.mutable_account());
  PH_CO_RETURN_IF_ERROR(CheckDisplayName(account.display_name()));
  PH_CO_RETURN_IF_ERROR(CheckStatus(account.status()));
  if (account.home().size() > kMaxHome) co_return absl::InvalidArgumentError("home: at most 64 octets");
  // Before the writer's lock: hashing is slow and needs nothing that it guards.
  PH_CO_ASSIGN_OR_RETURN(std::string hash, co_await HashOf(request.has_password(), request.password(),
                                                           request.has_password_hash(), request.password_hash()));
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  const Index& index = transaction.index();
  PH_CO_ASSIGN_OR_RETURN(const Address address, CheckOwnAddress(index, account.address(), account.tenant()));
  if (index.HasAccount(address)) {
    co_return absl::AlreadyExistsError(absl::StrCat("account ", address.ToString(), " exists"));
  }
  if (index.FindAlias(address)) {
    co_return absl::AlreadyExistsError(absl::StrCat(address.ToString(), " is an alias; delete it first"));
  }
  account.set_account_id(NewAccountId());
  account.set_address(address.ToString());
  account.set_tenant(index.FindDomain(address.domain)->tenant());
  if (account.status() == v1::STATUS_UNSPECIFIED) account.set_status(v1::STATUS_ACTIVE);
  account.set_has_password(!hash.empty());
  account.set_revision(transaction.revision());
  account.mutable_created()->set_seconds(absl::ToUnixSeconds(absl::Now()));
  transaction.Put(AccountKey(address), account);
  if (!hash.empty()) transaction.Put(CredentialKey(account.account_id()), Credential(std::move(hash)));
  transaction.Note(v1::Change::KIND_ACCOUNT, account.address(), account.account_id());
  transaction.Apply([account](Index& i) { i.PutAccount(account); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, TenantPartition(account.tenant())));
  v1::CreateAccountResponse response;
  *response.mutable_account() = std::move(account);
  co_return response;
}

Task<absl::StatusOr<v1::UpdateAccountResponse>> Admin::UpdateAccount(v1::UpdateAccountRequest request) {
  v1::Account account = std::move(*request.mutable_account());
  PH_CO_RETURN_IF_ERROR(CheckDisplayName(account.display_name()));
  PH_CO_RETURN_IF_ERROR(CheckStatus(account.status()));
  if (account.home().size() > kMaxHome) co_return absl::InvalidArgumentError("home: at most 64 octets");
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  const std::optional<AccountInfo> info = transaction.index().FindAccountById(account.account_id());
  if (!info) co_return NoSuchAccount(absl::StrCat("with id \"", account.account_id(), "\""));
  PH_CO_ASSIGN_OR_RETURN(const v1::Account stored, co_await ReadAccount(info->address, info->tenant));
  PH_CO_RETURN_IF_ERROR(CheckRevision(account.revision(), stored.revision()));
  if (!account.address().empty() && account.address() != stored.address()) {
    co_return absl::InvalidArgumentError("address: it cannot change here");
  }
  account.set_address(stored.address());
  account.set_tenant(stored.tenant());
  account.set_has_password(stored.has_password());
  if (account.status() == v1::STATUS_UNSPECIFIED) account.set_status(stored.status());
  *account.mutable_created() = stored.created();
  account.set_revision(transaction.revision());
  transaction.Put(AccountKey(info->address), account);
  transaction.Note(v1::Change::KIND_ACCOUNT, account.address(), account.account_id());
  transaction.Apply([account](Index& i) { i.PutAccount(account); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, TenantPartition(account.tenant())));
  cache_.Forget(account.account_id());
  v1::UpdateAccountResponse response;
  *response.mutable_account() = std::move(account);
  co_return response;
}

Task<absl::StatusOr<v1::GetAccountResponse>> Admin::GetAccount(v1::GetAccountRequest request) {
  const std::optional<AccountInfo> info = records_.Read([&](const Index& index) {
    return request.has_account_id() ? index.FindAccountById(request.account_id()) : FindLogin(index, request.address());
  });
  if (!info) co_return NoSuchAccount(request.has_account_id() ? request.account_id() : request.address());
  v1::GetAccountResponse response;
  PH_CO_ASSIGN_OR_RETURN(*response.mutable_account(), co_await ReadAccount(info->address, info->tenant));
  info->limits.To(response.mutable_effective_limits());
  co_return response;
}

Task<absl::StatusOr<v1::ListAccountsResponse>> Admin::ListAccounts(v1::ListAccountsRequest request) {
  std::string prefix = kAccountPrefix;
  std::string tenant = request.tenant();
  if (!request.domain().empty()) {
    PH_CO_ASSIGN_OR_RETURN(const std::string name, NormalizeDomain(request.domain()));
    const std::string owner = records_.Read([&name](const Index& index) {
      const v1::Domain* domain = index.FindDomain(name);
      return domain == nullptr ? std::string() : domain->tenant();
    });
    if (owner.empty() || (!tenant.empty() && tenant != owner)) {
      co_return absl::NotFoundError(absl::StrCat("there is no domain ", name));
    }
    tenant = owner;
    prefix = AccountsOfDomainPrefix(name);
  }
  if (tenant.empty()) tenant = "default";
  PH_CO_ASSIGN_OR_RETURN(Page page, co_await ReadPage(TenantPartition(tenant), std::move(prefix), request.page()));
  v1::ListAccountsResponse response;
  for (const store::Row& row : page.rows) PH_CO_RETURN_IF_ERROR(Decode(row.value, response.add_accounts()));
  response.mutable_page()->set_next_page_token(page.next_token);
  co_return response;
}

Task<absl::StatusOr<v1::DeleteAccountResponse>> Admin::DeleteAccount(v1::DeleteAccountRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(request.address()));
  const Address address = parsed.Folded();
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  const std::optional<AccountInfo> info = transaction.index().FindAccount(address);
  if (!info) co_return NoSuchAccount(address.ToString());
  transaction.Erase(AccountKey(address));
  transaction.Erase(CredentialKey(info->account_id));
  transaction.Note(v1::Change::KIND_ACCOUNT, address.ToString(), info->account_id);
  transaction.Apply([address](Index& i) { i.EraseAccount(address); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, TenantPartition(info->tenant)));
  cache_.Forget(info->account_id);
  co_return v1::DeleteAccountResponse();
}

Task<absl::StatusOr<v1::SetPasswordResponse>> Admin::SetPassword(v1::SetPasswordRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(request.address()));
  const Address address = parsed.Folded();
  PH_CO_ASSIGN_OR_RETURN(std::string hash, co_await HashOf(request.has_password(), request.password(),
                                                           request.has_password_hash(), request.password_hash()));
  if (hash.empty()) co_return absl::InvalidArgumentError("secret: give password or password_hash");
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  const std::optional<AccountInfo> info = transaction.index().FindAccount(address);
  if (!info) co_return NoSuchAccount(address.ToString());
  PH_CO_ASSIGN_OR_RETURN(v1::Account account, co_await ReadAccount(address, info->tenant));
  if (!account.has_password()) {
    account.set_has_password(true);
    account.set_revision(transaction.revision());
    transaction.Put(AccountKey(address), account);
  }
  transaction.Put(CredentialKey(info->account_id), Credential(std::move(hash)));
  transaction.Note(v1::Change::KIND_CREDENTIAL, address.ToString(), info->account_id);
  const absl::Status status = co_await Commit(transaction, TenantPartition(info->tenant));
  // Also when it is not known whether it happened: the old password may be gone.
  cache_.Forget(info->account_id);
  PH_CO_RETURN_IF_ERROR(status);
  co_return v1::SetPasswordResponse();
}

}  // namespace posthouse::directory
