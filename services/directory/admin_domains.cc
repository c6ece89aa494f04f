// Tenants and domains, and what all admin files share.
#include <openssl/rand.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/status/status.h"
#include "services/directory/admin.h"
#include "services/directory/key_schema.h"
#include "services/directory/lookup.h"
#include "services/directory/metrics.h"

namespace posthouse::directory {
namespace {

constexpr size_t kDefaultPage = 100;
constexpr size_t kMaxPage = 1000;
constexpr size_t kMaxDisplayName = 200;
constexpr char kDefaultTenant[] = "default";

absl::Status CheckTenantName(const std::string& name) {
  bool good = !name.empty() && name.size() <= 63;
  for (const char c : name) good &= absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tenant \"", name, "\": 1 to 63 of a-z, 0-9 and -"));
}

// RFC 5233 §4 leaves the separator to us; these cannot be part of nothing else.
absl::Status CheckSeparators(const std::string& separators) {
  for (const char c : separators) {
    if (absl::string_view("+-_.=#").find(c) == absl::string_view::npos) {
      return absl::InvalidArgumentError("subaddress_separators: any of + - _ . = #");
    }
  }
  if (separators.size() > 6) return absl::InvalidArgumentError("subaddress_separators: at most 6");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckStatus(v1::Status status) {
  if (v1::Status_IsValid(status)) return absl::OkStatus();
  return absl::InvalidArgumentError("status: active, suspended, frozen or deleted");
}

absl::Status CheckDisplayName(absl::string_view name) {
  for (const char c : name) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      return absl::InvalidArgumentError("display_name: no control characters");
    }
  }
  if (name.size() <= kMaxDisplayName) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("display_name: at most ", kMaxDisplayName, " octets"));
}

absl::Status CheckRevision(uint64_t given, uint64_t stored) {
  if (given == 0 || given == stored) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat("revision ", given, " was changed by somebody else (now ", stored, "): read it again"));
}

absl::StatusOr<Address> CheckOwnAddress(const Index& index, const std::string& text, const std::string& tenant) {
  absl::StatusOr<Address> parsed = ParseAddress(text);
  if (!parsed.ok()) return Annotate(parsed.status(), absl::StrCat("address \"", text, "\""));
  // A Mailbox by RFC 5321 §4.1.2, but not one that we give to anybody.
  if (parsed->local.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("address \"", text, "\": the local part is empty"));
  }
  const v1::Domain* domain = index.FindDomain(parsed->domain);
  if (domain == nullptr) return absl::NotFoundError(absl::StrCat("there is no domain ", parsed->domain));
  if (!domain->alias_of().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(domain->domain(), " is another name of ", domain->alias_of(), ": create the address there"));
  }
  if (!tenant.empty() && tenant != domain->tenant()) {
    return absl::InvalidArgumentError(
        absl::StrCat("domain ", domain->domain(), " belongs to tenant ", domain->tenant(), ", not ", tenant));
  }
  return parsed->Folded();
}

std::string NewAccountId() {
  unsigned char bytes[16];
  PH_CHECK(RAND_bytes(bytes, sizeof(bytes)) == 1);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes), sizeof(bytes)));
}

Task<absl::Status> Admin::Commit(Transaction& transaction, store::Partition partition) {
  const absl::Status status = co_await transaction.Commit(std::move(partition));
  if (status.ok()) metrics_.changes.Add();
  co_return status;
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
      co_return absl::InvalidArgumentError("page_token: not one that this list gave");
    }
    read.after = std::move(key);
  }
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult result, co_await records_.store().Read(std::move(read)));
  Page page;
  if (result.more && !result.page.empty()) page.next_token = absl::WebSafeBase64Escape(result.page.back().key);
  page.rows = std::move(result.page);
  co_return page;
}

Task<absl::StatusOr<v1::CreateTenantResponse>> Admin::CreateTenant(v1::CreateTenantRequest request) {
  v1::Tenant tenant = std::move(*request.mutable_tenant());
  PH_CO_RETURN_IF_ERROR(CheckTenantName(tenant.tenant()));
  PH_CO_RETURN_IF_ERROR(CheckDisplayName(tenant.display_name()));
  PH_CO_RETURN_IF_ERROR(CheckStatus(tenant.status()));
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  if (transaction.index().FindTenant(tenant.tenant()) != nullptr) {
    co_return absl::AlreadyExistsError(absl::StrCat("tenant ", tenant.tenant(), " exists"));
  }
  if (tenant.status() == v1::STATUS_UNSPECIFIED) tenant.set_status(v1::STATUS_ACTIVE);
  tenant.set_revision(transaction.revision());
  tenant.mutable_created()->set_seconds(absl::ToUnixSeconds(absl::Now()));
  transaction.Put(TenantKey(tenant.tenant()), tenant);
  transaction.Note(v1::Change::KIND_TENANT, tenant.tenant());
  transaction.Apply([tenant](Index& index) { index.PutTenant(tenant); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, SystemPartition()));
  v1::CreateTenantResponse response;
  *response.mutable_tenant() = std::move(tenant);
  co_return response;
}

Task<absl::StatusOr<v1::UpdateTenantResponse>> Admin::UpdateTenant(v1::UpdateTenantRequest request) {
  v1::Tenant tenant = std::move(*request.mutable_tenant());
  PH_CO_RETURN_IF_ERROR(CheckDisplayName(tenant.display_name()));
  PH_CO_RETURN_IF_ERROR(CheckStatus(tenant.status()));
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  const v1::Tenant* stored = transaction.index().FindTenant(tenant.tenant());
  if (stored == nullptr) co_return absl::NotFoundError(absl::StrCat("there is no tenant ", tenant.tenant()));
  PH_CO_RETURN_IF_ERROR(CheckRevision(tenant.revision(), stored->revision()));
  *tenant.mutable_created() = stored->created();
  if (tenant.status() == v1::STATUS_UNSPECIFIED) tenant.set_status(stored->status());
  tenant.set_revision(transaction.revision());
  transaction.Put(TenantKey(tenant.tenant()), tenant);
  transaction.Note(v1::Change::KIND_TENANT, tenant.tenant());
  transaction.Apply([tenant](Index& index) { index.PutTenant(tenant); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, SystemPartition()));
  v1::UpdateTenantResponse response;
  *response.mutable_tenant() = std::move(tenant);
  co_return response;
}

Task<absl::StatusOr<v1::ListTenantsResponse>> Admin::ListTenants(v1::ListTenantsRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Page page, co_await ReadPage(SystemPartition(), kTenantPrefix, request.page()));
  v1::ListTenantsResponse response;
  for (const store::Row& row : page.rows) PH_CO_RETURN_IF_ERROR(Decode(row.value, response.add_tenants()));
  response.mutable_page()->set_next_page_token(page.next_token);
  co_return response;
}

absl::Status Admin::CheckDomain(const Index& index, const v1::Domain& domain) const {
  PH_RETURN_IF_ERROR(CheckStatus(domain.status()));
  PH_RETURN_IF_ERROR(CheckSeparators(domain.subaddress_separators()));
  if (!domain.catch_all().empty()) {
    PH_RETURN_IF_ERROR(Annotate(ParseAddress(domain.catch_all()).status(), "catch_all"));
  }
  if (domain.alias_of().empty()) return absl::OkStatus();
  const v1::Domain* other = index.FindDomain(domain.alias_of());
  if (other == nullptr) return absl::NotFoundError(absl::StrCat("alias_of: there is no domain ", domain.alias_of()));
  if (other->domain() == domain.domain())
    return absl::InvalidArgumentError("alias_of: a domain is no other name of itself");
  if (other->tenant() != domain.tenant()) {
    return absl::InvalidArgumentError(absl::StrCat("alias_of: ", other->domain(), " belongs to another tenant"));
  }
  if (!other->alias_of().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("alias_of: ", other->domain(), " is itself another name of ", other->alias_of()));
  }
  if (!index.OtherNamesOf(domain.domain()).empty()) {
    return absl::FailedPreconditionError(absl::StrCat("alias_of: ", domain.domain(), " has other names of its own"));
  }
  if (index.accounts_in(domain.domain()) + index.aliases_in(domain.domain()) > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("alias_of: ", domain.domain(), " has addresses of its own; move or delete them first"));
  }
  return absl::OkStatus();
}

Task<absl::StatusOr<v1::CreateDomainResponse>> Admin::CreateDomain(v1::CreateDomainRequest request) {
  v1::Domain domain = std::move(*request.mutable_domain());
  absl::StatusOr<std::string> name = NormalizeDomain(domain.domain());
  if (!name.ok()) co_return Annotate(name.status(), absl::StrCat("domain \"", domain.domain(), "\""));
  domain.set_domain(*name);
  if (!domain.alias_of().empty()) {
    absl::StatusOr<std::string> other = NormalizeDomain(domain.alias_of());
    if (!other.ok()) co_return Annotate(other.status(), "alias_of");
    domain.set_alias_of(*other);
  }
  if (domain.tenant().empty()) domain.set_tenant(kDefaultTenant);
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  const Index& index = transaction.index();
  if (const v1::Domain* stored = index.FindDomain(domain.domain())) {
    co_return absl::AlreadyExistsError(
        absl::StrCat("domain ", domain.domain(), " exists (tenant ", stored->tenant(), ")"));
  }
  if (index.FindTenant(domain.tenant()) == nullptr) {
    co_return absl::NotFoundError(absl::StrCat("there is no tenant ", domain.tenant()));
  }
  PH_CO_RETURN_IF_ERROR(CheckDomain(index, domain));
  if (domain.status() == v1::STATUS_UNSPECIFIED) domain.set_status(v1::STATUS_ACTIVE);
  domain.set_revision(transaction.revision());
  domain.mutable_created()->set_seconds(absl::ToUnixSeconds(absl::Now()));
  transaction.Put(DomainKey(domain.domain()), domain);
  transaction.Note(v1::Change::KIND_DOMAIN, domain.domain());
  transaction.Apply([domain](Index& i) { i.PutDomain(domain); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, SystemPartition()));
  v1::CreateDomainResponse response;
  *response.mutable_domain() = std::move(domain);
  co_return response;
}

Task<absl::StatusOr<v1::UpdateDomainResponse>> Admin::UpdateDomain(v1::UpdateDomainRequest request) {
  v1::Domain domain = std::move(*request.mutable_domain());
  PH_CO_ASSIGN_OR_RETURN(std::string name, NormalizeDomain(domain.domain()));
  domain.set_domain(std::move(name));
  if (!domain.alias_of().empty()) {
    PH_CO_ASSIGN_OR_RETURN(std::string other, NormalizeDomain(domain.alias_of()));
    domain.set_alias_of(std::move(other));
  }
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  const v1::Domain* stored = transaction.index().FindDomain(domain.domain());
  if (stored == nullptr) co_return absl::NotFoundError(absl::StrCat("there is no domain ", domain.domain()));
  PH_CO_RETURN_IF_ERROR(CheckRevision(domain.revision(), stored->revision()));
  if (!domain.tenant().empty() && domain.tenant() != stored->tenant()) {
    co_return absl::InvalidArgumentError("tenant: a domain cannot move to another tenant");
  }
  domain.set_tenant(stored->tenant());
  *domain.mutable_created() = stored->created();
  if (domain.status() == v1::STATUS_UNSPECIFIED) domain.set_status(stored->status());
  PH_CO_RETURN_IF_ERROR(CheckDomain(transaction.index(), domain));
  domain.set_revision(transaction.revision());
  transaction.Put(DomainKey(domain.domain()), domain);
  transaction.Note(v1::Change::KIND_DOMAIN, domain.domain());
  transaction.Apply([domain](Index& i) { i.PutDomain(domain); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, SystemPartition()));
  v1::UpdateDomainResponse response;
  *response.mutable_domain() = std::move(domain);
  co_return response;
}

Task<absl::StatusOr<v1::GetDomainResponse>> Admin::GetDomain(v1::GetDomainRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const std::string name, NormalizeDomain(request.domain()));
  v1::GetDomainResponse response;
  const bool found = records_.Read([&](const Index& index) {
    const v1::Domain* domain = index.FindDomain(name);
    if (domain == nullptr) return false;
    *response.mutable_domain() = *domain;
    response.set_accounts(index.accounts_in(name));
    response.set_aliases(index.aliases_in(name));
    return true;
  });
  if (!found) co_return absl::NotFoundError(absl::StrCat("there is no domain ", name));
  co_return response;
}

Task<absl::StatusOr<v1::ListDomainsResponse>> Admin::ListDomains(v1::ListDomainsRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Page page, co_await ReadPage(SystemPartition(), kDomainPrefix, request.page()));
  v1::ListDomainsResponse response;
  for (const store::Row& row : page.rows) {
    v1::Domain domain;
    PH_CO_RETURN_IF_ERROR(Decode(row.value, &domain));
    // A page may be short of a tenant's domains, never of a later one's token.
    if (request.tenant().empty() || request.tenant() == domain.tenant()) *response.add_domains() = std::move(domain);
  }
  response.mutable_page()->set_next_page_token(page.next_token);
  co_return response;
}

Task<absl::StatusOr<v1::DeleteDomainResponse>> Admin::DeleteDomain(v1::DeleteDomainRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const std::string name, NormalizeDomain(request.domain()));
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  const Index& index = transaction.index();
  if (index.FindDomain(name) == nullptr) co_return absl::NotFoundError(absl::StrCat("there is no domain ", name));
  const size_t accounts = index.accounts_in(name), aliases = index.aliases_in(name);
  if (accounts + aliases > 0) {
    co_return absl::FailedPreconditionError(
        absl::StrCat("domain ", name, " still has ", accounts, " accounts and ", aliases, " aliases"));
  }
  const std::vector<std::string> others = index.OtherNamesOf(name);
  if (!others.empty()) {
    co_return absl::FailedPreconditionError(absl::StrCat("domain ", others[0], " is another name of ", name));
  }
  transaction.Erase(DomainKey(name));
  transaction.Note(v1::Change::KIND_DOMAIN, name);
  transaction.Apply([name](Index& i) { i.EraseDomain(name); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, SystemPartition()));
  co_return v1::DeleteDomainResponse();
}

}  // namespace posthouse::directory
