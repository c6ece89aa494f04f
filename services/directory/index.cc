#include "services/directory/index.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/directory/key_schema.h"

namespace posthouse::directory {
namespace {

template <typename T>
T FirstSet(T own, T wider) {
  return own != 0 ? own : wider;
}

// Records are validated before they are put, so these hold by construction.
Address MustParse(const std::string& address) {
  absl::StatusOr<Address> parsed = ParseAddress(address);
  PH_CHECK(parsed.ok());
  return parsed->Folded();
}

bool ParseId(absl::string_view hex, std::array<uint8_t, 16>* id) {
  if (hex.size() != 32) return false;
  for (const char c : hex) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return false;
  }
  const std::string bytes = absl::HexStringToBytes(hex);
  std::copy(bytes.begin(), bytes.end(), id->begin());
  return true;
}

// Removes `name` from what `map` has for `key`.
template <typename Map>
void Remove(Map& map, const std::string& key, const std::string& name) {
  const auto it = map.find(key);
  if (it == map.end()) return;
  std::erase(it->second, name);
  if (it->second.empty()) map.erase(it);
}

std::string SettledKey(const std::string& partition, const std::string& key) {
  return absl::StrCat(partition, absl::string_view("\0", 1), key);
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

LimitSet LimitSet::From(const v1::Limits& limits) {
  LimitSet set;
  set.storage_bytes = limits.storage_bytes();
  set.messages = limits.messages();
  set.message_bytes = limits.message_bytes();
  set.recipients_per_message = limits.recipients_per_message();
  set.sends_per_hour = limits.sends_per_hour();
  set.sends_per_day = limits.sends_per_day();
  return set;
}

void LimitSet::To(v1::Limits* limits) const {
  limits->set_storage_bytes(storage_bytes);
  limits->set_messages(messages);
  limits->set_message_bytes(message_bytes);
  limits->set_recipients_per_message(recipients_per_message);
  limits->set_sends_per_hour(sends_per_hour);
  limits->set_sends_per_day(sends_per_day);
}

LimitSet LimitSet::Or(const LimitSet& wider) const {
  LimitSet set;
  set.storage_bytes = FirstSet(storage_bytes, wider.storage_bytes);
  set.messages = FirstSet(messages, wider.messages);
  set.message_bytes = FirstSet(message_bytes, wider.message_bytes);
  set.recipients_per_message = FirstSet(recipients_per_message, wider.recipients_per_message);
  set.sends_per_hour = FirstSet(sends_per_hour, wider.sends_per_hour);
  set.sends_per_day = FirstSet(sends_per_day, wider.sends_per_day);
  return set;
}

Index::Index()
    : by_address_(0, ByAddress{&accounts_}, ByAddress{&accounts_}), by_id_(0, ById{&accounts_}, ById{&accounts_}) {}

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
  std::array<uint8_t, 16> id;
  if (!ParseId(account.account_id(), &id)) return absl::DataLossError(absl::StrCat(account.address(), " has a bad id"));
  return CheckDomainOf(account.address());
}

absl::Status Index::CheckStored(const v1::Alias& alias) const { return CheckDomainOf(alias.address()); }

void Index::PutAccount(const v1::Account& account) {
  const Address address = MustParse(account.address());
  const std::optional<uint32_t> domain = DomainSlot(address.domain);
  PH_CHECK(domain.has_value());
  std::optional<uint32_t> slot = AccountSlot(address);
  const bool fresh = !slot;
  if (fresh && !free_accounts_.empty()) {
    slot = free_accounts_.back();
    free_accounts_.pop_back();
  } else if (fresh) {
    slot = static_cast<uint32_t>(accounts_.size());
    accounts_.emplace_back();
  }
  AccountEntry& entry = accounts_[*slot];
  if (fresh) {
    PH_CHECK(ParseId(account.account_id(), &entry.id));
    entry.domain = *domain;
    entry.local = address.local;
    entry.local.shrink_to_fit();
    ++domains_[*domain].accounts;
  }
  entry.limits = InternLimits(LimitSet::From(account.limits()));
  if (!fresh) --homes_[entry.home].accounts;
  entry.home = InternHome(Home(account.home()));
  ++homes_[entry.home].accounts;
  entry.placement_epoch = static_cast<uint32_t>(account.placement_epoch());
  entry.credential_revision = account.credential_revision();
  entry.status = static_cast<uint8_t>(account.status());
  if (fresh) {
    by_address_.insert(*slot);
    by_id_.insert(*slot);
  }
}

void Index::EraseAccount(const Address& address) {
  const std::optional<uint32_t> slot = AccountSlot(address);
  if (!slot) return;
  by_address_.erase(*slot);
  by_id_.erase(*slot);
  --domains_[accounts_[*slot].domain].accounts;
  --homes_[accounts_[*slot].home].accounts;
  accounts_[*slot] = AccountEntry{};
  free_accounts_.push_back(*slot);
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

void Index::PutLost(const std::string& partition, std::string first, std::string last) {
  accounts_lost_ |= absl::StartsWith(first, kAccountPrefix);
  lost_[partition].push_back({std::move(first), std::move(last)});
  ++lost_count_;
}

bool Index::IsLost(const std::string& partition, const std::string& key) const {
  const auto it = lost_.find(partition);
  if (it == lost_.end() || settled_.contains(SettledKey(partition, key))) return false;
  return std::any_of(it->second.begin(), it->second.end(),
                     [&key](const LostRows& rows) { return rows.first <= key && key <= rows.last; });
}

bool Index::MayBeLost(const Address& address) const {
  if (lost_count_ == 0) return false;
  const v1::Domain* domain = FindDomain(address.domain);
  if (domain == nullptr) return MayBeLost(address.domain);
  const std::string partition = TenantPartition(TenantId(domain->tenant())).id;
  return IsLost(partition, AccountKey(address)) || IsLost(partition, AliasKey(address));
}

bool Index::AccountMayBeLost(const Address& address) const {
  if (lost_count_ == 0 || HasAccount(address)) return false;
  const v1::Domain* domain = FindDomain(address.domain);
  return domain != nullptr && IsLost(TenantPartition(TenantId(domain->tenant())).id, AccountKey(address));
}

bool Index::TenantMayBeLost(const TenantId& tenant) const {
  return lost_count_ != 0 && IsLost(SystemPartition().id, TenantKey(tenant));
}

bool Index::AliasMayBeLost(const Address& address) const {
  if (lost_count_ == 0 || FindAlias(address).has_value()) return false;
  const v1::Domain* domain = FindDomain(address.domain);
  return domain != nullptr && IsLost(TenantPartition(TenantId(domain->tenant())).id, AliasKey(address));
}

// Whether a lost range touches the keys that begin with `prefix`.
bool Index::AnyLost(const std::string& partition, const std::string& prefix, bool ranges_only) const {
  const auto it = lost_.find(partition);
  if (it == lost_.end()) return false;
  const std::string end = store::PrefixEnd(prefix);
  return std::any_of(it->second.begin(), it->second.end(), [&](const LostRows& rows) {
    return rows.first < end && prefix <= rows.last && !(ranges_only && rows.first == rows.last);
  });
}

bool Index::DeletedMayBeLost() const {
  return std::any_of(lost_.begin(), lost_.end(),
                     [this](const auto& entry) { return AnyLost(entry.first, kDeletedPrefix, false); });
}

TenantId Index::TenantOfLost(absl::string_view domain) const {
  const std::string accounts = AccountsOfDomainPrefix(domain), aliases = AliasesOfDomainPrefix(domain);
  for (const auto& [name, tenant] : tenants_) {
    const auto it = lost_.find(TenantPartition(name).id);
    if (it == lost_.end()) continue;
    for (const LostRows& rows : it->second) {
      if (rows.first != rows.last) continue;
      if (absl::StartsWith(rows.first, accounts) || absl::StartsWith(rows.first, aliases)) return name;
    }
  }
  return TenantId();
}

bool Index::LostIn(absl::string_view domain, bool but_aliases) const {
  const v1::Domain* found = FindDomain(domain);
  if (lost_count_ == 0 || found == nullptr) return false;
  const std::string partition = TenantPartition(TenantId(found->tenant())).id;
  return AnyLost(partition, AccountsOfDomainPrefix(domain), false) ||
         AnyLost(partition, AliasesOfDomainPrefix(domain), but_aliases);
}

void Index::Settle(const std::string& partition, const std::string& key) {
  if (!IsLost(partition, key)) return;
  std::vector<LostRows>& rows = lost_[partition];
  const auto single = [&key](const LostRows& lost) { return lost.first == key && lost.last == key; };
  lost_count_ -= std::erase_if(rows, single);
  if (rows.empty()) lost_.erase(partition);
  if (IsLost(partition, key)) settled_.insert(SettledKey(partition, key));
  accounts_lost_ = std::any_of(lost_.begin(), lost_.end(), [](const auto& entry) {
    return std::any_of(entry.second.begin(), entry.second.end(),
                       [](const LostRows& lost) { return absl::StartsWith(lost.first, kAccountPrefix); });
  });
}

bool Index::MayBeLost(absl::string_view domain) const {
  return lost_count_ != 0 && IsLost(SystemPartition().id, DomainKey(domain));
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
  const std::optional<uint32_t> slot = AccountSlot(address);
  if (!slot) return std::nullopt;
  return Describe(accounts_[*slot]);
}

std::optional<AccountInfo> Index::FindAccountById(const AccountId& id) const {
  Id bytes{};
  if (!ParseId(id.value(), &bytes)) return std::nullopt;
  const auto it = by_id_.find(bytes);
  if (it == by_id_.end()) return std::nullopt;
  return Describe(accounts_[*it]);
}

bool Index::HasAccount(const Address& address) const { return AccountSlot(address).has_value(); }

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

size_t Index::accounts_at(const Home& home) const {
  const auto it = home_slots_.find(home);
  return it == home_slots_.end() ? 0 : homes_[it->second].accounts;
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

std::optional<uint32_t> Index::AccountSlot(const Address& address) const {
  const std::optional<uint32_t> domain = DomainSlot(address.domain);
  if (!domain) return std::nullopt;
  const auto it = by_address_.find(AddressKey{*domain, address.local});
  if (it == by_address_.end()) return std::nullopt;
  return *it;
}

AccountInfo Index::Describe(const AccountEntry& entry) const {
  const v1::Domain& domain = domains_[entry.domain].record;
  const v1::Tenant* tenant = FindTenant(TenantId(domain.tenant()));
  AccountInfo info;
  info.account_id = AccountId(
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(entry.id.data()), entry.id.size())));
  info.tenant = TenantId(domain.tenant());
  info.address = Address{entry.local, domain.domain()};
  info.home = homes_[entry.home].home;
  info.placement_epoch = entry.placement_epoch;
  info.credential_revision = entry.credential_revision;
  info.status = Worse(static_cast<v1::Status>(entry.status), EffectiveStatus(domain));
  info.limits = limit_sets_[entry.limits].Or(LimitSet::From(domain.limits()));
  if (tenant != nullptr) info.limits = info.limits.Or(LimitSet::From(tenant->limits()));
  return info;
}

uint32_t Index::InternLimits(const LimitSet& limits) {
  const auto [it, inserted] = limit_slots_.try_emplace(limits, static_cast<uint32_t>(limit_sets_.size()));
  if (inserted) limit_sets_.push_back(limits);
  return it->second;
}

uint32_t Index::InternHome(const Home& home) {
  const auto [it, inserted] = home_slots_.try_emplace(home, static_cast<uint32_t>(homes_.size()));
  if (inserted) homes_.push_back(HomeEntry{home, 0});
  return it->second;
}

}  // namespace posthouse::directory
