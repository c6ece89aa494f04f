// Rows of the directory that cannot be read cost themselves: their names answer with a temporary
// failure, and all others go on.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "services/common/store/testing/store_with_hole.h"
#include "services/directory/lookup.h"
#include "services/directory/stored_rows.h"
#include "services/directory/testing/admin_fixture.h"

namespace posthouse::directory {
namespace {

using Outcome = LookupAnswer::Outcome;

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

// An account is its id: mail and password belong to that.
TEST_F(DamagedRecordsTest, AnAccountThatIsWrittenAnewKeepsItsMailAndItsPassword) {
  const std::string id = repository_->Read([](const Index& i) { return i.FindAccount(At("ann"))->account_id; });
  Damage(TenantPartition("default"), AccountKey(At("ann")));
  Open();
  // What needs the record says what to do.
  v1::DeleteAccountRequest deletion;
  deletion.set_address("ann@example.org");
  v1::GetAccountRequest get;
  get.set_address("ann@example.org");
  for (const absl::Status& status :
       {SyncWait(admin_->DeleteAccount(deletion)).status(), SyncWait(admin_->GetAccount(get)).status()}) {
    EXPECT_TRUE(absl::StrContains(status.message(), "posthousectl account add ann@example.org")) << status;
  }
  EXPECT_EQ(SetPassword("ann@example.org", "other"), Code::kFailedPrecondition);
  const absl::StatusOr<v1::Account> again = AddAccount("ann@example.org");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->account_id(), id);
  EXPECT_TRUE(again->has_password());
  EXPECT_EQ(Login("ann@example.org", "right"), Code::kOk);
  const auto deleted = SyncWait(admin_->DeleteAccount(deletion));
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->deleted().account().account_id(), id);  // so its mail is erased after the grace time
}

TEST_F(DamagedRecordsTest, WithoutTheLogTheCredentialNamesTheAccountAndElseTheAdministrator) {
  const std::string ann = repository_->Read([](const Index& i) { return i.FindAccount(At("ann"))->account_id; });
  const absl::StatusOr<v1::Account> dot = AddAccount("dot@example.org");  // without a password
  ASSERT_TRUE(dot.ok());
  const auto log = SyncWait(store_->Read({TenantPartition("default"), {}, kLogPrefix, "", store::kMaxPageRows}));
  ASSERT_TRUE(log.ok());
  for (const store::Row& row : log->page) {
    ASSERT_TRUE(SyncWait(store_->Commit({TenantPartition("default"), {}, {{row.key, std::nullopt}}})).ok());
  }
  for (const char* name : {"ann", "dot"}) Damage(TenantPartition("default"), AccountKey(At(name)));
  Open();
  const absl::StatusOr<v1::Account> again = AddAccount("ann@example.org", "new");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->account_id(), ann);
  EXPECT_EQ(Login("ann@example.org", "new"), Code::kOk);
  const absl::Status unknown = AddAccount("dot@example.org").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(unknown)) << unknown;
  EXPECT_TRUE(absl::StrContains(unknown.message(), "--account-id")) << unknown;
  const auto with_id = [&](const std::string& id) {
    v1::CreateAccountRequest request;
    request.mutable_account()->set_address("dot@example.org");
    request.mutable_account()->set_account_id(id);
    return SyncWait(admin_->CreateAccount(request));
  };
  EXPECT_EQ(with_id("7").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(with_id(ann).status().code(), Code::kAlreadyExists);
  const auto restored = with_id(dot->account_id());
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->account().account_id(), dot->account_id());
  EXPECT_FALSE(restored->account().has_password());
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

// For posthousectl check store.
TEST_F(DamagedRecordsTest, RowsThatDoNotParseAreNamed) {
  const auto bad = [this] {
    std::vector<std::string> keys;
    for (const store::Partition& partition : {SystemPartition(), TenantPartition("default")}) {
      const auto rows = SyncWait(store_->Read({partition, {}, "", "", store::kMaxPageRows}));
      for (const store::Row& row : rows->page) {
        if (!CheckStoredRow(partition, row.key, row.value).ok()) keys.push_back(row.key);
      }
    }
    return keys;
  };
  EXPECT_TRUE(bad().empty());
  Damage(TenantPartition("default"), AccountKey(At("ann")));
  Damage(TenantPartition("default"), AliasKey(At("team")));
  Damage(TenantPartition("default"), kHeadKey);
  Damage(SystemPartition(), DomainKey("example.org"));
  EXPECT_EQ(bad(), (std::vector<std::string>{DomainKey("example.org"), kHeadKey, AccountKey(At("ann")),
                                             AliasKey(At("team"))}));
  EXPECT_TRUE(CheckStoredRow({"", "mailbox"}, kHeadKey, "anything").ok());
}

// A head says who may write and which revision is next: both begin at the present time.
TEST_F(DamagedRecordsTest, DamagedHeadsAreMadeAnew) {
  const uint64_t before = repository_->feed().revision();
  for (const std::vector<store::Partition>& damaged : std::vector<std::vector<store::Partition>>{
           {TenantPartition("default")}, {SystemPartition()}, {SystemPartition(), TenantPartition("default")}}) {
    for (const store::Partition& partition : damaged) Damage(partition, kHeadKey);
    Open();
    EXPECT_EQ(Ask("bob@example.org"), Outcome::kFound);
    EXPECT_EQ(Login("bob@example.org", "right"), Code::kOk);
    EXPECT_GT(repository_->feed().revision(), before);
    EXPECT_TRUE(absl::IsOutOfRange(repository_->feed().Subscribe(before, false).status()));
    EXPECT_TRUE(
        AddAlias(absl::StrCat("alias", repository_->feed().revision(), "@example.org"), {"bob@example.org"}).ok());
  }
  Open();
  EXPECT_TRUE(AddAccount("dot@example.org").ok());
  store::StoreWithHole hole(*store_, kHeadKey, kHeadKey);
  const auto repository = SyncWait(Repository::Open(hole, kOneTry));
  ASSERT_TRUE(repository.ok()) << repository.status();
  EXPECT_EQ(Ask(**repository, "bob@example.org"), Outcome::kFound);
}

TEST_F(DamagedRecordsTest, ADamagedBlockCostsTheRecordsInIt) {
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(AddAccount(absl::StrCat("u", 100 + i, "@example.org")).ok());
  store::StoreWithHole hole(*store_, AccountKey(At("u110")), AccountKey(At("u119")));
  const auto repository = SyncWait(Repository::Open(hole, kOneTry));
  ASSERT_TRUE(repository.ok()) << repository.status();
  for (int i = 10; i < 20; ++i)
    EXPECT_EQ(Ask(**repository, absl::StrCat("u", 100 + i, "@example.org")), Outcome::kSuspended);
  for (const char* name : {"ann", "bob", "team", "u100", "u109", "u120", "u139"}) {
    EXPECT_EQ(Ask(**repository, absl::StrCat(name, "@example.org")), Outcome::kFound) << name;
  }
  EXPECT_EQ(Ask(**repository, "nobody@example.org"), Outcome::kNoSuchAddress);
  EXPECT_EQ(Ask(**repository, "u115x@example.org"), Outcome::kSuspended) << "it may have been there";
  EXPECT_LT(hole.reads(), 100);
}

}  // namespace
}  // namespace posthouse::directory
