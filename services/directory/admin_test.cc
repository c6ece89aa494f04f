// Changes, lists and logins.
#include "services/directory/admin.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/directory/key_schema.h"
#include "services/directory/lookup.h"
#include "services/directory/testing/admin_fixture.h"

namespace posthouse::directory {
namespace {

class AdminTest : public AdminFixture {};

// What an open session asks for after a change (live_sessions.h).
TEST_F(AdminTest, AnAccountIsToldWithItsStatusItsPasswordAndItsSenderAddresses) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  const v1::Account bob = *AddAccount("bob@example.org", "secret");
  v1::GetAccountRequest request;
  request.set_account_id(bob.account_id());
  const auto before = SyncWait(admin_->GetAccount(request));
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ(before->effective_status(), v1::STATUS_ACTIVE);
  EXPECT_EQ(before->account().credential_revision(), 0u);
  EXPECT_EQ(before->may_send_as_size(), 1);

  ASSERT_TRUE(AddAlias("sales@example.org", {"bob@example.org"}).ok());
  ASSERT_EQ(SetPassword("bob@example.org", "another"), Code::kOk);
  v1::UpdateDomainRequest suspend;
  suspend.mutable_domain()->set_domain("example.org");
  suspend.mutable_domain()->set_status(v1::STATUS_SUSPENDED);
  ASSERT_TRUE(SyncWait(admin_->UpdateDomain(suspend)).ok());
  const auto after = SyncWait(admin_->GetAccount(request));
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->effective_status(), v1::STATUS_SUSPENDED);
  EXPECT_EQ(after->account().credential_revision(), after->account().revision());
  ASSERT_EQ(after->may_send_as_size(), 2);
  EXPECT_EQ(after->may_send_as(1), "sales@example.org");
}

TEST_F(AdminTest, WhatWasMadeIsThereAfterARestart) {
  ASSERT_EQ(AddDomain("Example.ORG"), Code::kOk);
  const absl::StatusOr<v1::Account> bob = AddAccount("Bob@Example.org", "secret");
  ASSERT_TRUE(bob.ok()) << bob.status();
  EXPECT_EQ(bob->address(), "bob@example.org");
  EXPECT_EQ(bob->tenant(), "default");
  EXPECT_EQ(bob->account_id().size(), 32u);
  ASSERT_TRUE(AddAlias("info@example.org", {"bob@example.org", "bob@example.org", "X@Example.NET"}).ok());
  const uint64_t revision = repository_->feed().revision();
  Open();
  EXPECT_EQ(repository_->feed().revision(), revision);
  EXPECT_EQ(Login("bob@example.org", "secret"), Code::kOk);
  const auto answer = repository_->Read([](const Index& index) { return Lookup(index, "info@example.org", "h"); });
  ASSERT_TRUE(answer.ok());
  ASSERT_EQ(answer->targets.size(), 2u);
  EXPECT_EQ(answer->targets[0].account->account_id.value(), bob->account_id());
  EXPECT_EQ(answer->targets[1].address.ToString(), "X@example.net");
}

TEST_F(AdminTest, NamesAreTakenOnce) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  EXPECT_EQ(AddDomain("EXAMPLE.org"), Code::kAlreadyExists);
  ASSERT_TRUE(AddAccount("bob@example.org").ok());
  EXPECT_EQ(AddAccount("BOB@example.org").status().code(), Code::kAlreadyExists);
  EXPECT_EQ(AddAlias("bob@example.org", {"x@example.net"}).code(), Code::kAlreadyExists);
  ASSERT_TRUE(AddAlias("info@example.org", {"bob@example.org"}).ok());
  EXPECT_EQ(AddAlias("info@example.org", {"bob@example.org"}).code(), Code::kAlreadyExists);
  EXPECT_EQ(AddAccount("info@example.org").status().code(), Code::kAlreadyExists);
}

TEST_F(AdminTest, MistakesAreNamed) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  EXPECT_EQ(AddDomain("exa mple.org"), Code::kInvalidArgument);
  EXPECT_EQ(AddDomain("example.net", "", "nobody"), Code::kNotFound);
  EXPECT_EQ(AddDomain("example.net", "nowhere.example"), Code::kNotFound);
  EXPECT_EQ(AddDomain("example.net", "example.net"), Code::kNotFound);
  EXPECT_EQ(AddDomain("example.com", "example.org"), Code::kOk);
  EXPECT_EQ(AddDomain("example.net", "example.com"), Code::kInvalidArgument);
  EXPECT_EQ(AddAccount("bob").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(AddAccount("bob@example.net").status().code(), Code::kNotFound);
  EXPECT_EQ(AddAccount("bob@example.com").status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(AddAccount("bob@example.org", "", "{NO}x").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(AddAlias("a@example.org", {}).code(), Code::kInvalidArgument);
  EXPECT_EQ(AddAlias("a@example.org", {"nonsense"}).code(), Code::kInvalidArgument);
  ASSERT_TRUE(AddAlias("b@example.org", {"a@example.org"}).ok());
  const absl::Status loop = AddAlias("a@example.org", {"b@example.org"});
  EXPECT_EQ(loop.message(), "targets: these aliases form a loop: a@example.org -> b@example.org -> a@example.org");
  EXPECT_EQ(SetPassword("nobody@example.org", "x"), Code::kNotFound);
}

TEST_F(AdminTest, DomainsInUseStay) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_EQ(AddDomain("example.com", "example.org"), Code::kOk);
  ASSERT_TRUE(AddAccount("bob@example.org").ok());
  const auto remove = [this](const std::string& name) {
    v1::DeleteDomainRequest request;
    request.set_domain(name);
    return SyncWait(admin_->DeleteDomain(request)).status().code();
  };
  EXPECT_EQ(remove("example.org"), Code::kFailedPrecondition);
  v1::DeleteAccountRequest account;
  account.set_address("bob@example.org");
  ASSERT_TRUE(SyncWait(admin_->DeleteAccount(account)).ok());
  EXPECT_EQ(SyncWait(admin_->DeleteAccount(account)).status().code(), Code::kNotFound);
  EXPECT_EQ(remove("example.org"), Code::kFailedPrecondition);  // example.com still leads here
  EXPECT_EQ(remove("example.com"), Code::kOk);
  EXPECT_EQ(remove("example.org"), Code::kOk);
  EXPECT_EQ(remove("example.org"), Code::kNotFound);
  Open();
  EXPECT_EQ(repository_->Read([](const Index& index) { return index.domains(); }), 0u);
}

TEST_F(AdminTest, AnUpdateOfAnOldRevisionIsRefused) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  v1::Account bob = *AddAccount("bob@example.org");
  v1::UpdateAccountRequest request;
  *request.mutable_account() = bob;
  request.mutable_account()->set_display_name("Bob");
  const auto updated = SyncWait(admin_->UpdateAccount(request));
  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_GT(updated->account().revision(), bob.revision());
  EXPECT_EQ(SyncWait(admin_->UpdateAccount(request)).status().code(), Code::kAborted);
  request.mutable_account()->set_revision(0);
  EXPECT_TRUE(SyncWait(admin_->UpdateAccount(request)).ok());
  request.mutable_account()->set_address("eve@example.org");
  EXPECT_EQ(SyncWait(admin_->UpdateAccount(request)).status().code(), Code::kInvalidArgument);
}

TEST_F(AdminTest, ListsComeInPagesAndDomainsApart) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_EQ(AddDomain("example.org.uk"), Code::kOk);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(AddAccount(absl::StrCat("u", i, "@example.org")).ok());
  ASSERT_TRUE(AddAccount("other@example.org.uk").ok());
  std::vector<std::string> found;
  v1::ListAccountsRequest request;
  request.set_domain("example.org");
  request.mutable_page()->set_page_size(2);
  int pages = 0;
  do {
    const auto response = SyncWait(admin_->ListAccounts(request));
    ASSERT_TRUE(response.ok()) << response.status();
    for (const v1::Account& account : response->accounts()) found.push_back(account.address());
    request.mutable_page()->set_page_token(response->page().next_page_token());
    ++pages;
  } while (!request.page().page_token().empty());
  EXPECT_EQ(absl::StrJoin(found, " "), "u0@example.org u1@example.org u2@example.org u3@example.org u4@example.org");
  EXPECT_EQ(pages, 3);
  request.mutable_page()->set_page_token("nonsense");
  EXPECT_EQ(SyncWait(admin_->ListAccounts(request)).status().code(), Code::kInvalidArgument);
  v1::ListAccountsRequest all;
  EXPECT_EQ(SyncWait(admin_->ListAccounts(all))->accounts_size(), 6);
}

TEST_F(AdminTest, LoginsAreProvenAndRefused) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  v1::Account bob = *AddAccount("bob@example.org", "secret");
  ASSERT_TRUE(AddAccount("mute@example.org").ok());
  EXPECT_EQ(Login("BOB@example.org", "secret"), Code::kOk);
  EXPECT_EQ(Login("bob@example.org", "Secret"), Code::kUnauthenticated);
  EXPECT_EQ(Login("bob@example.org", ""), Code::kUnauthenticated);
  EXPECT_EQ(Login("bob@example.org", std::string("secret\0", 7)), Code::kUnauthenticated);
  EXPECT_EQ(Login("eve@example.org", "secret"), Code::kUnauthenticated);
  EXPECT_EQ(Login("mute@example.org", "secret"), Code::kUnauthenticated);
  v1::UpdateAccountRequest request;
  *request.mutable_account() = bob;
  request.mutable_account()->set_revision(0);
  request.mutable_account()->set_status(v1::STATUS_SUSPENDED);
  ASSERT_TRUE(SyncWait(admin_->UpdateAccount(request)).ok());
  EXPECT_EQ(Login("bob@example.org", "secret"), Code::kPermissionDenied);
  EXPECT_EQ(Login("bob@example.org", "wrong"), Code::kUnauthenticated);
  request.mutable_account()->set_status(v1::STATUS_FROZEN);
  ASSERT_TRUE(SyncWait(admin_->UpdateAccount(request)).ok());
  EXPECT_EQ(Login("bob@example.org", "secret"), Code::kUnavailable);
  EXPECT_EQ(metrics_.logins_wrong.Value(), 6);
  EXPECT_EQ(metrics_.logins_refused.Value(), 1);
}

TEST_F(AdminTest, ANewPasswordEndsTheOldOneAtOnce) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_TRUE(AddAccount("bob@example.org", "one").ok());
  ASSERT_EQ(Login("bob@example.org", "one"), Code::kOk);
  ASSERT_EQ(Login("bob@example.org", "one"), Code::kOk);
  EXPECT_EQ(metrics_.logins_cached.Value(), 1);
  ASSERT_EQ(SetPassword("bob@example.org", "two"), Code::kOk);
  EXPECT_EQ(Login("bob@example.org", "one"), Code::kUnauthenticated);
  EXPECT_EQ(Login("bob@example.org", "two"), Code::kOk);
}

TEST_F(AdminTest, WithoutAPasswordNobodyLogsInUntilThereIsANewOne) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  const auto bob = AddAccount("bob@example.org", "one");
  ASSERT_TRUE(bob.ok()) << bob.status();
  ASSERT_EQ(Login("bob@example.org", "one"), Code::kOk);
  v1::SetPasswordRequest request;
  request.set_address("Bob@example.org");
  EXPECT_EQ(SyncWait(admin_->SetPassword(request)).status().code(), Code::kInvalidArgument);
  request.set_password("");
  EXPECT_EQ(SyncWait(admin_->SetPassword(request)).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Login("bob@example.org", "one"), Code::kOk);

  const uint64_t before = repository_->feed().revision();
  for (int n = 0; n < 2; ++n) {  // also when there is none
    request.set_password_hash("");
    EXPECT_TRUE(SyncWait(admin_->SetPassword(request)).ok());
    EXPECT_EQ(Login("bob@example.org", "one"), Code::kUnauthenticated);
    EXPECT_EQ(StoredHash(*bob), "");
  }
  v1::GetAccountRequest get;
  get.set_account_id(bob->account_id());
  const auto shown = SyncWait(admin_->GetAccount(get));
  ASSERT_TRUE(shown.ok()) << shown.status();
  EXPECT_FALSE(shown->account().has_password());
  EXPECT_GT(shown->account().credential_revision(), before);  // open sessions end (live_sessions.h)
  Open();
  EXPECT_EQ(Login("bob@example.org", "one"), Code::kUnauthenticated);
  ASSERT_EQ(SetPassword("bob@example.org", "two"), Code::kOk);
  EXPECT_EQ(Login("bob@example.org", "two"), Code::kOk);
}

TEST_F(AdminTest, AnOldFormIsReplacedAtLogin) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  const auto bob = AddAccount("bob@example.org", "", "{SSHA}n2Hg/1vU7LzJpHATRozP9FLjnA9OYUNs");
  ASSERT_TRUE(bob.ok()) << bob.status();
  EXPECT_EQ(Login("bob@example.org", "wrong"), Code::kUnauthenticated);
  EXPECT_EQ(StoredHash(*bob)[0], '{');
  EXPECT_EQ(Login("bob@example.org", "p\xC3\xA4ssword 1"), Code::kOk);
  EXPECT_EQ(StoredHash(*bob).rfind("$argon2id$", 0), 0u);
  cache_.Forget(AccountId(bob->account_id()));
  EXPECT_EQ(Login("bob@example.org", "p\xC3\xA4ssword 1"), Code::kOk);
  EXPECT_EQ(metrics_.rehashed.Value(), 1);
}

TEST_F(AdminTest, AStoreThatIsAwayIsATemporaryFailure) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_TRUE(AddAccount("bob@example.org", "one").ok());
  disk_->SetReadError(absl::UnavailableError("away"));
  EXPECT_EQ(Login("bob@example.org", "one"), Code::kUnavailable);
  EXPECT_EQ(Login("eve@example.org", "one"), Code::kUnavailable);  // tells nobody who exists
  disk_->SetReadError(absl::OkStatus());
  EXPECT_EQ(Login("bob@example.org", "one"), Code::kOk);
}

// The writer that was replaced cannot change anything any more.
TEST_F(AdminTest, AnOldWriterIsFenced) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  store::MemoryStore second_store(disk_);
  auto second = SyncWait(Repository::Open(second_store, kOneTry));
  ASSERT_TRUE(second.ok());
  EXPECT_FALSE(AddAccount("bob@example.org").ok());
  EXPECT_TRUE(repository_->fenced());
  EXPECT_EQ(AddDomain("example.net"), Code::kFailedPrecondition);
  EXPECT_FALSE((*second)->Read([](const Index& index) { return index.HasAccount({"bob", "example.org"}); }));
}

// The store does not know whether the commit happened: it is looked up, and sent again if not.
TEST_F(AdminTest, AnUnknownCommitIsFoundOut) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  OpenPatient();
  for (const bool happened : {true, false}) {
    int commits = 0;
    disk_->SetCommitHook([&](const store::CommitRequest&, bool* apply_anyway) {
      if (++commits > 1) return absl::OkStatus();
      *apply_anyway = happened;
      return absl::DeadlineExceededError("who knows");
    });
    const std::string address = happened ? "yes@example.org" : "no@example.org";
    EXPECT_TRUE(AddAccount(address).ok());
    EXPECT_TRUE(Exists(address));
    EXPECT_EQ(commits, happened ? 1 : 2);
    disk_->SetCommitHook(nullptr);
    ASSERT_TRUE(AddAccount(absl::StrCat("next-", address)).ok());
  }
}

TEST_F(AdminTest, ACommitInDoubtIsSettledBeforeTheNextChange) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_TRUE(AddAccount("ann@example.org").ok());  // the partition is in memory
  disk_->SetCommitHook([](const store::CommitRequest&, bool* apply_anyway) {
    *apply_anyway = true;
    return absl::DeadlineExceededError("who knows");
  });
  disk_->SetReadError(absl::UnavailableError("away"));
  EXPECT_FALSE(AddAccount("bob@example.org").ok());
  EXPECT_FALSE(Exists("bob@example.org"));
  disk_->SetCommitHook(nullptr);
  EXPECT_EQ(AddAccount("eve@example.org").status().code(), Code::kUnavailable);
  disk_->SetReadError(absl::OkStatus());
  EXPECT_EQ(AddAccount("bob@example.org").status().code(), Code::kAlreadyExists);
  EXPECT_TRUE(Exists("bob@example.org"));
  EXPECT_FALSE(repository_->fenced());
}

TEST_F(AdminTest, AFullStoreChangesNothing) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  disk_->SetCommitHook([](const store::CommitRequest&, bool*) { return absl::ResourceExhaustedError("full"); });
  EXPECT_EQ(AddAccount("bob@example.org").status().code(), Code::kResourceExhausted);
  EXPECT_FALSE(Exists("bob@example.org"));
  disk_->SetCommitHook(nullptr);
  EXPECT_TRUE(AddAccount("bob@example.org").ok());
}

TEST_F(AdminTest, WatchersSeeEveryChangeOnceAlsoAfterARestart) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  auto watcher = *repository_->feed().Subscribe(0, false);
  const auto drain = [](ChangeFeed::Subscription& w) {
    std::vector<std::string> names;
    auto records = SyncWait(w.Next(100, absl::ZeroDuration()));
    EXPECT_TRUE(records.ok());
    if (!records.ok()) return names;
    for (const v1::ChangeRecord& record : *records) {
      for (const v1::Change& change : record.changes()) names.push_back(change.name());
    }
    return names;
  };
  EXPECT_EQ(absl::StrJoin(drain(*watcher), " "), "default example.org");
  ASSERT_TRUE(AddAccount("bob@example.org", "one").ok());
  ASSERT_EQ(SetPassword("bob@example.org", "two"), Code::kOk);
  EXPECT_EQ(absl::StrJoin(drain(*watcher), " "), "bob@example.org bob@example.org");
  const uint64_t position = watcher->position();
  watcher.reset();
  ASSERT_TRUE(AddAlias("info@example.org", {"bob@example.org"}).ok());
  Open();
  auto again = repository_->feed().Subscribe(position, false);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(absl::StrJoin(drain(**again), " "), "info@example.org");
  again->reset();
  EXPECT_EQ(repository_->feed().Subscribe(position + 100, false).status().code(), Code::kOutOfRange);
}

// The store lost commits whose revisions services know: none of them is used again, and a
// service that asks for what came after one of them must load everything.
TEST_F(AdminTest, AfterALossNoRevisionIsGivenOutAgain) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  const uint64_t before = repository_->feed().revision();
  incarnation_ = 1;
  Open();
  const uint64_t after = repository_->feed().revision();
  EXPECT_GE(after, before + (1u << 20));
  for (const uint64_t known : {uint64_t{1}, before, before + 3}) {
    EXPECT_EQ(repository_->feed().Subscribe(known, false).status().code(), Code::kOutOfRange) << known;
  }
  EXPECT_TRUE(repository_->feed().Subscribe(after, false).ok());
  ASSERT_TRUE(AddAccount("bob@example.org", "one").ok());
  EXPECT_EQ(repository_->feed().revision(), after + 1);
  Open();  // once for each loss
  EXPECT_EQ(repository_->feed().revision(), after + 1);
  EXPECT_EQ(Login("bob@example.org", "one"), Code::kOk);
}

TEST_F(AdminTest, TheLogIsTrimmedAndSaysSo) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  v1::UpdateDomainRequest request;
  request.mutable_domain()->set_domain("example.org");
  for (uint64_t i = 0; i < kLogRows + 10; ++i) ASSERT_TRUE(SyncWait(admin_->UpdateDomain(request)).ok());
  store::ReadRequest read;
  read.partition = SystemPartition();
  read.prefix = kLogPrefix;
  read.limit = store::kMaxPageRows;
  EXPECT_EQ(SyncWait(store_->Read(read))->page.size(), kLogRows);
  Open();
  EXPECT_EQ(repository_->feed().Subscribe(0, false).status().code(), Code::kOutOfRange);
  EXPECT_TRUE(repository_->feed().Subscribe(repository_->feed().revision() - 500, false).ok());
}

TEST_F(AdminTest, TenantsAreApart) {
  v1::CreateTenantRequest tenant;
  tenant.mutable_tenant()->set_tenant("Acme");
  EXPECT_EQ(SyncWait(admin_->CreateTenant(tenant)).status().code(), Code::kInvalidArgument);
  tenant.mutable_tenant()->set_tenant("acme");
  ASSERT_TRUE(SyncWait(admin_->CreateTenant(tenant)).ok());
  EXPECT_EQ(SyncWait(admin_->CreateTenant(tenant)).status().code(), Code::kAlreadyExists);
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_EQ(AddDomain("acme.example", "", "acme"), Code::kOk);
  EXPECT_EQ(AddDomain("acme2.example", "example.org", "acme"), Code::kInvalidArgument);
  EXPECT_EQ(AddAccount("bob@acme.example")->tenant(), "acme");
  v1::ListAccountsRequest list;
  list.set_tenant("acme");
  EXPECT_EQ(SyncWait(admin_->ListAccounts(list))->accounts_size(), 1);
  list.set_domain("example.org");
  EXPECT_EQ(SyncWait(admin_->ListAccounts(list)).status().code(), Code::kNotFound);
  Open();
  EXPECT_TRUE(Exists("bob@acme.example"));
}

TEST_F(AdminTest, AnAddressThatGuessesIsRefusedAndProvenLoginsPass) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_TRUE(AddAccount("alice@example.org", "right").ok());
  ASSERT_TRUE(AddAccount("bob@example.org", "right").ok());
  EXPECT_EQ(Login("alice@example.org", "right", "192.0.2.1"), Code::kOk);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Login("bob@example.org", "wrong", "192.0.2.1"), Code::kUnauthenticated);
  EXPECT_EQ(Login("bob@example.org", "right", "192.0.2.1"), Code::kResourceExhausted);
  EXPECT_EQ(Login("nobody@example.org", "x", "192.0.2.1"), Code::kResourceExhausted);
  EXPECT_EQ(Login("alice@example.org", "right", "192.0.2.1"), Code::kOk);  // from the cache
  EXPECT_EQ(Login("bob@example.org", "right", "192.0.2.2"), Code::kOk);    // from elsewhere
}

}  // namespace
}  // namespace posthouse::directory
