// Index: rows that could not be read when the store was opened.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/store/store.h"
#include "services/directory/index.h"
#include "services/directory/key_schema.h"

namespace posthouse::directory {
namespace {

std::string SettledKey(const std::string& partition, const std::string& key) {
  return absl::StrCat(partition, absl::string_view("\0", 1), key);
}

}  // namespace

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

}  // namespace posthouse::directory
