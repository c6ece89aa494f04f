// Rows of the directory that cannot be read cost themselves: their names answer with a temporary
// failure, and all others go on.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "services/common/status/status.h"
#include "services/directory/lookup.h"
#include "services/directory/testing/admin_fixture.h"

namespace posthouse::directory {
namespace {

using Outcome = LookupAnswer::Outcome;

// A store with a damaged block: a page that meets a key from `first` to `last` is kDataLoss.
class StoreWithHole final : public store::Store {
 public:
  StoreWithHole(store::Store& store, std::string first, std::string last)
      : store_(store), first_(std::move(first)), last_(std::move(last)) {}
  Task<absl::StatusOr<store::ReadResult>> Read(store::ReadRequest request) override {
    const size_t limit = request.limit;
    const std::string begin = std::max(request.prefix, request.after);
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult result, co_await store_.Read(std::move(request)));
    if (limit == 0) co_return result;
    // A cursor finds where it begins by reading the block, too.
    const bool meets = begin <= last_ && !(result.more && result.page.back().key < first_) &&
                       (begin >= first_ || (!result.page.empty() && result.page.back().key >= first_));
    if (meets) co_return absl::DataLossError("block checksum mismatch");
    co_return result;
  }
  Task<absl::Status> Commit(store::CommitRequest request) override { return store_.Commit(std::move(request)); }
  Task<absl::Status> Drop(store::Partition partition) override { return store_.Drop(std::move(partition)); }
  Task<absl::StatusOr<std::vector<store::Partition>>> List(std::string tenant, std::string prefix, std::string after,
                                                           size_t limit) override {
    return store_.List(std::move(tenant), std::move(prefix), std::move(after), limit);
  }
  Task<absl::StatusOr<store::CapacityInfo>> Capacity() override { return store_.Capacity(); }
  absl::Status Health() override { return store_.Health(); }
  store::EngineLimits Limits() const override { return store_.Limits(); }
  store::BlobStore& blobs() override { return store_.blobs(); }

 private:
  store::Store& store_;
  const std::string first_, last_;
};

class DamagedRecordsTest : public AdminFixture {
 protected:
  DamagedRecordsTest() {
    EXPECT_EQ(AddDomain("example.org"), Code::kOk);
    for (const char* name : {"ann", "bob", "cid"}) {
      EXPECT_TRUE(AddAccount(absl::StrCat(name, "@example.org"), "right").ok());
    }
    EXPECT_TRUE(AddAlias("team@example.org", {"bob@example.org"}).ok());
    EXPECT_TRUE(AddAlias("staff@example.org", {"ann@example.org"}).ok());
  }
  static Address At(const std::string& local, const std::string& domain = "example.org") { return {local, domain}; }
  void Damage(const store::Partition& partition, const std::string& key) {
    ASSERT_TRUE(SyncWait(store_->Commit({partition, {}, {{key, "\x01\xff\xff not a record"}}})).ok());
  }
  Outcome Ask(const std::string& address) { return Ask(*repository_, address); }
  static Outcome Ask(const Repository& repository, const std::string& address) {
    return repository.Read([&](const Index& index) { return Lookup(index, address, "mail.example.org"); })->outcome;
  }
  Code Get(const std::string& address) {
    v1::GetAccountRequest request;
    request.set_address(address);
    return SyncWait(admin_->GetAccount(request)).status().code();
  }
};

TEST_F(DamagedRecordsTest, ADamagedAccountIsATemporaryFailureAndTheOthersGoOn) {
  v1::GetAccountRequest by_id;
  by_id.set_account_id(repository_->Read([](const Index& i) { return i.FindAccount(At("ann"))->account_id; }));
  Damage(TenantPartition("default"), AccountKey(At("ann")));
  Open();
  EXPECT_EQ(Ask("ann@example.org"), Outcome::kSuspended);
  EXPECT_EQ(Ask("ann+list@example.org"), Outcome::kSuspended);
  EXPECT_EQ(Ask("staff@example.org"), Outcome::kSuspended);
  EXPECT_EQ(Login("ann@example.org", "right"), Code::kUnavailable);
  EXPECT_EQ(Login("ann@example.org", "wrong"), Code::kUnavailable);
  EXPECT_EQ(Get("ann@example.org"), Code::kUnavailable);
  EXPECT_EQ(SyncWait(admin_->GetAccount(by_id)).status().code(), Code::kUnavailable);
  EXPECT_EQ(Ask("bob@example.org"), Outcome::kFound);
  EXPECT_EQ(Ask("team@example.org"), Outcome::kFound);
  EXPECT_EQ(Login("bob@example.org", "right"), Code::kOk);
  EXPECT_EQ(Ask("nobody@example.org"), Outcome::kNoSuchAddress);
  EXPECT_EQ(repository_->Read([](const Index& index) { return index.lost(); }), 1u);
  const auto list = SyncWait(admin_->ListAccounts({}));
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->accounts_size(), 2);
  // An administrator writes over it.
  EXPECT_TRUE(AddAccount("ann@example.org", "right").ok());
  EXPECT_EQ(Ask("staff@example.org"), Outcome::kFound);
  Open();
  EXPECT_EQ(repository_->Read([](const Index& index) { return index.lost(); }), 0u);
  EXPECT_EQ(Login("ann@example.org", "right"), Code::kOk);
}

TEST_F(DamagedRecordsTest, ADamagedAliasDomainOrTenantIsATemporaryFailure) {
  ASSERT_EQ(AddDomain("second.example"), Code::kOk);
  ASSERT_TRUE(AddAccount("eve@second.example", "right").ok());
  Damage(TenantPartition("default"), AliasKey(At("team")));
  Damage(SystemPartition(), DomainKey("second.example"));
  Open();
  EXPECT_EQ(Ask("team@example.org"), Outcome::kSuspended);
  EXPECT_EQ(Ask("eve@second.example"), Outcome::kSuspended);  // not foreign: it would be refused as a relay
  EXPECT_EQ(Login("eve@second.example", "right"), Code::kUnavailable);
  EXPECT_EQ(Ask("x@elsewhere.example"), Outcome::kNotLocal);
  EXPECT_EQ(Ask("bob@example.org"), Outcome::kFound);
  // The domain is made again: its account is not unknown, and is there after a restart.
  ASSERT_EQ(AddDomain("second.example"), Code::kOk);
  EXPECT_EQ(Ask("eve@second.example"), Outcome::kSuspended);
  Open();
  EXPECT_EQ(Ask("eve@second.example"), Outcome::kFound);
  Damage(SystemPartition(), TenantKey("default"));
  Open();
  EXPECT_EQ(Ask("bob@example.org"), Outcome::kSuspended);
  EXPECT_EQ(Login("bob@example.org", "right"), Code::kUnavailable);
}

TEST_F(DamagedRecordsTest, ADamagedLogMakesWatchersStartAgain) {
  const uint64_t before = repository_->feed().revision();
  Damage(TenantPartition("default"), LogKey(before));
  Open();
  EXPECT_EQ(Ask("bob@example.org"), Outcome::kFound);
  EXPECT_TRUE(absl::IsOutOfRange(repository_->feed().Subscribe(before - 1, false).status()));
  EXPECT_TRUE(AddAccount("dot@example.org").ok());
}

TEST_F(DamagedRecordsTest, ADamagedBlockCostsTheRecordsInIt) {
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(AddAccount(absl::StrCat("u", 100 + i, "@example.org")).ok());
  StoreWithHole hole(*store_, AccountKey(At("u110")), AccountKey(At("u119")));
  const auto repository = SyncWait(Repository::Open(hole, kOneTry));
  ASSERT_TRUE(repository.ok()) << repository.status();
  for (int i = 10; i < 20; ++i)
    EXPECT_EQ(Ask(**repository, absl::StrCat("u", 100 + i, "@example.org")), Outcome::kSuspended);
  for (const char* name : {"ann", "bob", "team", "u100", "u108", "u121", "u139"}) {
    EXPECT_EQ(Ask(**repository, absl::StrCat(name, "@example.org")), Outcome::kFound) << name;
  }
  EXPECT_EQ(Ask(**repository, "nobody@example.org"), Outcome::kNoSuchAddress);
  EXPECT_EQ(Ask(**repository, "u115x@example.org"), Outcome::kSuspended) << "it may have been there";
}

}  // namespace
}  // namespace posthouse::directory
