// AdminFixture: Admin, Repository and Authenticator over the memory store, for tests.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "services/common/async/thread_pool.h"
#include "services/common/ids/ids.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/testing/memory_store.h"
#include "services/directory/admin.h"
#include "services/directory/authenticator.h"
#include "services/directory/key_schema.h"
#include "services/directory/login_cache.h"
#include "services/directory/metrics.h"
#include "services/directory/password_hash_limiter.h"
#include "services/directory/repository.h"

namespace posthouse::directory {

inline constexpr HashCost kCheap{64, 1};
inline const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
using Code = absl::StatusCode;
// A commit whose outcome cannot be read is given up at once.
inline const RepositoryOptions kOneTry{.patience = absl::ZeroDuration()};

class AdminFixture : public ::testing::Test {
 protected:
  AdminFixture() { Open(); }
  // A process that starts on what the disk has.
  void Open() { OpenWith(kOneTry); }
  void OpenPatient() { OpenWith(RepositoryOptions()); }
  void OpenWith(const RepositoryOptions& options) {
    admin_.reset();
    authenticator_.reset();
    repository_.reset();
    store_ = std::make_unique<store::MemoryStore>(disk_);
    store_->SetIncarnation(incarnation_);
    auto repository = SyncWait(Repository::Open(*store_, options));
    ASSERT_TRUE(repository.ok()) << repository.status();
    repository_ = *std::move(repository);
    AdminOptions admin{.cost = kCheap, .homes = Homes(homes_)};
    admin.clock = [this] { return absl::Now() + later_; };
    admin_ = std::make_unique<Admin>(*repository_, limiter_, cache_, metrics_, std::move(admin));
    authenticator_ = *Authenticator::Create(*repository_, limiter_, cache_, guesses_, metrics_, kCheap);
  }
  Code AddDomain(const std::string& name, const std::string& alias_of = "", const std::string& tenant = "") {
    v1::CreateDomainRequest request;
    request.mutable_domain()->set_domain(name);
    request.mutable_domain()->set_alias_of(alias_of);
    request.mutable_domain()->set_tenant(tenant);
    request.mutable_domain()->set_subaddress_separators("+");
    return SyncWait(admin_->CreateDomain(request)).status().code();
  }
  absl::StatusOr<v1::Account> AddAccount(const std::string& address, const std::string& password = "",
                                         const std::string& hash = "") {
    v1::CreateAccountRequest request;
    request.mutable_account()->set_address(address);
    if (!password.empty()) request.set_password(password);
    if (!hash.empty()) request.set_password_hash(hash);
    auto response = SyncWait(admin_->CreateAccount(request));
    if (!response.ok()) return response.status();
    return response->account();
  }
  absl::Status AddAlias(const std::string& address, const std::vector<std::string>& targets) {
    v1::CreateAliasRequest request;
    request.mutable_alias()->set_address(address);
    for (const std::string& target : targets) request.mutable_alias()->add_targets(target);
    return SyncWait(admin_->CreateAlias(request)).status();
  }
  Code Login(const std::string& user, const std::string& password, const std::string& client = "") {
    return SyncWait(authenticator_->Check(user, password, client, kNow)).status().code();
  }
  Code SetPassword(const std::string& address, const std::string& password) {
    v1::SetPasswordRequest request;
    request.set_address(address);
    request.set_password(password);
    return SyncWait(admin_->SetPassword(request)).status().code();
  }
  std::string StoredHash(const v1::Account& account) {
    store::ReadRequest read;
    read.partition = TenantPartition(TenantId(account.tenant()));
    read.keys.push_back(CredentialKey(AccountId(account.account_id())));
    const auto result = SyncWait(store_->Read(read));
    v1::CredentialRecord record;
    if (!result.ok() || !result->values[0] || !Decode(*result->values[0], &record).ok()) return "";
    return record.password_hash();
  }
  bool Exists(const std::string& address) {
    return repository_->Read([&](const Index& index) { return index.HasAccount(*ParseAddress(address)); });
  }

  std::vector<Home> homes_ = {Home()};
  absl::Duration later_;  // of the clock of lists
  std::shared_ptr<store::MemoryDisk> disk_ = std::make_shared<store::MemoryDisk>();
  ThreadPool pool_{2};
  metrics::Registry registry_;
  Metrics metrics_{registry_};
  PasswordHashLimiter limiter_{pool_, 2, 10};
  LoginCache cache_{absl::Minutes(10), 100};
  uint64_t incarnation_ = 0;
  GuessLimiter guesses_{{.per_address = 5, .per_network = 100, .per_account = 100, .window = absl::Minutes(10)}};
  std::unique_ptr<store::MemoryStore> store_;
  std::unique_ptr<Repository> repository_;
  std::unique_ptr<Admin> admin_;
  std::unique_ptr<Authenticator> authenticator_;
};

}  // namespace posthouse::directory
