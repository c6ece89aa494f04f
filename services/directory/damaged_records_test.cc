// Rows of the directory that cannot be read cost themselves: their names answer with a temporary
// failure, and all others go on.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
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
  by_id.set_account_id(repository_->Read([](const Index& i) { return i.FindAccount(At("ann"))->account_id.value(); }));
  Damage(TenantPartition(TenantId("default")), AccountKey(At("ann")));
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
  const std::string id = repository_->Read([](const Index& i) { return i.FindAccount(At("ann"))->account_id.value(); });
  Damage(TenantPartition(TenantId("default")), AccountKey(At("ann")));
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
  const std::string ann =
      repository_->Read([](const Index& i) { return i.FindAccount(At("ann"))->account_id.value(); });
  const absl::StatusOr<v1::Account> dot = AddAccount("dot@example.org");  // without a password
  ASSERT_TRUE(dot.ok());
  const auto log =
      SyncWait(store_->Read({TenantPartition(TenantId("default")), {}, kLogPrefix, "", store::kMaxPageRows}));
  ASSERT_TRUE(log.ok());
  for (const store::Row& row : log->page) {
    ASSERT_TRUE(SyncWait(store_->Commit({TenantPartition(TenantId("default")), {}, {{row.key, std::nullopt}}})).ok());
  }
  for (const char* name : {"ann", "dot"}) Damage(TenantPartition(TenantId("default")), AccountKey(At(name)));
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
  Damage(TenantPartition(TenantId("default")), AliasKey(At("team")));
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
  Damage(SystemPartition(), TenantKey(TenantId("default")));
  Open();
  EXPECT_EQ(Ask("bob@example.org"), Outcome::kSuspended);
  EXPECT_EQ(Login("bob@example.org", "right"), Code::kUnavailable);
}

TEST_F(DamagedRecordsTest, ADamagedLogMakesWatchersStartAgain) {
  const uint64_t before = repository_->feed().revision();
  Damage(TenantPartition(TenantId("default")), LogKey(before));
  Open();
  EXPECT_EQ(Ask("bob@example.org"), Outcome::kFound);
  EXPECT_TRUE(absl::IsOutOfRange(repository_->feed().Subscribe(before - 1, false).status()));
  EXPECT_TRUE(AddAccount("dot@example.org").ok());
}

// For posthousectl check store.
TEST_F(DamagedRecordsTest, RowsThatDoNotParseAreNamed) {
  const auto bad = [this] {
    std::vector<std::string> keys;
    for (const store::Partition& partition : {SystemPartition(), TenantPartition(TenantId("default"))}) {
      const auto rows = SyncWait(store_->Read({partition, {}, "", "", store::kMaxPageRows}));
      for (const store::Row& row : rows->page) {
        if (!CheckStoredRow(partition, row.key, row.value).ok()) keys.push_back(row.key);
      }
    }
    return keys;
  };
  EXPECT_TRUE(bad().empty());
  Damage(TenantPartition(TenantId("default")), AccountKey(At("ann")));
  Damage(TenantPartition(TenantId("default")), AliasKey(At("team")));
  Damage(TenantPartition(TenantId("default")), kHeadKey);
  Damage(SystemPartition(), DomainKey("example.org"));
  EXPECT_EQ(bad(), (std::vector<std::string>{DomainKey("example.org"), kHeadKey, AccountKey(At("ann")),
                                             AliasKey(At("team"))}));
  EXPECT_TRUE(CheckStoredRow({"", "mailbox"}, kHeadKey, "anything").ok());
}

// A head says who may write and which revision is next: both begin at the present time.
TEST_F(DamagedRecordsTest, DamagedHeadsAreMadeAnew) {
  const uint64_t before = repository_->feed().revision();
  for (const std::vector<store::Partition>& damaged :
       std::vector<std::vector<store::Partition>>{{TenantPartition(TenantId("default"))},
                                                  {SystemPartition()},
                                                  {SystemPartition(), TenantPartition(TenantId("default"))}}) {
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

// Every verb on a record that is damaged: it says so and what to do, or is the cure.
struct VerbCase {
  const char* name;
  std::function<absl::Status(Admin&)> call;
  const char* says;  // null: it succeeds
};

template <typename Request, typename Response>
std::function<absl::Status(Admin&)> Verb(Task<absl::StatusOr<Response>> (Admin::*method)(Request),
                                         std::function<void(Request&)> fill) {
  return [method, fill](Admin& admin) {
    Request request;
    fill(request);
    return SyncWait((admin.*method)(request)).status();
  };
}

class DamagedVerbsTest : public DamagedRecordsTest {
 protected:
  // Each verb on a store of its own, whose row `key` is damaged.
  void Try(const store::Partition& partition, const std::string& key, const std::vector<VerbCase>& cases) {
    Damage(partition, key);
    std::vector<std::pair<store::Partition, std::vector<store::Row>>> rows;
    for (const store::Partition& copied :
         {SystemPartition(), TenantPartition(TenantId("default")), TenantPartition(TenantId("acme"))}) {
      const auto page = SyncWait(store_->Read({copied, {}, "", "", store::kMaxPageRows}));
      ASSERT_TRUE(page.ok() && !page->more);
      rows.emplace_back(copied, page->page);
    }
    for (const VerbCase& verb : cases) {
      disk_ = std::make_shared<store::MemoryDisk>();
      store::MemoryStore fresh(disk_);
      for (const auto& [copied, page] : rows) {
        for (const store::Row& row : page) {
          ASSERT_TRUE(SyncWait(fresh.Commit({copied, {}, {{row.key, row.value}}})).ok());
        }
      }
      Open();
      ASSERT_GE(Lost(), 1u) << verb.name;
      const absl::Status status = verb.call(*admin_);
      if (verb.says == nullptr) {
        EXPECT_TRUE(status.ok()) << verb.name << ": " << status;
        EXPECT_EQ(Lost(), 0u) << verb.name;
        Open();
        EXPECT_EQ(Lost(), 0u) << verb.name << " after a restart";
        continue;
      }
      EXPECT_TRUE(absl::IsFailedPrecondition(status) || absl::IsUnavailable(status)) << verb.name << ": " << status;
      EXPECT_TRUE(absl::StrContains(status.message(), "damaged")) << verb.name << ": " << status;
      EXPECT_TRUE(absl::StrContains(status.message(), verb.says)) << verb.name << ": " << status;
    }
  }
  size_t Lost() {
    return repository_->Read([](const Index& index) { return index.lost(); });
  }
};

const char kTeam[] = "team@example.org";

TEST_F(DamagedVerbsTest, OfAnAlias) {
  const auto targets = [](auto& r) {
    r.mutable_alias()->set_address(kTeam);
    r.mutable_alias()->add_targets("bob@example.org");
  };
  Try(TenantPartition(TenantId("default")), AliasKey(At("team")),
      {{"alias add", Verb<v1::CreateAliasRequest>(&Admin::CreateAlias, targets), nullptr},
       {"alias set", Verb<v1::UpdateAliasRequest>(&Admin::UpdateAlias, targets),
        "posthousectl alias add team@example.org"},
       {"alias delete", Verb<v1::DeleteAliasRequest>(&Admin::DeleteAlias, [](auto& r) { r.set_address(kTeam); }),
        nullptr},
       {"account add",
        Verb<v1::CreateAccountRequest>(&Admin::CreateAccount, [](auto& r) { r.mutable_account()->set_address(kTeam); }),
        "posthousectl alias delete team@example.org"},
       {"domain delete",
        Verb<v1::DeleteDomainRequest>(&Admin::DeleteDomain, [](auto& r) { r.set_domain("example.org"); }),
        "alias delete"},
       {"domain delete --with-addresses",
        Verb<v1::DeleteDomainRequest>(&Admin::DeleteDomain,
                                      [](auto& r) {
                                        r.set_domain("example.org");
                                        r.set_with_addresses(true);
                                      }),
        nullptr}});
}

TEST_F(DamagedVerbsTest, OfAnAccount) {
  const std::string id = repository_->Read([](const Index& i) { return i.FindAccount(At("ann"))->account_id.value(); });
  const char says[] = "posthousectl account add ann@example.org";
  const auto address = [](auto& r) { r.set_address("ann@example.org"); };
  const auto account = [id](auto& r) {
    r.mutable_account()->set_address("ann@example.org");
    r.mutable_account()->set_account_id(id);
  };
  Try(TenantPartition(TenantId("default")), AccountKey(At("ann")),
      {{"account add", Verb<v1::CreateAccountRequest>(&Admin::CreateAccount, account), nullptr},
       {"account set", Verb<v1::UpdateAccountRequest>(&Admin::UpdateAccount, account), says},
       {"account show", Verb<v1::GetAccountRequest>(&Admin::GetAccount, address), says},
       {"account delete", Verb<v1::DeleteAccountRequest>(&Admin::DeleteAccount, address), says},
       {"account delete --erase-now",
        Verb<v1::DeleteAccountRequest>(&Admin::DeleteAccount,
                                       [](auto& r) {
                                         r.set_address("ann@example.org");
                                         r.set_erase_now(true);
                                       }),
        says},
       {"password set",
        Verb<v1::SetPasswordRequest>(&Admin::SetPassword,
                                     [](auto& r) {
                                       r.set_address("ann@example.org");
                                       r.set_password("other");
                                     }),
        says},
       {"alias add",
        Verb<v1::CreateAliasRequest>(&Admin::CreateAlias,
                                     [](auto& r) {
                                       r.mutable_alias()->set_address("ann@example.org");
                                       r.mutable_alias()->add_targets("bob@example.org");
                                     }),
        says},
       {"domain delete --with-addresses",
        Verb<v1::DeleteDomainRequest>(&Admin::DeleteDomain,
                                      [](auto& r) {
                                        r.set_domain("example.org");
                                        r.set_with_addresses(true);
                                      }),
        "account add"}});
}

TEST_F(DamagedVerbsTest, OfADomain) {
  ASSERT_EQ(AddDomain("second.example"), Code::kOk);
  const char says[] = "posthousectl domain add second.example";
  const auto name = [](auto& r) { r.set_domain("second.example"); };
  const auto domain = [](auto& r) { r.mutable_domain()->set_domain("second.example"); };
  const auto address = [](auto& r) { r.set_address("eve@second.example"); };
  Try(SystemPartition(), DomainKey("second.example"),
      {{"domain add", Verb<v1::CreateDomainRequest>(&Admin::CreateDomain, domain), nullptr},
       {"domain set", Verb<v1::UpdateDomainRequest>(&Admin::UpdateDomain, domain), says},
       {"domain show", Verb<v1::GetDomainRequest>(&Admin::GetDomain, name), says},
       {"domain delete", Verb<v1::DeleteDomainRequest>(&Admin::DeleteDomain, name), says},
       {"domain add --alias-of",
        Verb<v1::CreateDomainRequest>(&Admin::CreateDomain,
                                      [](auto& r) {
                                        r.mutable_domain()->set_domain("third.example");
                                        r.mutable_domain()->set_alias_of("second.example");
                                      }),
        says},
       {"account list", Verb<v1::ListAccountsRequest>(&Admin::ListAccounts, name), says},
       {"alias list", Verb<v1::ListAliasesRequest>(&Admin::ListAliases, name), says},
       {"account add",
        Verb<v1::CreateAccountRequest>(&Admin::CreateAccount,
                                       [](auto& r) { r.mutable_account()->set_address("eve@second.example"); }),
        says},
       {"account show", Verb<v1::GetAccountRequest>(&Admin::GetAccount, address), says},
       {"account delete", Verb<v1::DeleteAccountRequest>(&Admin::DeleteAccount, address), says},
       {"password set",
        Verb<v1::SetPasswordRequest>(&Admin::SetPassword,
                                     [](auto& r) {
                                       r.set_address("eve@second.example");
                                       r.set_password("other");
                                     }),
        says},
       {"alias add",
        Verb<v1::CreateAliasRequest>(&Admin::CreateAlias,
                                     [](auto& r) {
                                       r.mutable_alias()->set_address("eve@second.example");
                                       r.mutable_alias()->add_targets("bob@example.org");
                                     }),
        says},
       {"alias delete", Verb<v1::DeleteAliasRequest>(&Admin::DeleteAlias, address), says}});
}

TEST_F(DamagedVerbsTest, OfATenant) {
  const char says[] = "posthousectl tenant add acme";
  const auto tenant = [](auto& r) { r.mutable_tenant()->set_tenant("acme"); };
  ASSERT_TRUE(Verb<v1::CreateTenantRequest>(&Admin::CreateTenant, tenant)(*admin_).ok());
  Try(SystemPartition(), TenantKey(TenantId("acme")),
      {{"tenant add", Verb<v1::CreateTenantRequest>(&Admin::CreateTenant, tenant), nullptr},
       {"tenant set", Verb<v1::UpdateTenantRequest>(&Admin::UpdateTenant, tenant), says},
       {"domain add --tenant",
        Verb<v1::CreateDomainRequest>(&Admin::CreateDomain,
                                      [](auto& r) {
                                        r.mutable_domain()->set_domain("acme.example");
                                        r.mutable_domain()->set_tenant("acme");
                                      }),
        says}});
}

// Its domains wait until the tenant is written anew.
TEST_F(DamagedVerbsTest, OfATenantWithDomains) {
  const auto tenant = [](auto& r) { r.mutable_tenant()->set_tenant("default"); };
  Try(SystemPartition(), TenantKey(TenantId("default")),
      {{"tenant set", Verb<v1::UpdateTenantRequest>(&Admin::UpdateTenant, tenant), "posthousectl tenant add default"},
       {"tenant add", Verb<v1::CreateTenantRequest>(&Admin::CreateTenant, tenant), nullptr}});
  EXPECT_EQ(Ask("bob@example.org"), Outcome::kFound);
  EXPECT_EQ(Login("bob@example.org", "right"), Code::kOk);
}

// The addresses of a damaged domain tell its tenant.
TEST_F(DamagedVerbsTest, ADomainThatIsWrittenAnewStaysInItsTenant) {
  v1::CreateTenantRequest acme;
  acme.mutable_tenant()->set_tenant("acme");
  ASSERT_TRUE(SyncWait(admin_->CreateTenant(acme)).ok());
  ASSERT_EQ(AddDomain("acme.example", "", "acme"), Code::kOk);
  ASSERT_TRUE(AddAccount("eve@acme.example", "right").ok());
  Damage(SystemPartition(), DomainKey("acme.example"));
  Open();
  EXPECT_EQ(AddDomain("acme.example", "", "default"), Code::kFailedPrecondition);
  EXPECT_EQ(AddDomain("acme.example"), Code::kOk);
  // Its account is not loaded yet, so the domain cannot go.
  v1::DeleteDomainRequest deletion;
  deletion.set_domain("acme.example");
  deletion.set_with_addresses(true);
  EXPECT_TRUE(absl::IsFailedPrecondition(SyncWait(admin_->DeleteDomain(deletion)).status()));
  Open();
  EXPECT_EQ(Login("eve@acme.example", "right"), Code::kOk);
  EXPECT_TRUE(SyncWait(admin_->DeleteDomain(deletion)).ok());
}

TEST_F(DamagedVerbsTest, OfACredential) {
  const std::string id = repository_->Read([](const Index& i) { return i.FindAccount(At("ann"))->account_id.value(); });
  Damage(TenantPartition(TenantId("default")), CredentialKey(AccountId(id)));
  Open();
  EXPECT_EQ(Login("ann@example.org", "right"), Code::kUnavailable);
  EXPECT_EQ(SetPassword("ann@example.org", "other"), Code::kOk);
  EXPECT_EQ(Login("ann@example.org", "other"), Code::kOk);
  Damage(TenantPartition(TenantId("default")), CredentialKey(AccountId(id)));
  v1::DeleteAccountRequest deletion;
  deletion.set_address("ann@example.org");
  EXPECT_TRUE(SyncWait(admin_->DeleteAccount(deletion)).ok());
  v1::UndeleteAccountRequest again;
  again.set_address("ann@example.org");
  const auto undeleted = SyncWait(admin_->UndeleteAccount(again));
  ASSERT_TRUE(undeleted.ok()) << undeleted.status();
  EXPECT_EQ(undeleted->account().account_id(), id);
  EXPECT_EQ(SetPassword("ann@example.org", "third"), Code::kOk);
  EXPECT_EQ(Login("ann@example.org", "third"), Code::kOk);
}

TEST_F(DamagedVerbsTest, OfADeletedAccount) {
  const std::string id = repository_->Read([](const Index& i) { return i.FindAccount(At("ann"))->account_id.value(); });
  v1::DeleteAccountRequest deletion;
  deletion.set_address("ann@example.org");
  ASSERT_TRUE(SyncWait(admin_->DeleteAccount(deletion)).ok());
  Damage(TenantPartition(TenantId("default")), DeletedKey(AccountId(id)));
  Open();
  v1::UndeleteAccountRequest undelete;
  undelete.set_address("ann@example.org");
  const absl::Status status = SyncWait(admin_->UndeleteAccount(undelete)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "posthousectl account add ann@example.org --account-id")) << status;
  v1::CreateAccountRequest again;
  again.mutable_account()->set_address("ann@example.org");
  again.mutable_account()->set_account_id(id);
  EXPECT_TRUE(SyncWait(admin_->CreateAccount(again)).ok());
  EXPECT_TRUE(SyncWait(admin_->DeleteAccount(deletion)).ok());
  EXPECT_TRUE(SyncWait(admin_->UndeleteAccount(undelete)).ok());
}

// The index has what the store lost since: no verb says "not found" or shows the store's error.
TEST_F(DamagedVerbsTest, OfARecordThatWasDamagedSinceTheStart) {
  Damage(TenantPartition(TenantId("default")), AccountKey(At("ann")));
  Damage(TenantPartition(TenantId("default")), AliasKey(At("team")));
  v1::GetAccountRequest get;
  get.set_address("ann@example.org");
  v1::DeleteAccountRequest deletion;
  deletion.set_address("ann@example.org");
  v1::UpdateAliasRequest update;
  update.mutable_alias()->set_address(kTeam);
  update.mutable_alias()->add_targets("bob@example.org");
  for (const absl::Status& status :
       {SyncWait(admin_->GetAccount(get)).status(), SyncWait(admin_->DeleteAccount(deletion)).status(),
        SyncWait(admin_->UpdateAlias(update)).status()}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status) || absl::IsUnavailable(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "restart the directory")) << status;
  }
  v1::DeleteAliasRequest remove;
  remove.set_address(kTeam);
  EXPECT_TRUE(SyncWait(admin_->DeleteAlias(remove)).ok());
}

}  // namespace
}  // namespace posthouse::directory
