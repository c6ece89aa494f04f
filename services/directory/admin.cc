#include "services/directory/admin.h"

#include <openssl/rand.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/read_past_damage.h"
#include "services/directory/key_schema.h"
#include "services/directory/lookup.h"
#include "services/directory/metrics.h"
#include "services/directory/record_checks.h"

namespace posthouse::directory {
namespace {

constexpr size_t kDefaultPage = 100;
constexpr size_t kMaxPage = 1000;

// A list leaves out a damaged row: one record must not hide the others. The log names it.
bool Readable(const store::Row& row, google::protobuf::MessageLite* record) {
  const absl::Status status = Decode(row.value, record);
  if (status.ok()) return true;
  LOG_EVENT(kError, "directory_rows_damaged").Str("first", row.key).Str("last", row.key).Err(status);
  return false;
}

// 32 hex digits from the system's randomness.
AccountId NewAccountId() {
  unsigned char bytes[16];
  PH_CHECK(RAND_bytes(bytes, sizeof(bytes)) == 1);
  return AccountId(absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes), sizeof(bytes))));
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
                         co_await limiter_.Run("", [&] { return MakeHash(password, options_.cost); }));
  co_return made;
}

Task<absl::StatusOr<Admin::Page>> Admin::ReadPage(store::Partition partition, std::string prefix,
                                                  common::v1::PageRequest request) {
  store::ReadRequest read;
  read.partition = std::move(partition);
  read.prefix = prefix;
  read.limit = request.page_size() == 0 ? kDefaultPage : std::min<size_t>(request.page_size(), kMaxPage);
  if (!request.page_token().empty()) {
    std::string key;
    if (!absl::WebSafeBase64Unescape(request.page_token(), &key) || !absl::StartsWith(key, prefix)) {
      co_return absl::InvalidArgumentError("page_token: not a token of this list");
    }
    read.after = std::move(key);
  }
  PH_CO_ASSIGN_OR_RETURN(
      store::ReadResult result,
      co_await store::ReadPastDamage(repository_.store(), std::move(read), [](const store::LostKeys& keys) {
        LOG_EVENT(kError, "directory_rows_damaged")
            .Str("first", keys.after)
            .Str("last", keys.until.value_or(""))
            .Err(keys.why);
      }));
  Page page;
  if (result.more && !result.page.empty()) page.next_token = absl::WebSafeBase64Escape(result.page.back().key);
  page.rows = std::move(result.page);
  co_return page;
}

// The tenant and the key prefix of a list: of the request's domain, else of its tenant.
absl::StatusOr<Admin::Scope> Admin::ScopeOf(const TenantId& tenant, const std::string& domain, const std::string& whole,
                                            std::string (*domain_prefix)(absl::string_view)) const {
  if (domain.empty()) return Scope{tenant.empty() ? TenantId(kDefaultTenant) : tenant, whole};
  PH_ASSIGN_OR_RETURN(const std::string name, NormalizeDomain(domain));
  const TenantId owner = repository_.Read([&name](const Index& index) {
    const v1::Domain* found = index.FindDomain(name);
    return found == nullptr ? TenantId() : TenantId(found->tenant());
  });
  if (owner.empty() || (!tenant.empty() && tenant != owner)) {
    return repository_.Read([&name](const Index& index) { return MissingDomain(index, name); });
  }
  return Scope{owner, domain_prefix(name)};
}

Task<absl::StatusOr<v1::Account>> Admin::ReadAccount(Address address, TenantId tenant) {
  store::ReadRequest read;
  read.partition = TenantPartition(tenant);
  read.keys.push_back(AccountKey(address));
  absl::StatusOr<store::ReadResult> read_result = co_await repository_.store().Read(std::move(read));
  if (absl::IsDataLoss(read_result.status())) co_return DamagedSinceStart(address.ToString());
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult result, std::move(read_result));
  if (!result.values[0]) co_return NoSuchAccount(address.ToString());
  v1::Account account;
  const absl::Status status = Decode(*result.values[0], &account);
  if (absl::IsDataLoss(status)) co_return DamagedSinceStart(address.ToString());
  PH_CO_RETURN_IF_ERROR(status);
  co_return account;
}

Task<absl::Status> Admin::Commit(Repository::Turn& turn, absl::StatusOr<RecordEdit> edit) {
  if (!edit.ok()) co_return edit.status();
  const absl::Status status = co_await turn.Commit(*std::move(edit));
  if (status.ok()) metrics_.changes.Add();
  co_return status;
}

Task<absl::StatusOr<v1::CreateTenantResponse>> Admin::CreateTenant(v1::CreateTenantRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  v1::CreateTenantResponse response;
  v1::Tenant* const tenant = response.mutable_tenant();
  *tenant = std::move(*request.mutable_tenant());
  PH_CO_RETURN_IF_ERROR(co_await Commit(turn, DecideCreateTenant(turn.index(), turn.stamp(), tenant)));
  co_return response;
}

Task<absl::StatusOr<v1::UpdateTenantResponse>> Admin::UpdateTenant(v1::UpdateTenantRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  v1::UpdateTenantResponse response;
  v1::Tenant* const tenant = response.mutable_tenant();
  *tenant = std::move(*request.mutable_tenant());
  PH_CO_RETURN_IF_ERROR(co_await Commit(turn, DecideUpdateTenant(turn.index(), turn.stamp(), tenant)));
  co_return response;
}

Task<absl::StatusOr<v1::ListTenantsResponse>> Admin::ListTenants(v1::ListTenantsRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Page page, co_await ReadPage(SystemPartition(), kTenantPrefix, request.page()));
  v1::ListTenantsResponse response;
  for (const store::Row& row : page.rows) {
    if (!Readable(row, response.add_tenants())) response.mutable_tenants()->RemoveLast();
  }
  response.mutable_page()->set_next_page_token(page.next_token);
  co_return response;
}

Task<absl::StatusOr<v1::CreateDomainResponse>> Admin::CreateDomain(v1::CreateDomainRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  v1::CreateDomainResponse response;
  v1::Domain* const domain = response.mutable_domain();
  *domain = std::move(*request.mutable_domain());
  PH_CO_RETURN_IF_ERROR(co_await Commit(turn, DecideCreateDomain(turn.index(), turn.stamp(), domain)));
  co_return response;
}

Task<absl::StatusOr<v1::UpdateDomainResponse>> Admin::UpdateDomain(v1::UpdateDomainRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  v1::UpdateDomainResponse response;
  v1::Domain* const domain = response.mutable_domain();
  *domain = std::move(*request.mutable_domain());
  PH_CO_RETURN_IF_ERROR(co_await Commit(turn, DecideUpdateDomain(turn.index(), turn.stamp(), domain)));
  co_return response;
}

Task<absl::StatusOr<v1::GetDomainResponse>> Admin::GetDomain(v1::GetDomainRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const std::string name, NormalizeDomain(request.domain()));
  v1::GetDomainResponse response;
  const bool found = repository_.Read([&](const Index& index) {
    const v1::Domain* domain = index.FindDomain(name);
    if (domain == nullptr) return false;
    *response.mutable_domain() = *domain;
    response.set_accounts(index.accounts_in(name));
    response.set_aliases(index.aliases_in(name));
    return true;
  });
  if (!found) co_return repository_.Read([&name](const Index& index) { return MissingDomain(index, name); });
  co_return response;
}

Task<absl::StatusOr<v1::ListDomainsResponse>> Admin::ListDomains(v1::ListDomainsRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Page page, co_await ReadPage(SystemPartition(), kDomainPrefix, request.page()));
  v1::ListDomainsResponse response;
  for (const store::Row& row : page.rows) {
    v1::Domain domain;
    if (!Readable(row, &domain)) continue;
    // A page of one tenant's domains may have fewer than page_size, or none, and a token.
    if (request.tenant().empty() || request.tenant() == domain.tenant()) *response.add_domains() = std::move(domain);
  }
  response.mutable_page()->set_next_page_token(page.next_token);
  co_return response;
}

Task<absl::StatusOr<v1::CreateAccountResponse>> Admin::CreateAccount(v1::CreateAccountRequest request) {
  PH_CO_RETURN_IF_ERROR(CheckAccount(request.account()));
  // Before the writer's turn: hashing is slow and needs nothing that the turn guards.
  PH_CO_ASSIGN_OR_RETURN(const std::string hash, co_await HashOf(request.has_password(), request.password(),
                                                                 request.has_password_hash(), request.password_hash()));
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  v1::CreateAccountResponse response;
  v1::Account* const account = response.mutable_account();
  *account = std::move(*request.mutable_account());
  PH_CO_ASSIGN_OR_RETURN(const Address address,
                         CheckNewAddress(turn.index(), account->address(), TenantId(account->tenant())));
  PH_CO_ASSIGN_OR_RETURN(const std::optional<LostAccount> lost,
                         co_await WhichLost(turn.index(), address, account->account_id()));
  absl::StatusOr<RecordEdit> edit =
      DecideCreateAccount(turn.index(), turn.stamp(), *homes(), lost ? lost->account_id : NewAccountId(), hash, account,
                          lost ? &*lost : nullptr);
  PH_CO_RETURN_IF_ERROR(co_await Commit(turn, std::move(edit)));
  if (lost) cache_.Forget(lost->account_id);
  // The id names the mail should the record ever be lost.
  LOG_EVENT(kInfo, "account_added").Str("address", account->address()).Str("account_id", account->account_id());
  co_return response;
}

Task<absl::StatusOr<v1::UpdateAccountResponse>> Admin::UpdateAccount(v1::UpdateAccountRequest request) {
  PH_CO_RETURN_IF_ERROR(CheckAccount(request.account()));
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  v1::UpdateAccountResponse response;
  v1::Account* const account = response.mutable_account();
  *account = std::move(*request.mutable_account());
  const std::optional<AccountInfo> info = turn.index().FindAccountById(AccountId(account->account_id()));
  if (!info) {
    const absl::StatusOr<Address> address = ParseAddress(account->address());
    if (address.ok() && turn.index().AccountMayBeLost(address->Folded())) {
      co_return MissingAccount(turn.index(), address->Folded());
    }
    if (!turn.index().accounts_lost()) co_return NoSuchAccount(absl::StrCat("with id \"", account->account_id(), "\""));
    co_return absl::FailedPreconditionError(
        absl::StrCat("there is no account with id \"", account->account_id(), "\", or its record is damaged; ",
                     "'posthousectl account add ADDRESS' writes a damaged one anew and keeps its mail"));
  }
  PH_CO_ASSIGN_OR_RETURN(const v1::Account stored, co_await ReadAccount(info->address, info->tenant));
  const std::shared_ptr<const Homes> known = homes();
  PH_CO_RETURN_IF_ERROR(
      co_await Commit(turn, DecideUpdateAccount(stored, turn.stamp(), *known, request.mail_stays_behind(), account)));
  cache_.Forget(AccountId(account->account_id()));
  co_return response;
}

Task<absl::StatusOr<v1::GetAccountResponse>> Admin::GetAccount(v1::GetAccountRequest request) {
  const std::optional<AccountInfo> info = repository_.Read([&](const Index& index) {
    return request.has_account_id() ? index.FindAccountById(AccountId(request.account_id()))
                                    : FindLogin(index, request.address());
  });
  if (!info) {
    const bool may_be_lost = repository_.Read([&](const Index& index) {
      return request.has_account_id() ? index.accounts_lost() : LoginMayBeLost(index, request.address());
    });
    if (may_be_lost && request.has_account_id()) {
      co_return absl::UnavailableError("damaged records: the account may be among them; see the directory's log");
    }
    if (may_be_lost) {
      const absl::StatusOr<Address> address = ParseAddress(request.address());
      const absl::Status missing = !address.ok() ? address.status() : repository_.Read([&](const Index& index) {
        return MissingAccount(index, address->Folded());
      });
      // Another kind of record may be the damaged one: of an alias, or of the address without its detail.
      co_return absl::UnavailableError(
          absl::IsNotFound(missing)
              ? absl::StrCat("damaged records: ", request.address(), " may be among them; see the directory's log")
              : missing.message());
    }
    co_return NoSuchAccount(request.has_account_id() ? request.account_id() : request.address());
  }
  v1::GetAccountResponse response;
  absl::StatusOr<v1::Account> stored = co_await ReadAccount(info->address, info->tenant);
  // Services ask, too: to them it is a temporary failure.
  if (absl::IsFailedPrecondition(stored.status())) co_return absl::UnavailableError(stored.status().message());
  PH_CO_ASSIGN_OR_RETURN(*response.mutable_account(), std::move(stored));
  info->limits.To(response.mutable_effective_limits());
  response.set_effective_status(info->status);
  for (std::string& address : repository_.Read([&](const Index& index) { return MaySendAs(index, *info); })) {
    response.add_may_send_as(std::move(address));
  }
  co_return response;
}

Task<absl::StatusOr<v1::ListAccountsResponse>> Admin::ListAccounts(v1::ListAccountsRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Scope scope,
                         ScopeOf(TenantId(request.tenant()), request.domain(), kAccountPrefix, AccountsOfDomainPrefix));
  PH_CO_ASSIGN_OR_RETURN(Page page,
                         co_await ReadPage(TenantPartition(scope.tenant), std::move(scope.prefix), request.page()));
  v1::ListAccountsResponse response;
  for (const store::Row& row : page.rows) {
    if (!Readable(row, response.add_accounts())) response.mutable_accounts()->RemoveLast();
  }
  response.mutable_page()->set_next_page_token(page.next_token);
  co_return response;
}

Task<absl::StatusOr<v1::SetPasswordResponse>> Admin::SetPassword(v1::SetPasswordRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(request.address()));
  const Address address = parsed.Folded();
  const bool removes = request.has_password_hash() && request.password_hash().empty();
  PH_CO_ASSIGN_OR_RETURN(const std::string hash,
                         co_await HashOf(request.has_password(), request.password(),
                                         request.has_password_hash() && !removes, request.password_hash()));
  if (hash.empty() && !removes) co_return absl::InvalidArgumentError("secret: password or password_hash is required");
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  const std::optional<AccountInfo> info = turn.index().FindAccount(address);
  if (!info) co_return MissingAccount(turn.index(), address);
  PH_CO_ASSIGN_OR_RETURN(v1::Account stored, co_await ReadAccount(address, info->tenant));
  const absl::Status status = co_await Commit(turn, DecideSetPassword(std::move(stored), turn.stamp(), hash));
  // Also when it is not known whether it happened: the old password may be gone.
  cache_.Forget(info->account_id);
  PH_CO_RETURN_IF_ERROR(status);
  co_return v1::SetPasswordResponse();
}

Task<absl::StatusOr<v1::CreateAliasResponse>> Admin::CreateAlias(v1::CreateAliasRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  v1::CreateAliasResponse response;
  v1::Alias* const alias = response.mutable_alias();
  *alias = std::move(*request.mutable_alias());
  PH_CO_RETURN_IF_ERROR(co_await Commit(turn, DecideCreateAlias(turn.index(), turn.stamp(), alias)));
  co_return response;
}

Task<absl::StatusOr<v1::UpdateAliasResponse>> Admin::UpdateAlias(v1::UpdateAliasRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  v1::UpdateAliasResponse response;
  v1::Alias* const alias = response.mutable_alias();
  *alias = std::move(*request.mutable_alias());
  PH_CO_RETURN_IF_ERROR(NormalizeAlias(turn.index(), alias));
  PH_CO_ASSIGN_OR_RETURN(const Address address, ParseAddress(alias->address()));
  store::ReadRequest read;
  read.partition = TenantPartition(TenantId(alias->tenant()));
  read.keys.push_back(AliasKey(address));
  if (!turn.index().FindAlias(address)) co_return MissingAlias(turn.index(), address);
  absl::StatusOr<store::ReadResult> read_result = co_await repository_.store().Read(std::move(read));
  if (absl::IsDataLoss(read_result.status())) co_return DamagedSinceStart(absl::StrCat("alias ", alias->address()));
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult result, std::move(read_result));
  if (!result.values[0]) co_return NoSuchAlias(alias->address());
  v1::Alias stored;
  const absl::Status status = Decode(*result.values[0], &stored);
  if (absl::IsDataLoss(status)) co_return DamagedSinceStart(absl::StrCat("alias ", alias->address()));
  PH_CO_RETURN_IF_ERROR(status);
  PH_CO_RETURN_IF_ERROR(co_await Commit(turn, DecideUpdateAlias(stored, turn.stamp(), alias)));
  co_return response;
}

Task<absl::StatusOr<v1::ListAliasesResponse>> Admin::ListAliases(v1::ListAliasesRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Scope scope,
                         ScopeOf(TenantId(request.tenant()), request.domain(), kAliasPrefix, AliasesOfDomainPrefix));
  PH_CO_ASSIGN_OR_RETURN(Page page,
                         co_await ReadPage(TenantPartition(scope.tenant), std::move(scope.prefix), request.page()));
  v1::ListAliasesResponse response;
  for (const store::Row& row : page.rows) {
    if (!Readable(row, response.add_aliases())) response.mutable_aliases()->RemoveLast();
  }
  response.mutable_page()->set_next_page_token(page.next_token);
  co_return response;
}

Task<absl::StatusOr<v1::DeleteAliasResponse>> Admin::DeleteAlias(v1::DeleteAliasRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(request.address()));
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  PH_CO_RETURN_IF_ERROR(co_await Commit(turn, DecideDeleteAlias(turn.index(), parsed.Folded())));
  co_return v1::DeleteAliasResponse();
}

// ---- the configuration

void Admin::SetHomes(Homes homes) {
  auto fresh = std::make_shared<const Homes>(std::move(homes));
  absl::MutexLock lock(&homes_mutex_);
  homes_ = std::move(fresh);
}

std::shared_ptr<const Homes> Admin::homes() const {
  absl::MutexLock lock(&homes_mutex_);
  return homes_;
}

}  // namespace posthouse::directory
