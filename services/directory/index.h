// Index: every tenant, domain, account and alias in memory, in the form that
// lookups need: loaded at start, changed after each commit. AccountTable keeps the accounts.
//
// Threads: none of its own; Repository guards it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "services/common/ids/ids.h"
#include "services/directory/account_table.h"
#include "services/directory/limit_set.h"
#include "services/mail_formats/address/address.h"

namespace posthouse::directory {

// What a lookup learns of an account. Status and limits are effective: the
// tenant's and the domain's are in them.
struct AccountInfo {
  AccountId account_id;
  TenantId tenant;
  Address address;
  Home home;
  uint32_t placement_epoch = 0;
  uint64_t credential_revision = 0;
  v1::Status status = v1::STATUS_ACTIVE;
  LimitSet limits;
};

// A deleted account, as far as the index needs it; the row has the rest.
struct DeletedInfo {
  TenantId tenant;
  std::string address;
  Home home;
  v1::DeletedAccount::State state = v1::DeletedAccount::STATE_KEPT;
  absl::Time deleted;
  absl::Time erase_after;
  absl::Time erased;  // with STATE_ERASED
};

// What the index keeps of an alias or group.
struct AliasInfo {
  std::vector<std::string> targets;  // normalised
  v1::Status status = v1::STATUS_ACTIVE;
};

class Index {
 public:
  Index() = default;
  Index(const Index&) = delete;

  // ---- changes. Put replaces. Addresses are folded, domains known.
  void PutTenant(const v1::Tenant& tenant);
  void PutDomain(const v1::Domain& domain);
  void EraseDomain(absl::string_view domain);
  // kDataLoss: why the index cannot hold a record that was stored; PutAccount and PutAlias
  // require OK. Records that an admin writes were checked when they were decided.
  absl::Status CheckStored(const v1::Account& account) const;
  absl::Status CheckStored(const v1::Alias& alias) const;
  void PutAccount(const v1::Account& account);
  void EraseAccount(const Address& address);
  void PutAlias(const v1::Alias& alias);
  void EraseAlias(const Address& address);
  void PutDeleted(const v1::DeletedAccount& account);
  void EraseDeleted(const AccountId& id) { deleted_.erase(id); }
  // Rows that could not be read when the store was opened: keys from `first` to `last`, both
  // included. What cannot be found there may exist.
  void PutLost(const std::string& partition, std::string first, std::string last);

  // ---- questions. Pointers hold until the next change.
  const v1::Tenant* FindTenant(const TenantId& tenant) const;
  const v1::Domain* FindDomain(absl::string_view domain) const;
  std::optional<AccountInfo> FindAccount(const Address& address) const;
  std::optional<AccountInfo> FindAccountById(const AccountId& id) const;
  bool HasAccount(const Address& address) const;
  std::optional<AliasInfo> FindAlias(const Address& address) const;
  // Addresses of aliases that name `address` as a target, sorted, at most `limit`.
  std::vector<std::string> AliasesTo(const std::string& address, size_t limit) const;
  // What leads to `address`, also with a subaddress behind one of `separators`, sorted: addresses of aliases that name
  // it as a target, and "*@domain" for domains that have it as catch-all. At most `limit`.
  std::vector<std::string> LeadingTo(const Address& address, absl::string_view separators, size_t limit) const;
  // The same for all addresses of `domain` that are no account and no alias. Reads all targets.
  std::vector<std::string> LeadingInto(absl::string_view domain, size_t limit) const;
  // Domains that are another name of `domain`, sorted.
  std::vector<std::string> OtherNamesOf(absl::string_view domain) const;
  // True when the row of an address or a domain that the index does not have may be one that
  // could not be read: the answer is a temporary failure, never "no such user".
  bool MayBeLost(const Address& address) const;
  bool MayBeLost(absl::string_view domain) const;
  // The same for one kind of record.
  bool TenantMayBeLost(const TenantId& tenant) const;
  bool AccountMayBeLost(const Address& address) const;
  bool AliasMayBeLost(const Address& address) const;
  bool DeletedMayBeLost() const;  // of any deleted account
  // The tenant whose lost rows have accounts or aliases of `domain`; "": none. Its own record is lost, then.
  TenantId TenantOfLost(absl::string_view domain) const;
  // True when addresses of `domain` may be lost. Those of `but_aliases`, which a deletion finds by their keys,
  // do not count.
  bool LostIn(absl::string_view domain, bool but_aliases) const;
  // The row was written or removed: it is not lost any more.
  void Settle(const std::string& partition, const std::string& key);
  size_t lost() const { return lost_count_; }
  // True when an account with an unknown id may be among them.
  bool accounts_lost() const { return accounts_lost_; }
  // Deleted accounts by id, those with an erased tombstone as well.
  const absl::btree_map<AccountId, DeletedInfo>& deleted() const { return deleted_; }
  size_t accounts_at(const Home& home) const { return accounts_.accounts_at(home); }
  // The worst of the domain's and its tenant's status.
  v1::Status EffectiveStatus(const v1::Domain& domain) const;
  // In the order of their creation.
  std::vector<std::string> DomainsByAge(size_t limit) const;

  size_t tenants() const { return tenants_.size(); }
  size_t domains() const { return domain_slots_.size(); }
  size_t accounts() const { return accounts_.size(); }
  size_t aliases() const { return aliases_.size(); }
  size_t accounts_in(absl::string_view domain) const;
  size_t aliases_in(absl::string_view domain) const;

 private:
  bool IsLost(const std::string& partition, const std::string& key) const;
  bool AnyLost(const std::string& partition, const std::string& prefix, bool ranges_only) const;
  absl::Status CheckDomainOf(const std::string& stored) const;
  struct DomainEntry {
    v1::Domain record;
    uint32_t accounts = 0, aliases = 0;
  };

  std::optional<uint32_t> DomainSlot(absl::string_view domain) const;
  const AccountTable::Entry* EntryOf(const Address& address) const;
  // What other entries keep of the domain's record.
  void Link(const v1::Domain& domain);
  void Unlink(const v1::Domain& domain);
  AccountInfo Describe(const AccountTable::Entry& entry) const;

  absl::flat_hash_map<TenantId, v1::Tenant> tenants_;
  std::vector<DomainEntry> domains_;
  std::vector<uint32_t> free_domains_;
  absl::flat_hash_map<std::string, uint32_t> domain_slots_;
  absl::flat_hash_map<std::string, std::vector<std::string>> other_names_;  // of the domain they stand for
  AccountTable accounts_;
  absl::flat_hash_map<std::string, AliasInfo> aliases_;  // by address
  // By target: addresses of aliases, and domains with that catch-all. Sorted, so that subaddresses are side by side.
  using Backwards = absl::btree_map<std::string, std::vector<std::string>>;
  Backwards aliases_to_, catch_alls_to_;
  absl::btree_map<AccountId, DeletedInfo> deleted_;
  struct LostRows {
    std::string first, last;
  };
  absl::flat_hash_map<std::string, std::vector<LostRows>> lost_;  // by partition
  absl::flat_hash_set<std::string> settled_;  // partition, NUL, key; of rows in a range that stays lost
  size_t lost_count_ = 0;
  bool accounts_lost_ = false;
};

// The one of the two that permits less.
v1::Status Worse(v1::Status a, v1::Status b);

}  // namespace posthouse::directory
