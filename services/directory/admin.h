// Admin: the operators' changes and lists, as coroutines over Records. The gRPC
// service calls these one to one.
//
// Every change is validated under the writer's lock and is one commit. Errors name
// the field and what is allowed: kInvalidArgument (wrong and will stay wrong),
// kNotFound, kAlreadyExists, kFailedPrecondition (something is in the way, or
// this writer is fenced), kAborted (somebody changed the record first).
//
// Threads: any; password hashing runs behind the HashGate.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"
#include "services/directory/hash_gate.h"
#include "services/directory/login_cache.h"
#include "services/directory/password_hash.h"
#include "services/directory/records.h"

namespace posthouse::directory {

struct Metrics;

class Admin {
 public:
  // All outlive this.
  Admin(Records& records, HashGate& gate, LoginCache& cache, Metrics& metrics, HashCost cost)
      : records_(records), gate_(gate), cache_(cache), metrics_(metrics), cost_(cost) {}

  // admin_domains.cc
  Task<absl::StatusOr<v1::CreateTenantResponse>> CreateTenant(v1::CreateTenantRequest request);
  Task<absl::StatusOr<v1::UpdateTenantResponse>> UpdateTenant(v1::UpdateTenantRequest request);
  Task<absl::StatusOr<v1::ListTenantsResponse>> ListTenants(v1::ListTenantsRequest request);
  Task<absl::StatusOr<v1::CreateDomainResponse>> CreateDomain(v1::CreateDomainRequest request);
  Task<absl::StatusOr<v1::UpdateDomainResponse>> UpdateDomain(v1::UpdateDomainRequest request);
  Task<absl::StatusOr<v1::GetDomainResponse>> GetDomain(v1::GetDomainRequest request);
  Task<absl::StatusOr<v1::ListDomainsResponse>> ListDomains(v1::ListDomainsRequest request);
  Task<absl::StatusOr<v1::DeleteDomainResponse>> DeleteDomain(v1::DeleteDomainRequest request);

  // admin_accounts.cc
  Task<absl::StatusOr<v1::CreateAccountResponse>> CreateAccount(v1::CreateAccountRequest request);
  Task<absl::StatusOr<v1::UpdateAccountResponse>> UpdateAccount(v1::UpdateAccountRequest request);
  Task<absl::StatusOr<v1::GetAccountResponse>> GetAccount(v1::GetAccountRequest request);
  Task<absl::StatusOr<v1::ListAccountsResponse>> ListAccounts(v1::ListAccountsRequest request);
  Task<absl::StatusOr<v1::DeleteAccountResponse>> DeleteAccount(v1::DeleteAccountRequest request);
  Task<absl::StatusOr<v1::SetPasswordResponse>> SetPassword(v1::SetPasswordRequest request);

  // admin_aliases.cc
  Task<absl::StatusOr<v1::CreateAliasResponse>> CreateAlias(v1::CreateAliasRequest request);
  Task<absl::StatusOr<v1::UpdateAliasResponse>> UpdateAlias(v1::UpdateAliasRequest request);
  Task<absl::StatusOr<v1::ListAliasesResponse>> ListAliases(v1::ListAliasesRequest request);
  Task<absl::StatusOr<v1::DeleteAliasResponse>> DeleteAlias(v1::DeleteAliasRequest request);

 private:
  struct Page {
    std::vector<store::Row> rows;
    std::string next_token;
  };
  // Rows of `prefix` after the request's token.
  Task<absl::StatusOr<Page>> ReadPage(store::Partition partition, std::string prefix, common::v1::PageRequest request);
  Task<absl::StatusOr<v1::Account>> ReadAccount(Address address, std::string tenant);
  // The stored form of the secret: "" for none. `password` is hashed.
  Task<absl::StatusOr<std::string>> HashOf(bool has_password, std::string password, bool has_hash, std::string hash);
  Task<absl::Status> Commit(Transaction& transaction, store::Partition partition);
  absl::Status CheckDomain(const Index& index, const v1::Domain& domain) const;
  absl::StatusOr<v1::Alias> CheckedAlias(const Index& index, v1::Alias alias) const;

  Records& records_;
  HashGate& gate_;
  LoginCache& cache_;
  Metrics& metrics_;
  const HashCost cost_;
};

// ---- shared by the admin_*.cc files

absl::Status CheckStatus(v1::Status status);
absl::Status CheckDisplayName(absl::string_view name);
// An address of ours that may be created: its domain exists, is no other name of
// another, and belongs to `tenant` ("" = any).
absl::StatusOr<Address> CheckOwnAddress(const Index& index, const std::string& text, const std::string& tenant);
// kAborted when the caller edited an older record.
absl::Status CheckRevision(uint64_t given, uint64_t stored);
// 32 hex digits from the system's randomness.
std::string NewAccountId();

}  // namespace posthouse::directory
