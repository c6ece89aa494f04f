#include "services/directory/record_edit.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/directory/chain_limits.h"
#include "services/directory/key_schema.h"
#include "services/directory/lookup.h"
#include "services/directory/record_checks.h"

namespace posthouse::directory {
namespace {

// Keeps an alias's row far below the store's 64 KiB.
constexpr int kMaxAliasTargets = 500;
constexpr size_t kMaxAliasBytes = 48 * 1024;

absl::Status CheckTenantName(const std::string& name) {
  bool good = !name.empty() && name.size() <= 63;
  for (const char c : name) good &= absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tenant \"", name, "\": 1 to 63 of a-z, 0-9 and -"));
}

// RFC 5233 §4 leaves the separator to the site.
absl::Status CheckSeparators(const std::string& separators) {
  for (const char c : separators) {
    if (absl::string_view("+-_.=#").find(c) == absl::string_view::npos) {
      return absl::InvalidArgumentError("subaddress_separators: any of + - _ . = #");
    }
  }
  if (separators.size() > 6) return absl::InvalidArgumentError("subaddress_separators: at most 6");
  return absl::OkStatus();
}

absl::Status CheckDomain(const Index& index, const v1::Domain& domain) {
  PH_RETURN_IF_ERROR(CheckStatus(domain.status()));
  PH_RETURN_IF_ERROR(CheckSeparators(domain.subaddress_separators()));
  if (!domain.catch_all().empty()) {
    PH_RETURN_IF_ERROR(Annotate(ParseAddress(domain.catch_all()).status(), "catch_all"));
  }
  if (domain.alias_of().empty()) {
    const char* const field = domain.catch_all().empty() ? "subaddress_separators" : "catch_all";
    return Annotate(CheckDomainLimits(index, domain), field);
  }
  const v1::Domain* other = index.FindDomain(domain.alias_of());
  if (other == nullptr) return Annotate(MissingDomain(index, domain.alias_of()), "alias_of");
  if (other->domain() == domain.domain()) {
    return absl::InvalidArgumentError("alias_of: a domain cannot be an alias of itself");
  }
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
  return Annotate(CheckDomainLimits(index, domain), "alias_of");
}

// Normalises the names in `domain`.
absl::Status NormalizeNames(v1::Domain* domain) {
  absl::StatusOr<std::string> name = NormalizeDomain(domain->domain());
  if (!name.ok()) return Annotate(name.status(), absl::StrCat("domain \"", domain->domain(), "\""));
  domain->set_domain(*std::move(name));
  if (domain->alias_of().empty()) return absl::OkStatus();
  absl::StatusOr<std::string> other = NormalizeDomain(domain->alias_of());
  if (!other.ok()) return Annotate(other.status(), "alias_of");
  domain->set_alias_of(*std::move(other));
  return absl::OkStatus();
}

RecordEdit Store(const v1::Tenant& tenant) {
  RecordEdit edit{.partition = SystemPartition()};
  edit.Put(TenantKey(TenantId(tenant.tenant())), tenant);
  edit.Note(v1::Change::KIND_TENANT, tenant.tenant());
  edit.Follow([tenant](Index& index) { index.PutTenant(tenant); });
  return edit;
}

RecordEdit Store(const v1::Domain& domain) {
  RecordEdit edit{.partition = SystemPartition()};
  edit.Put(DomainKey(domain.domain()), domain);
  edit.Note(v1::Change::KIND_DOMAIN, domain.domain());
  edit.Follow([domain](Index& index) { index.PutDomain(domain); });
  return edit;
}

RecordEdit Store(const Address& address, const v1::Alias& alias) {
  RecordEdit edit{.partition = TenantPartition(TenantId(alias.tenant()))};
  edit.Put(AliasKey(address), alias);
  edit.Note(v1::Change::KIND_ALIAS, alias.address());
  edit.Follow([alias](Index& index) { index.PutAlias(alias); });
  return edit;
}

}  // namespace

void RecordEdit::Put(std::string key, const google::protobuf::MessageLite& record) {
  mutations.push_back({std::move(key), Encode(record)});
}

void RecordEdit::Erase(std::string key) { mutations.push_back({std::move(key), std::nullopt}); }

void RecordEdit::Add(RecordEdit other) {
  std::move(other.mutations.begin(), other.mutations.end(), std::back_inserter(mutations));
  std::move(other.changes.begin(), other.changes.end(), std::back_inserter(changes));
  std::move(other.follow.begin(), other.follow.end(), std::back_inserter(follow));
}

void RecordEdit::Note(v1::Change::Kind kind, std::string name, const AccountId& account) {
  v1::Change change;
  change.set_kind(kind);
  change.set_name(std::move(name));
  change.set_account_id(account.value());
  changes.push_back(std::move(change));
}

absl::StatusOr<RecordEdit> DecideCreateTenant(const Index& index, const EditStamp& stamp, v1::Tenant* tenant) {
  PH_RETURN_IF_ERROR(CheckTenantName(tenant->tenant()));
  PH_RETURN_IF_ERROR(CheckDisplayName(tenant->display_name()));
  PH_RETURN_IF_ERROR(CheckStatus(tenant->status()));
  // One that stands in for a damaged record is written anew.
  if (index.FindTenant(TenantId(tenant->tenant())) != nullptr && !index.TenantMayBeLost(TenantId(tenant->tenant()))) {
    return absl::AlreadyExistsError(absl::StrCat("tenant ", tenant->tenant(), " exists"));
  }
  Stamp(tenant, stamp);
  return Store(*tenant);
}

absl::StatusOr<RecordEdit> DecideUpdateTenant(const Index& index, const EditStamp& stamp, v1::Tenant* tenant) {
  PH_RETURN_IF_ERROR(CheckDisplayName(tenant->display_name()));
  PH_RETURN_IF_ERROR(CheckStatus(tenant->status()));
  const v1::Tenant* stored = index.FindTenant(TenantId(tenant->tenant()));
  if (stored == nullptr || index.TenantMayBeLost(TenantId(tenant->tenant())))
    return MissingTenant(index, TenantId(tenant->tenant()));
  PH_RETURN_IF_ERROR(CheckRevision(tenant->revision(), stored->revision()));
  Stamp(tenant, stamp, *stored);
  return Store(*tenant);
}

absl::StatusOr<RecordEdit> DecideCreateDomain(const Index& index, const EditStamp& stamp, v1::Domain* domain) {
  PH_RETURN_IF_ERROR(NormalizeNames(domain));
  const std::string owner =
      index.MayBeLost(domain->domain()) ? index.TenantOfLost(domain->domain()).value() : std::string();
  if (domain->tenant().empty()) domain->set_tenant(owner.empty() ? kDefaultTenant : owner);
  if (const v1::Domain* stored = index.FindDomain(domain->domain())) {
    return absl::AlreadyExistsError(
        absl::StrCat("domain ", domain->domain(), " exists (tenant ", stored->tenant(), ")"));
  }
  if (!owner.empty() && owner != domain->tenant()) {
    return absl::FailedPreconditionError(absl::StrCat("tenant: the addresses of the damaged domain ", domain->domain(),
                                                      " are in tenant ", owner, ", not ", domain->tenant()));
  }
  if (index.FindTenant(TenantId(domain->tenant())) == nullptr) return MissingTenant(index, TenantId(domain->tenant()));
  PH_RETURN_IF_ERROR(CheckDomain(index, *domain));
  Stamp(domain, stamp);
  return Store(*domain);
}

absl::StatusOr<RecordEdit> DecideUpdateDomain(const Index& index, const EditStamp& stamp, v1::Domain* domain) {
  PH_RETURN_IF_ERROR(NormalizeNames(domain));
  const v1::Domain* stored = index.FindDomain(domain->domain());
  if (stored == nullptr) return MissingDomain(index, domain->domain());
  PH_RETURN_IF_ERROR(CheckRevision(domain->revision(), stored->revision()));
  if (!domain->tenant().empty() && domain->tenant() != stored->tenant()) {
    return absl::InvalidArgumentError("tenant: a domain cannot move to another tenant");
  }
  domain->set_tenant(stored->tenant());
  PH_RETURN_IF_ERROR(CheckDomain(index, *domain));
  Stamp(domain, stamp, *stored);
  return Store(*domain);
}

absl::StatusOr<RecordEdit> DecideDeleteDomain(const Index& index, absl::string_view domain, bool addresses_go) {
  if (index.FindDomain(domain) == nullptr) return MissingDomain(index, domain);
  if (index.LostIn(domain, addresses_go)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "domain ", domain, " has addresses whose records are damaged or were not loaded. After 'domain add' restart ",
        "the directory. 'posthousectl check store' names damaged records: write each anew ('account add') or delete "
        "it ",
        "('alias delete'); after a damaged block run 'posthousectl salvage store'"));
  }
  const size_t accounts = index.accounts_in(domain), aliases = index.aliases_in(domain);
  if (accounts + aliases > 0 && !addresses_go) {
    return absl::FailedPreconditionError(
        absl::StrCat("domain ", domain, " still has ", accounts, " accounts and ", aliases, " aliases"));
  }
  const std::vector<std::string> others = index.OtherNamesOf(domain);
  if (!others.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("domain ", others[0], " is another name of ", domain));
  }
  RecordEdit edit{.partition = SystemPartition()};
  edit.Erase(DomainKey(domain));
  edit.Note(v1::Change::KIND_DOMAIN, std::string(domain));
  edit.Follow([name = std::string(domain)](Index& i) { i.EraseDomain(name); });
  return edit;
}

absl::Status NormalizeAlias(const Index& index, v1::Alias* alias) {
  PH_RETURN_IF_ERROR(CheckStatus(alias->status()));
  PH_RETURN_IF_ERROR(CheckDisplayName(alias->display_name()));
  PH_ASSIGN_OR_RETURN(const Address address, CheckNewAddress(index, alias->address(), TenantId(alias->tenant())));
  alias->set_address(address.ToString());
  alias->set_tenant(index.FindDomain(address.domain)->tenant());
  if (alias->targets().empty()) return absl::InvalidArgumentError("targets: at least one address");
  if (alias->targets_size() > kMaxAliasTargets) {
    return absl::InvalidArgumentError(absl::StrCat("targets: at most ", kMaxAliasTargets, "; nest aliases for more"));
  }
  std::vector<std::string> targets;
  absl::flat_hash_set<std::string> seen;
  size_t bytes = 0;
  for (const std::string& text : alias->targets()) {
    const absl::StatusOr<Address> target = ParseAddress(text);
    if (!target.ok()) return Annotate(target.status(), absl::StrCat("targets: \"", text, "\""));
    const bool local = index.FindDomain(target->domain) != nullptr;
    std::string normal = local ? target->Folded().ToString() : target->ToString();
    bytes += normal.size() + 4;
    if (seen.insert(normal).second) targets.push_back(std::move(normal));
  }
  if (bytes > kMaxAliasBytes) {
    return absl::InvalidArgumentError("targets: together at most 48 KiB; nest aliases for more");
  }
  const std::string loop = FindLoop(index, alias->address(), targets);
  if (!loop.empty()) return absl::InvalidArgumentError(absl::StrCat("targets: these aliases form a loop: ", loop));
  PH_RETURN_IF_ERROR(Annotate(CheckAliasLimits(index, alias->address(), targets), "targets"));
  alias->clear_targets();
  for (std::string& target : targets) alias->add_targets(std::move(target));
  return absl::OkStatus();
}

absl::StatusOr<RecordEdit> DecideCreateAlias(const Index& index, const EditStamp& stamp, v1::Alias* alias) {
  PH_RETURN_IF_ERROR(NormalizeAlias(index, alias));
  PH_ASSIGN_OR_RETURN(const Address address, ParseAddress(alias->address()));
  if (index.HasAccount(address)) return absl::AlreadyExistsError(absl::StrCat(alias->address(), " is an account"));
  if (index.FindAlias(address)) return absl::AlreadyExistsError(absl::StrCat("alias ", alias->address(), " exists"));
  if (index.AccountMayBeLost(address)) return MissingAccount(index, address);
  Stamp(alias, stamp);
  return Store(address, *alias);
}

absl::StatusOr<RecordEdit> DecideUpdateAlias(const v1::Alias& stored, const EditStamp& stamp, v1::Alias* alias) {
  PH_RETURN_IF_ERROR(CheckRevision(alias->revision(), stored.revision()));
  Stamp(alias, stamp, stored);
  PH_ASSIGN_OR_RETURN(const Address address, ParseAddress(alias->address()));
  return Store(address, *alias);
}

absl::StatusOr<RecordEdit> DecideDeleteAlias(const Index& index, const Address& address) {
  // A damaged one goes by its key.
  if (!index.FindAlias(address) && !index.AliasMayBeLost(address)) return MissingAlias(index, address);
  RecordEdit edit{.partition = TenantPartition(TenantId(index.FindDomain(address.domain)->tenant()))};
  edit.Erase(AliasKey(address));
  edit.Note(v1::Change::KIND_ALIAS, address.ToString());
  edit.Follow([address](Index& i) { i.EraseAlias(address); });
  return edit;
}

}  // namespace posthouse::directory
