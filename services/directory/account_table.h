// AccountTable: the accounts of an Index in memory, found by address and by id.
//
// Compact, since there are many: an account costs about 100 bytes (its full record stays in
// the store), so that 1,000,000 need about 100 MB. Limits and homes, which many accounts share,
// are kept once each.
//
// Threads: as Index.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/directory/limit_set.h"

namespace posthouse::directory {

namespace v1 {
class Account;
}

class AccountTable {
 public:
  using Id = std::array<uint8_t, 16>;
  struct Entry {
    Id id{};
    uint32_t domain = 0;  // the caller's number of the domain
    uint32_t limits = 0;  // see LimitsOf()
    uint32_t home = 0;    // see HomeOf()
    uint32_t placement_epoch = 0;
    uint64_t credential_revision = 0;
    uint8_t status = 0;  // v1::Status of the account's record
    std::string local;
  };

  AccountTable();
  AccountTable(const AccountTable&) = delete;

  // Whether the id of a record is one: 32 hex digits.
  static bool IsId(absl::string_view id);
  // Adds or replaces the account with that address; its id is one. True: it is new. An account
  // that is replaced keeps its id.
  bool Put(uint32_t domain, const std::string& local, const v1::Account& account);
  // False: there is none.
  bool Erase(uint32_t domain, absl::string_view local);

  // Null: there is none. Pointers hold until the next change.
  const Entry* Find(uint32_t domain, absl::string_view local) const;
  const Entry* Find(const AccountId& id) const;
  AccountId IdOf(const Entry& entry) const;
  const Home& HomeOf(const Entry& entry) const { return homes_[entry.home].home; }
  const LimitSet& LimitsOf(const Entry& entry) const { return limit_sets_[entry.limits]; }

  size_t size() const { return by_address_.size(); }
  size_t accounts_at(const Home& home) const;

 private:
  struct AddressKey {
    uint32_t domain;
    absl::string_view local;
    friend bool operator==(const AddressKey&, const AddressKey&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const AddressKey& k) {
      return H::combine(std::move(h), k.domain, k.local);
    }
  };
  // Sets of slots that hash and compare what the slot holds.
  struct ByAddress {
    using is_transparent = void;
    const std::vector<Entry>* entries;
    AddressKey Key(uint32_t slot) const { return {(*entries)[slot].domain, (*entries)[slot].local}; }
    const AddressKey& Key(const AddressKey& key) const { return key; }
    template <typename A>
    size_t operator()(const A& a) const {
      return absl::Hash<AddressKey>()(Key(a));
    }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Key(a) == Key(b);
    }
  };
  struct ById {
    using is_transparent = void;
    const std::vector<Entry>* entries;
    const Id& Key(uint32_t slot) const { return (*entries)[slot].id; }
    const Id& Key(const Id& id) const { return id; }
    template <typename A>
    size_t operator()(const A& a) const {
      return absl::Hash<Id>()(Key(a));
    }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Key(a) == Key(b);
    }
  };
  struct HomeEntry {
    Home home;
    size_t accounts = 0;
  };

  std::optional<uint32_t> SlotOf(uint32_t domain, absl::string_view local) const;
  uint32_t NewSlot();
  uint32_t InternLimits(const LimitSet& limits);
  uint32_t InternHome(const Home& home);

  std::vector<Entry> entries_;  // by slot
  std::vector<uint32_t> free_slots_;
  absl::flat_hash_set<uint32_t, ByAddress, ByAddress> by_address_;
  absl::flat_hash_set<uint32_t, ById, ById> by_id_;
  std::vector<LimitSet> limit_sets_;
  absl::flat_hash_map<LimitSet, uint32_t> limit_slots_;
  std::vector<HomeEntry> homes_;
  absl::flat_hash_map<Home, uint32_t> home_slots_;
};

}  // namespace posthouse::directory
