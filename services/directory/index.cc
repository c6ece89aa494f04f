#include "services/directory/index.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"

namespace posthouse::directory {
namespace {

// Records are validated before they are put, so these hold by construction.
Address MustParse(const std::string& address) {
  absl::StatusOr<Address> parsed = ParseAddress(address);
  PH_CHECK(parsed.ok());
  return parsed->Folded();
}

// Removes `name` from what `map` has for `key`.
template <typename Map>
void Remove(Map& map, const std::string& key, const std::string& name) {
  const auto it = map.find(key);
  if (it == map.end()) return;
  std::erase(it->second, name);
  if (it->second.empty()) map.erase(it);
}

std::string FoldedText(const std::string& text) {
  const absl::StatusOr<Address> address = ParseAddress(text);
  return address.ok() ? address->Folded().ToString() : text;
}

}  // namespace

v1::Status Worse(v1::Status a, v1::Status b) {
  const auto rank = [](v1::Status s) {
    switch (s) {
      case v1::STATUS_DELETED:
        return 3;
      case v1::STATUS_SUSPENDED:
        return 2;
      case v1::STATUS_FROZEN:
        return 1;
      default:
        return 0;
    }
  };
  const v1::Status worse = rank(a) >= rank(b) ? a : b;
  return worse == v1::STATUS_UNSPECIFIED ? v1::STATUS_ACTIVE : worse;
}

void Index::PutTenant(const v1::Tenant& tenant) { tenants_[TenantId(tenant.tenant())] = tenant; }

void Index::PutDomain(const v1::Domain& domain) {
  if (const std::optional<uint32_t> known = DomainSlot(domain.domain())) {
    Unlink(domains_[*known].record);
    domains_[*known].record = domain;
    Link(domain);
    return;
  }
  Link(domain);
  uint32_t slot = 0;
  if (free_domains_.empty()) {
    slot = static_cast<uint32_t>(domains_.size());
    domains_.emplace_back();
  } else {
    slot = free_domains_.back();
    free_domains_.pop_back();
  }
  domains_[slot] = DomainEntry{domain, 0, 0};
  domain_slots_[domain.domain()] = slot;
}

void Index::EraseDomain(absl::string_view domain) {
  const std::optional<uint32_t> slot = DomainSlot(domain);
  if (!slot) return;
  PH_CHECK(domains_[*slot].accounts == 0 && domains_[*slot].aliases == 0);
  Unlink(domains_[*slot].record);
  domains_[*slot] = DomainEntry{};
  domain_slots_.erase(domain);
  free_domains_.push_back(*slot);
}

absl::Status Index::CheckDomainOf(const std::string& stored) const {
  const absl::StatusOr<Address> address = ParseAddress(stored);
  if (!address.ok()) return absl::DataLossError(absl::StrCat("it has a bad address: ", absl::CHexEscape(stored)));
  if (DomainSlot(address->Folded().domain).has_value()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(stored, " is in a domain that is not there"));
}

absl::Status Index::CheckStored(const v1::Account& account) const {
  if (!AccountTable::IsId(account.account_id())) {
    return absl::DataLossError(absl::StrCat(account.address(), " has a bad id"));
  }
  return CheckDomainOf(account.address());
}

absl::Status Index::CheckStored(const v1::Alias& alias) const { return CheckDomainOf(alias.address()); }

void Index::PutAccount(const v1::Account& account) {
  const Address address = MustParse(account.address());
  const std::optional<uint32_t> domain = DomainSlot(address.domain);
  PH_CHECK(domain.has_value());
  if (accounts_.Put(*domain, address.local, account)) ++domains_[*domain].accounts;
}

void Index::EraseAccount(const Address& address) {
  const std::optional<uint32_t> domain = DomainSlot(address.domain);
  if (domain && accounts_.Erase(*domain, address.local)) --domains_[*domain].accounts;
}

void Index::PutAlias(const v1::Alias& alias) {
  const Address address = MustParse(alias.address());
  const std::optional<uint32_t> domain = DomainSlot(address.domain);
  PH_CHECK(domain.has_value());
  EraseAlias(address);
  const std::string name = address.ToString();
  AliasInfo info;
  info.status = alias.status();
  for (const std::string& target : alias.targets()) {
    info.targets.push_back(target);
    aliases_to_[target].push_back(name);
  }
  aliases_[name] = std::move(info);
  ++domains_[*domain].aliases;
}

void Index::EraseAlias(const Address& address) {
  const std::string name = address.ToString();
  const auto it = aliases_.find(name);
  if (it == aliases_.end()) return;
  for (const std::string& target : it->second.targets) Remove(aliases_to_, target, name);
  aliases_.erase(it);
  if (const std::optional<uint32_t> domain = DomainSlot(address.domain)) --domains_[*domain].aliases;
}

void Index::PutDeleted(const v1::DeletedAccount& account) {
  DeletedInfo info;
  info.tenant = TenantId(account.account().tenant());
  info.address = account.account().address();
  info.home = Home(account.account().home());
  info.state = account.state();
  info.deleted = absl::FromUnixSeconds(account.deleted().seconds());
  info.erase_after = absl::FromUnixSeconds(account.erase_after().seconds());
  info.erased = absl::FromUnixSeconds(account.erased().seconds());
  deleted_[AccountId(account.account().account_id())] = std::move(info);
}

const v1::Tenant* Index::FindTenant(const TenantId& tenant) const {
  const auto it = tenants_.find(tenant);
  return it == tenants_.end() ? nullptr : &it->second;
}

const v1::Domain* Index::FindDomain(absl::string_view domain) const {
  const std::optional<uint32_t> slot = DomainSlot(domain);
  return slot ? &domains_[*slot].record : nullptr;
}

std::optional<AccountInfo> Index::FindAccount(const Address& address) const {
  const AccountTable::Entry* entry = EntryOf(address);
  if (entry == nullptr) return std::nullopt;
  return Describe(*entry);
}

std::optional<AccountInfo> Index::FindAccountById(const AccountId& id) const {
  const AccountTable::Entry* entry = accounts_.Find(id);
  if (entry == nullptr) return std::nullopt;
  return Describe(*entry);
}

bool Index::HasAccount(const Address& address) const { return EntryOf(address) != nullptr; }

std::optional<AliasInfo> Index::FindAlias(const Address& address) const {
  const auto it = aliases_.find(address.ToString());
  if (it == aliases_.end()) return std::nullopt;
  return it->second;
}

std::vector<std::string> Index::AliasesTo(const std::string& address, size_t limit) const {
  const auto it = aliases_to_.find(address);
  if (it == aliases_to_.end()) return {};
  std::vector<std::string> names = it->second;
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (names.size() > limit) names.resize(limit);
  return names;
}

std::vector<std::string> Index::LeadingTo(const Address& address, absl::string_view separators, size_t limit) const {
  std::set<std::string> found;
  const std::string domain = absl::StrCat("@", address.domain);
  const auto collect = [&](const Backwards& map) {
    const auto add = [&](const std::vector<std::string>& names) {
      for (const std::string& name : names) {
        found.insert(&map == &catch_alls_to_ ? absl::StrCat("*@", name) : name);
      }
    };
    if (const auto it = map.find(address.ToString()); it != map.end()) add(it->second);
    for (const char separator : separators) {
      const std::string start = absl::StrCat(address.local, std::string(1, separator));
      for (auto it = map.lower_bound(start); it != map.end() && absl::StartsWith(it->first, start); ++it) {
        if (found.size() >= limit) return;
        if (absl::EndsWith(it->first, domain)) add(it->second);
      }
    }
  };
  collect(aliases_to_);
  collect(catch_alls_to_);
  std::vector<std::string> all(found.begin(), found.end());
  if (all.size() > limit) all.resize(limit);
  return all;
}

std::vector<std::string> Index::LeadingInto(absl::string_view domain, size_t limit) const {
  std::set<std::string> found;
  const std::string end = absl::StrCat("@", domain);
  for (const Backwards* map : {&aliases_to_, &catch_alls_to_}) {
    for (const auto& [target, names] : *map) {
      if (found.size() >= limit) break;
      if (!absl::EndsWith(target, end) || aliases_.contains(target)) continue;
      if (const absl::StatusOr<Address> address = ParseAddress(target); !address.ok() || HasAccount(*address)) continue;
      for (const std::string& name : names) {
        found.insert(map == &catch_alls_to_ ? absl::StrCat("*@", name) : name);
      }
    }
  }
  std::vector<std::string> all(found.begin(), found.end());
  if (all.size() > limit) all.resize(limit);
  return all;
}

std::vector<std::string> Index::OtherNamesOf(absl::string_view domain) const {
  const auto it = other_names_.find(domain);
  if (it == other_names_.end()) return {};
  std::vector<std::string> names = it->second;
  std::sort(names.begin(), names.end());
  return names;
}

v1::Status Index::EffectiveStatus(const v1::Domain& domain) const {
  const v1::Tenant* tenant = FindTenant(TenantId(domain.tenant()));
  return Worse(domain.status(), tenant == nullptr ? v1::STATUS_ACTIVE : tenant->status());
}

std::vector<std::string> Index::DomainsByAge(size_t limit) const {
  std::multimap<std::pair<int64_t, int32_t>, std::string> by_age;
  for (const auto& [name, slot] : domain_slots_) {
    const auto& created = domains_[slot].record.created();
    by_age.emplace(std::make_pair(created.seconds(), created.nanos()), name);
  }
  std::vector<std::string> names;
  for (const auto& [created, name] : by_age) {
    if (names.size() == limit) break;
    names.push_back(name);
  }
  return names;
}

size_t Index::accounts_in(absl::string_view domain) const {
  const std::optional<uint32_t> slot = DomainSlot(domain);
  return slot ? domains_[*slot].accounts : 0;
}

size_t Index::aliases_in(absl::string_view domain) const {
  const std::optional<uint32_t> slot = DomainSlot(domain);
  return slot ? domains_[*slot].aliases : 0;
}

void Index::Link(const v1::Domain& domain) {
  if (!domain.alias_of().empty()) other_names_[domain.alias_of()].push_back(domain.domain());
  if (!domain.catch_all().empty()) catch_alls_to_[FoldedText(domain.catch_all())].push_back(domain.domain());
}

void Index::Unlink(const v1::Domain& domain) {
  Remove(other_names_, domain.alias_of(), domain.domain());
  if (!domain.catch_all().empty()) Remove(catch_alls_to_, FoldedText(domain.catch_all()), domain.domain());
}

std::optional<uint32_t> Index::DomainSlot(absl::string_view domain) const {
  const auto it = domain_slots_.find(domain);
  if (it == domain_slots_.end()) return std::nullopt;
  return it->second;
}

const AccountTable::Entry* Index::EntryOf(const Address& address) const {
  const std::optional<uint32_t> domain = DomainSlot(address.domain);
  return domain ? accounts_.Find(*domain, address.local) : nullptr;
}

AccountInfo Index::Describe(const AccountTable::Entry& entry) const {
  const v1::Domain& domain = domains_[entry.domain].record;
  const v1::Tenant* tenant = FindTenant(TenantId(domain.tenant()));
  AccountInfo info;
  info.account_id = accounts_.IdOf(entry);
  info.tenant = TenantId(domain.tenant());
  info.address = Address{entry.local, domain.domain()};
  info.home = accounts_.HomeOf(entry);
  info.placement_epoch = entry.placement_epoch;
  info.credential_revision = entry.credential_revision;
  info.status = Worse(static_cast<v1::Status>(entry.status), EffectiveStatus(domain));
  info.limits = accounts_.LimitsOf(entry).Or(LimitSet::From(domain.limits()));
  if (tenant != nullptr) info.limits = info.limits.Or(LimitSet::From(tenant->limits()));
  return info;
}

}  // namespace posthouse::directory
