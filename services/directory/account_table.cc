#include "services/directory/account_table.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "services/common/status/status.h"

namespace posthouse::directory {
namespace {

std::optional<AccountTable::Id> ParseId(absl::string_view hex) {
  if (!AccountTable::IsId(hex)) return std::nullopt;
  const std::string bytes = absl::HexStringToBytes(hex);
  AccountTable::Id id{};
  std::copy(bytes.begin(), bytes.end(), id.begin());
  return id;
}

}  // namespace

AccountTable::AccountTable()
    : by_address_(0, ByAddress{&entries_}, ByAddress{&entries_}), by_id_(0, ById{&entries_}, ById{&entries_}) {}

bool AccountTable::IsId(absl::string_view id) {
  return id.size() == 2 * std::tuple_size_v<Id> &&
         std::all_of(id.begin(), id.end(), [](char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); });
}

bool AccountTable::Put(uint32_t domain, const std::string& local, const v1::Account& account) {
  const std::optional<uint32_t> known = SlotOf(domain, local);
  const uint32_t slot = known.has_value() ? *known : NewSlot();
  Entry& entry = entries_[slot];
  if (known.has_value()) {
    --homes_[entry.home].accounts;
  } else {
    const std::optional<Id> id = ParseId(account.account_id());
    PH_CHECK(id.has_value());
    entry.id = *id;
    entry.domain = domain;
    entry.local = local;
    entry.local.shrink_to_fit();
  }
  entry.limits = InternLimits(LimitSet::From(account.limits()));
  entry.home = InternHome(Home(account.home()));
  ++homes_[entry.home].accounts;
  entry.placement_epoch = static_cast<uint32_t>(account.placement_epoch());
  entry.credential_revision = account.credential_revision();
  entry.status = static_cast<uint8_t>(account.status());
  if (known.has_value()) return false;
  by_address_.insert(slot);
  by_id_.insert(slot);
  return true;
}

bool AccountTable::Erase(uint32_t domain, absl::string_view local) {
  const std::optional<uint32_t> slot = SlotOf(domain, local);
  if (!slot.has_value()) return false;
  by_address_.erase(*slot);
  by_id_.erase(*slot);
  --homes_[entries_[*slot].home].accounts;
  entries_[*slot] = Entry{};
  free_slots_.push_back(*slot);
  return true;
}

const AccountTable::Entry* AccountTable::Find(uint32_t domain, absl::string_view local) const {
  const std::optional<uint32_t> slot = SlotOf(domain, local);
  return slot.has_value() ? &entries_[*slot] : nullptr;
}

const AccountTable::Entry* AccountTable::Find(const AccountId& id) const {
  const std::optional<Id> bytes = ParseId(id.value());
  if (!bytes.has_value()) return nullptr;
  const auto it = by_id_.find(*bytes);
  return it == by_id_.end() ? nullptr : &entries_[*it];
}

AccountId AccountTable::IdOf(const Entry& entry) const {
  return AccountId(
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(entry.id.data()), entry.id.size())));
}

size_t AccountTable::accounts_at(const Home& home) const {
  const auto it = home_slots_.find(home);
  return it == home_slots_.end() ? 0 : homes_[it->second].accounts;
}

std::optional<uint32_t> AccountTable::SlotOf(uint32_t domain, absl::string_view local) const {
  const auto it = by_address_.find(AddressKey{domain, local});
  if (it == by_address_.end()) return std::nullopt;
  return *it;
}

uint32_t AccountTable::NewSlot() {
  if (free_slots_.empty()) {
    entries_.emplace_back();
    return static_cast<uint32_t>(entries_.size() - 1);
  }
  const uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

uint32_t AccountTable::InternLimits(const LimitSet& limits) {
  const auto [it, inserted] = limit_slots_.try_emplace(limits, static_cast<uint32_t>(limit_sets_.size()));
  if (inserted) limit_sets_.push_back(limits);
  return it->second;
}

uint32_t AccountTable::InternHome(const Home& home) {
  const auto [it, inserted] = home_slots_.try_emplace(home, static_cast<uint32_t>(homes_.size()));
  if (inserted) homes_.push_back(HomeEntry{home, 0});
  return it->second;
}

}  // namespace posthouse::directory
