// Admin: the operators' changes and lists, as coroutines over Repository. The gRPC
// service calls them one to one.
//
// A change is decided by a function of record_edit.h, in the writer's turn, and is one
// commit; only DeleteDomain with its addresses is several. Errors are the decider's (record_edit.h
// says which) and the repository's.
//
// Threads: any; password hashing runs behind the PasswordHashLimiter.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "posthouse/directory/v1/store.pb.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/common/store/store.h"
#include "services/directory/account_edit.h"
#include "services/directory/homes.h"
#include "services/directory/login_cache.h"
#include "services/directory/password_hash.h"
#include "services/directory/password_hash_limiter.h"
#include "services/directory/record_edit.h"
#include "services/directory/repository.h"

namespace posthouse::directory {

struct Metrics;

struct AdminOptions {
  HashCost cost;
  Homes homes{{Home()}};                                           // at the start
  absl::Duration deleted_account_grace = absl::Hours(24 * 7);      // between a deletion and the erasure of the mail
  std::function<absl::Time()> clock = [] { return absl::Now(); };  // for lists; a change has its stamp
};

class Admin {
 public:
  // All outlive this.
  Admin(Repository& repository, PasswordHashLimiter& limiter, LoginCache& cache, Metrics& metrics, AdminOptions options)
      : repository_(repository),
        limiter_(limiter),
        cache_(cache),
        metrics_(metrics),
        options_(std::move(options)),
        homes_(std::make_shared<const Homes>(options_.homes)) {}

  // The stores that accounts may name from now on.
  void SetHomes(Homes homes);

  Task<absl::StatusOr<v1::CreateTenantResponse>> CreateTenant(v1::CreateTenantRequest request);
  Task<absl::StatusOr<v1::UpdateTenantResponse>> UpdateTenant(v1::UpdateTenantRequest request);
  Task<absl::StatusOr<v1::ListTenantsResponse>> ListTenants(v1::ListTenantsRequest request);
  Task<absl::StatusOr<v1::CreateDomainResponse>> CreateDomain(v1::CreateDomainRequest request);
  Task<absl::StatusOr<v1::UpdateDomainResponse>> UpdateDomain(v1::UpdateDomainRequest request);
  Task<absl::StatusOr<v1::GetDomainResponse>> GetDomain(v1::GetDomainRequest request);
  Task<absl::StatusOr<v1::ListDomainsResponse>> ListDomains(v1::ListDomainsRequest request);
  Task<absl::StatusOr<v1::DeleteDomainResponse>> DeleteDomain(v1::DeleteDomainRequest request);

  Task<absl::StatusOr<v1::CreateAccountResponse>> CreateAccount(v1::CreateAccountRequest request);
  Task<absl::StatusOr<v1::UpdateAccountResponse>> UpdateAccount(v1::UpdateAccountRequest request);
  Task<absl::StatusOr<v1::GetAccountResponse>> GetAccount(v1::GetAccountRequest request);
  Task<absl::StatusOr<v1::ListAccountsResponse>> ListAccounts(v1::ListAccountsRequest request);
  // ---- deletion and erasure of accounts (admin_deletion.cc)
  Task<absl::StatusOr<v1::DeleteAccountResponse>> DeleteAccount(v1::DeleteAccountRequest request);
  Task<absl::StatusOr<v1::UndeleteAccountResponse>> UndeleteAccount(v1::UndeleteAccountRequest request);
  Task<absl::StatusOr<v1::ListDeletedAccountsResponse>> ListDeletedAccounts(v1::ListDeletedAccountsRequest request);
  Task<absl::StatusOr<v1::ReportErasureResponse>> ReportErasure(v1::ReportErasureRequest request);
  Task<absl::StatusOr<v1::SetPasswordResponse>> SetPassword(v1::SetPasswordRequest request);

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
  Task<absl::StatusOr<v1::Account>> ReadAccount(Address address, TenantId tenant);
  struct Scope {
    TenantId tenant;
    std::string prefix;
  };
  absl::StatusOr<Scope> ScopeOf(const TenantId& tenant, const std::string& domain, const std::string& whole,
                                std::string (*domain_prefix)(absl::string_view)) const;
  // False: there is no such row, or it is damaged.
  Task<absl::StatusOr<bool>> ReadIfWhole(store::Partition partition, std::string key,
                                         google::protobuf::MessageLite* record);
  // The rows of an account that is about to be deleted.
  Task<absl::StatusOr<v1::DeletedAccountRecord>> ReadForDeletion(AccountInfo account,
                                                                 std::optional<Address> postmaster);
  Task<absl::StatusOr<v1::DeletedAccountRecord>> ReadDeleted(AccountId account, TenantId tenant);
  Task<absl::StatusOr<v1::DeleteAccountResponse>> EndGrace(std::string address);
  // Deletes some accounts and aliases of the domain in one commit. False: it has none.
  Task<absl::StatusOr<bool>> DeleteSomeAddresses(std::string domain, bool erase_now, v1::DeleteDomainResponse& counts);
  // ---- accounts whose record is damaged (admin_lost.cc)
  // The account of that address, by the log and the credentials. Nothing: no row names it.
  Task<absl::StatusOr<std::optional<LostAccount>>> FindLost(const Index& index, Address address);
  // The account that a request writes anew; nothing: a new one. `account_id`: as in the request.
  Task<absl::StatusOr<std::optional<LostAccount>>> WhichLost(const Index& index, Address address,
                                                             std::string account_id);
  Task<bool> HasPassword(store::Partition partition, AccountId account);
  // The stored form of the secret: "" for none. `password` is hashed.
  Task<absl::StatusOr<std::string>> HashOf(bool has_password, std::string password, bool has_hash, std::string hash);
  Task<absl::Status> Commit(Repository::Turn& turn, absl::StatusOr<RecordEdit> edit);

  Repository& repository_;
  PasswordHashLimiter& limiter_;
  LoginCache& cache_;
  Metrics& metrics_;
  const AdminOptions options_;
  std::shared_ptr<const Homes> homes() const;
  mutable absl::Mutex homes_mutex_;
  std::shared_ptr<const Homes> homes_ ABSL_GUARDED_BY(homes_mutex_);
};

}  // namespace posthouse::directory
