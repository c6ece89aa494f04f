// The preconditions and rows of each change. No store, no clock.
#include "services/directory/record_edit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/directory/account_edit.h"
#include "services/directory/key_schema.h"

namespace posthouse::directory {
namespace {

using Code = absl::StatusCode;
const EditStamp kStamp{42, absl::FromUnixSeconds(1'700'000'000)};
constexpr char kId[] = "00112233445566778899aabbccddeeff";
const Homes kOneHome({Home()});

v1::Tenant MakeTenant(const std::string& name) {
  v1::Tenant tenant;
  tenant.set_tenant(name);
  return tenant;
}
v1::Domain MakeDomain(const std::string& name, const std::string& alias_of = "", const std::string& tenant = "") {
  v1::Domain domain;
  domain.set_domain(name);
  domain.set_alias_of(alias_of);
  domain.set_tenant(tenant);
  return domain;
}
v1::Account MakeAccount(const std::string& address, const std::string& tenant = "") {
  v1::Account account;
  account.set_address(address);
  account.set_tenant(tenant);
  return account;
}
v1::Alias MakeAlias(const std::string& address, const std::vector<std::string>& targets) {
  v1::Alias alias;
  alias.set_address(address);
  for (const std::string& target : targets) alias.add_targets(target);
  return alias;
}

// "sys: +t/acme; tenant acme": partition, rows set (+) and removed (-), what watchers get.
std::string Text(const absl::StatusOr<RecordEdit>& edit) {
  if (!edit.ok()) return absl::StrCat(absl::StatusCodeToString(edit.status().code()), ": ", edit.status().message());
  std::vector<std::string> rows;
  for (const store::Mutation& m : edit->mutations) rows.push_back(absl::StrCat(m.value ? "+" : "-", m.key));
  std::vector<std::string> changes;
  for (const v1::Change& c : edit->changes) {
    changes.push_back(absl::StrCat(v1::Change::Kind_Name(c.kind()).substr(5), " ", c.name()));
  }
  return absl::StrCat(edit->partition.id, ": ", absl::StrJoin(rows, " "), "; ", absl::StrJoin(changes, ", "));
}

// Tenants default and acme; example.org (with bob, info -> bob, and the other name
// example.com), empty.example; acme.example of acme.
class RecordEditTest : public ::testing::Test {
 protected:
  RecordEditTest() {
    for (const char* name : {"default", "acme"}) {
      v1::Tenant tenant = MakeTenant(name);
      Do(DecideCreateTenant(index_, kStamp, &tenant));
    }
    for (v1::Domain domain : {MakeDomain("example.org"), MakeDomain("example.com", "example.org"),
                              MakeDomain("empty.example"), MakeDomain("acme.example", "", "acme")}) {
      Do(DecideCreateDomain(index_, kStamp, &domain));
    }
    v1::Account bob = MakeAccount("bob@example.org");
    Do(DecideCreateAccount(index_, kStamp, kOneHome, AccountId(kId), "", &bob));
    v1::Alias info = MakeAlias("info@example.org", {"bob@example.org"});
    Do(DecideCreateAlias(index_, kStamp, &info));
  }
  void Do(absl::StatusOr<RecordEdit> edit) {
    ASSERT_TRUE(edit.ok()) << edit.status();
    for (const auto& step : edit->follow) step(index_);
  }
  Index index_;
};

TEST_F(RecordEditTest, Tenants) {
  struct Case {
    const char* name;
    const char* create;
    const char* update;
  };
  const Case cases[] = {
      {"new", "sys: +t/new; TENANT new", "NOT_FOUND: there is no tenant new"},
      {"acme", "ALREADY_EXISTS: tenant acme exists", "sys: +t/acme; TENANT acme"},
      {"Acme", "INVALID_ARGUMENT: tenant \"Acme\": 1 to 63 of a-z, 0-9 and -", "NOT_FOUND: there is no tenant Acme"},
      {"", "INVALID_ARGUMENT: tenant \"\": 1 to 63 of a-z, 0-9 and -", "NOT_FOUND: there is no tenant "},
  };
  for (const Case& c : cases) {
    v1::Tenant created = MakeTenant(c.name);
    v1::Tenant updated = MakeTenant(c.name);
    EXPECT_EQ(Text(DecideCreateTenant(index_, kStamp, &created)), c.create);
    EXPECT_EQ(Text(DecideUpdateTenant(index_, kStamp, &updated)), c.update);
  }
}

TEST_F(RecordEditTest, Domains) {
  struct Case {
    v1::Domain domain;
    const char* create;
  };
  const Case cases[] = {
      {MakeDomain("NEW.example"), "sys: +d/new.example; DOMAIN new.example"},
      {MakeDomain("EXAMPLE.org"), "ALREADY_EXISTS: domain example.org exists (tenant default)"},
      {MakeDomain("new.example", "", "none"), "NOT_FOUND: there is no tenant none"},
      {MakeDomain("new.example", "example.org"), "sys: +d/new.example; DOMAIN new.example"},
      {MakeDomain("new.example", "no.example"), "NOT_FOUND: alias_of: there is no domain no.example"},
      {MakeDomain("new.example", "example.com"),
       "INVALID_ARGUMENT: alias_of: example.com is itself another name of example.org"},
      {MakeDomain("new.example", "acme.example"), "INVALID_ARGUMENT: alias_of: acme.example belongs to another tenant"},
  };
  for (const Case& c : cases) {
    v1::Domain domain = c.domain;
    EXPECT_EQ(Text(DecideCreateDomain(index_, kStamp, &domain)), c.create);
  }
}

TEST_F(RecordEditTest, DomainsThatStandForOthersHaveNothingOfTheirOwn) {
  v1::Domain with_addresses = MakeDomain("example.org", "empty.example");
  EXPECT_EQ(Text(DecideUpdateDomain(index_, kStamp, &with_addresses)),
            "FAILED_PRECONDITION: alias_of: example.org has other names of its own");
  v1::Domain itself = MakeDomain("empty.example", "empty.example");
  EXPECT_EQ(Text(DecideUpdateDomain(index_, kStamp, &itself)),
            "INVALID_ARGUMENT: alias_of: a domain cannot be an alias of itself");
  v1::Domain moved = MakeDomain("empty.example", "", "acme");
  EXPECT_EQ(Text(DecideUpdateDomain(index_, kStamp, &moved)),
            "INVALID_ARGUMENT: tenant: a domain cannot move to another tenant");
}

TEST_F(RecordEditTest, DomainsInUseStay) {
  EXPECT_EQ(Text(DecideDeleteDomain(index_, "empty.example")), "sys: -d/empty.example; DOMAIN empty.example");
  EXPECT_EQ(Text(DecideDeleteDomain(index_, "example.org")),
            "FAILED_PRECONDITION: domain example.org still has 1 accounts and 1 aliases");
  EXPECT_EQ(Text(DecideDeleteDomain(index_, "no.example")), "NOT_FOUND: there is no domain no.example");
}

TEST_F(RecordEditTest, Accounts) {
  struct Case {
    v1::Account account;
    const char* hash;
    const char* create;
  };
  const std::string credential = absl::StrCat("dir/default: +a/example.org/eve +p/", kId, "; ACCOUNT eve@example.org");
  const Case cases[] = {
      {MakeAccount("Eve@example.ORG"), "", "dir/default: +a/example.org/eve; ACCOUNT eve@example.org"},
      {MakeAccount("eve@example.org"), "{PLAIN}x", credential.c_str()},
      {MakeAccount("eve@acme.example"), "", "dir/acme: +a/acme.example/eve; ACCOUNT eve@acme.example"},
      {MakeAccount("BOB@example.org"), "", "ALREADY_EXISTS: account bob@example.org exists"},
      {MakeAccount("info@example.org"), "", "ALREADY_EXISTS: info@example.org is an alias; delete it first"},
      {MakeAccount("eve@no.example"), "", "NOT_FOUND: there is no domain no.example"},
      {MakeAccount("eve@example.com"), "",
       "FAILED_PRECONDITION: example.com is another name of example.org: create the address there"},
      {MakeAccount("eve@example.org", "acme"), "",
       "INVALID_ARGUMENT: domain example.org belongs to tenant default, not acme"},
  };
  for (const Case& c : cases) {
    v1::Account account = c.account;
    EXPECT_EQ(Text(DecideCreateAccount(index_, kStamp, kOneHome, AccountId(kId), c.hash, &account)), c.create);
  }
}

TEST_F(RecordEditTest, WildcardAddressesAreRefusedWithTheWayToACatchAll) {
  for (const char* text : {"*@example.org", "@example.org"}) {
    v1::Alias alias = MakeAlias(text, {"bob@example.org"});
    EXPECT_EQ(Text(DecideCreateAlias(index_, kStamp, &alias)),
              absl::StrCat("INVALID_ARGUMENT: address \"", text,
                           "\": there are no wildcards; the catch_all of a domain gets mail for unknown local parts "
                           "(posthousectl domain set DOMAIN --catch-all ADDRESS)"));
  }
}

TEST_F(RecordEditTest, AChainOfAliasesTooLongToResolveIsRefusedWhereItGetsTooLong) {
  const auto name = [](int i) { return absl::StrCat("h", i, "@example.org"); };
  for (int i = 0; i < 10; ++i) {
    v1::Alias alias = MakeAlias(name(i), {i == 0 ? "bob@example.org" : name(i - 1)});
    ASSERT_EQ(Text(DecideCreateAlias(index_, kStamp, &alias)).substr(0, 12), "dir/default:");
    Do(DecideCreateAlias(index_, kStamp, &alias));
  }
  v1::Alias top = MakeAlias(name(10), {name(9)});
  EXPECT_EQ(Text(DecideCreateAlias(index_, kStamp, &top)),
            "INVALID_ARGUMENT: targets: aliases are nested deeper than 10: h10@example.org -> h9@example.org -> "
            "h8@example.org -> h7@example.org -> h6@example.org -> h5@example.org -> h4@example.org -> h3@example.org "
            "-> h2@example.org -> h1@example.org -> h0@example.org -> bob@example.org");
  // At the lower end: it makes the chain longer for those above.
  v1::Alias bottom = MakeAlias("more@example.org", {"bob@example.org"});
  Do(DecideCreateAlias(index_, kStamp, &bottom));
  v1::Alias changed = MakeAlias(name(0), {"more@example.org"});
  EXPECT_EQ(NormalizeAlias(index_, &changed).message().substr(0, 64),
            "targets: aliases are nested deeper than 10: h9@example.org -> h8");
  v1::Domain catch_all = MakeDomain("empty.example");
  catch_all.set_catch_all(name(9));
  EXPECT_EQ(Text(DecideUpdateDomain(index_, kStamp, &catch_all)).substr(0, 62),
            "INVALID_ARGUMENT: catch_all: aliases are nested deeper than 10");
  catch_all.set_catch_all(name(8));
  EXPECT_EQ(Text(DecideUpdateDomain(index_, kStamp, &catch_all)).substr(0, 4), "sys:");
}

// Each edit that can make a chain longer, with the chain above or below it in place.
TEST_F(RecordEditTest, AChainThroughACatchAllIsCheckedWhicheverEndChanges) {
  const auto name = [](int i) { return absl::StrCat("h", i, "@example.org"); };
  const auto add = [&](const std::string& address, const std::string& target) {
    v1::Alias alias = MakeAlias(address, {target});
    return DecideCreateAlias(index_, kStamp, &alias);
  };
  // top -> any@empty.example -> (catch-all) list+tag@example.org -> list -> h7 -> ... -> h0 -> bob: 10 deep.
  for (int i = 0; i < 7; ++i) Do(add(name(i), i == 0 ? "bob@example.org" : name(i - 1)));
  Do(add("list@example.org", name(6)));
  v1::Domain domain = MakeDomain("example.org");
  domain.set_subaddress_separators("+");
  Do(DecideUpdateDomain(index_, kStamp, &domain));
  domain = MakeDomain("empty.example");
  domain.set_catch_all("list+tag@example.org");
  Do(DecideUpdateDomain(index_, kStamp, &domain));
  Do(add("top@example.org", "any@empty.example"));
  const std::string too_deep = "aliases are nested deeper than 10";
  const auto message = [](const absl::Status& status) { return std::string(status.message()); };
  // At the upper end.
  EXPECT_THAT(message(add("higher@example.org", "top@example.org").status()), testing::HasSubstr(too_deep));
  // At the lower end: the catch-all and the alias of it get longer.
  Do(add("more@example.org", "bob@example.org"));
  v1::Alias changed = MakeAlias(name(0), {"more@example.org"});
  EXPECT_THAT(message(NormalizeAlias(index_, &changed)), testing::HasSubstr(too_deep));
  changed.set_status(v1::STATUS_SUSPENDED);  // it may become active again
  EXPECT_THAT(message(NormalizeAlias(index_, &changed)), testing::HasSubstr(too_deep));
  // In the middle: another catch-all, below an alias that is there already.
  Do(add("detour@example.org", "list@example.org"));
  domain.set_catch_all("detour@example.org");
  EXPECT_THAT(message(DecideUpdateDomain(index_, kStamp, &domain).status()), testing::HasSubstr(too_deep));
  // A new domain between an alias with a foreign target and a long chain.
  Do(add("far@example.org", "x@new.example"));
  Do(add("farther@example.org", "far@example.org"));
  domain = MakeDomain("new.example");
  domain.set_catch_all("list@example.org");
  EXPECT_THAT(message(DecideCreateDomain(index_, kStamp, &domain).status()), testing::HasSubstr(too_deep));
  domain = MakeDomain("new.example", "empty.example");
  EXPECT_THAT(message(DecideCreateDomain(index_, kStamp, &domain).status()),
              testing::HasSubstr("alias_of: " + too_deep));
  domain.clear_alias_of();
  EXPECT_TRUE(DecideCreateDomain(index_, kStamp, &domain).ok());
  // Separators make an address an alias with a subaddress.
  Do(add("sub@acme.example", name(6)));
  Do(add("sub1@acme.example", "sub-x@acme.example"));
  Do(add("sub2@acme.example", "sub1@acme.example"));
  Do(add("sub3@acme.example", "sub2@acme.example"));
  domain = MakeDomain("acme.example", "", "acme");
  domain.set_subaddress_separators("-");
  EXPECT_THAT(message(DecideUpdateDomain(index_, kStamp, &domain).status()), testing::HasSubstr(too_deep));
}

TEST_F(RecordEditTest, AGroupTooLargeToExpandIsRefusedAndMayBecomeSmaller) {
  for (int g = 0; g < 3; ++g) {
    v1::Alias group = MakeAlias(absl::StrCat("g", g, "@example.org"), {});
    for (int i = 0; i < 400; ++i) group.add_targets(absl::StrCat("m", g, "-", i, "@out.example"));
    Do(DecideCreateAlias(index_, kStamp, &group));
  }
  v1::Alias all = MakeAlias("all@example.org", {"g0@example.org", "g1@example.org", "g2@example.org"});
  EXPECT_EQ(Text(DecideCreateAlias(index_, kStamp, &all)),
            "INVALID_ARGUMENT: targets: all@example.org expands to more than 1000 addresses");
  // From a version that did not check.
  index_.PutAlias(all);
  v1::Alias smaller = MakeAlias("g2@example.org", {"m2-0@out.example"});
  EXPECT_TRUE(NormalizeAlias(index_, &smaller).ok());
}

TEST_F(RecordEditTest, AnAccountGetsAHomeThatExists) {
  const Homes homes({Home("b"), Home("a"), Home("c")});
  const auto add = [&](const std::string& address, const std::string& home, char digit) {
    v1::Account account = MakeAccount(address);
    account.set_home(home);
    const absl::StatusOr<RecordEdit> edit =
        DecideCreateAccount(index_, kStamp, homes, AccountId(std::string(32, digit)), "", &account);
    if (!edit.ok()) return std::string(edit.status().message());
    Do(edit);
    return account.home();
  };
  EXPECT_EQ(add("u1@example.org", "nowhere", '1'), "home \"nowhere\": the mailbox stores are a, b, c (peers.mailbox)");
  EXPECT_EQ(add("u1@example.org", "", '1'), "a");
  EXPECT_EQ(add("u2@example.org", "", '2'), "b");
  EXPECT_EQ(add("u3@example.org", "b", '3'), "b");
  EXPECT_EQ(add("u4@example.org", "", '4'), "c");
  EXPECT_EQ(add("u5@example.org", "", '5'), "a");
  EXPECT_EQ(add("u6@example.org", "", '6'), "c");
  EXPECT_EQ(kOneHome.Check(Home("shardx")).message(),
            "home \"shardx\": this system has one mailbox store, without a name (peers.mailbox)");
}

TEST_F(RecordEditTest, AHomeChangesOnlyWhenTheMailMayStayBehind) {
  const Homes homes({Home("a"), Home("b")});
  v1::Account stored = MakeAccount("bob@example.org", "default");
  stored.set_account_id(kId);
  stored.set_home("a");
  v1::Account given = stored;
  given.set_home("b");
  EXPECT_EQ(DecideUpdateAccount(stored, kStamp, homes, false, &given).status().code(), Code::kFailedPrecondition);
  ASSERT_TRUE(DecideUpdateAccount(stored, kStamp, homes, true, &given).ok());
  EXPECT_EQ(given.placement_epoch(), 1u);
  given.set_revision(0);
  given.set_home("");  // as it is
  given.set_placement_epoch(7);
  ASSERT_TRUE(DecideUpdateAccount(stored, kStamp, homes, false, &given).ok());
  EXPECT_EQ(given.home(), "a");
  EXPECT_EQ(given.placement_epoch(), 0u);
  given.set_revision(0);
  given.set_home("x");
  EXPECT_EQ(DecideUpdateAccount(stored, kStamp, homes, true, &given).status().code(), Code::kInvalidArgument);
}

TEST_F(RecordEditTest, AnUpdateKeepsWhatCannotChange) {
  v1::Account stored = MakeAccount("bob@example.org", "default");
  stored.set_account_id(kId);
  stored.set_has_password(true);
  stored.set_status(v1::STATUS_SUSPENDED);
  stored.set_revision(7);
  stored.mutable_created()->set_seconds(1);
  v1::Account given;
  given.set_account_id(kId);
  given.set_display_name("Bob");
  given.set_revision(7);
  EXPECT_EQ(Text(DecideUpdateAccount(stored, kStamp, kOneHome, /*mail_stays_behind=*/false, &given)),
            "dir/default: +a/example.org/bob; ACCOUNT bob@example.org");
  EXPECT_EQ(given.address(), "bob@example.org");
  EXPECT_EQ(given.status(), v1::STATUS_SUSPENDED);
  EXPECT_TRUE(given.has_password());
  EXPECT_EQ(given.created().seconds(), 1);
  EXPECT_EQ(given.revision(), 42u);
  given.set_revision(6);
  EXPECT_EQ(Text(DecideUpdateAccount(stored, kStamp, kOneHome, /*mail_stays_behind=*/false, &given)),
            "ABORTED: revision: 6 is not the newest, which is 7; read the record again");
  given.set_revision(0);  // whatever it is now
  given.set_address("eve@example.org");
  EXPECT_EQ(Text(DecideUpdateAccount(stored, kStamp, kOneHome, /*mail_stays_behind=*/false, &given)),
            "INVALID_ARGUMENT: address: an account keeps its address");
}

TEST_F(RecordEditTest, APasswordChangesTheAccountTooSoThatOldSessionsAreFound) {
  v1::Account stored = MakeAccount("bob@example.org", "default");
  stored.set_account_id(kId);
  EXPECT_EQ(Text(DecideSetPassword(stored, kStamp, "{PLAIN}x")),
            absl::StrCat("dir/default: +a/example.org/bob +p/", kId, "; CREDENTIAL bob@example.org"));
  stored.set_has_password(true);
  const absl::StatusOr<RecordEdit> second = DecideSetPassword(stored, kStamp, "{PLAIN}x");
  EXPECT_EQ(Text(second), absl::StrCat("dir/default: +a/example.org/bob +p/", kId, "; CREDENTIAL bob@example.org"));
  EXPECT_EQ(Text(DecideSetPassword(stored, kStamp, "")),
            absl::StrCat("dir/default: +a/example.org/bob -p/", kId, "; CREDENTIAL bob@example.org"));
  Do(second);
  EXPECT_EQ(index_.FindAccountById(AccountId(kId))->credential_revision, kStamp.revision);
  EXPECT_EQ(Text(DecideRehash(*index_.FindAccountById(AccountId(kId)), kStamp, "x")),
            absl::StrCat("dir/default: +p/", kId, "; "));
}

TEST_F(RecordEditTest, Aliases) {
  struct Case {
    v1::Alias alias;
    const char* create;
  };
  const Case cases[] = {
      {MakeAlias("All@example.org", {"Bob@Example.org", "bob@example.org", "X@Other.example"}),
       "dir/default: +l/example.org/all; ALIAS all@example.org"},
      {MakeAlias("bob@example.org", {"x@other.example"}), "ALREADY_EXISTS: bob@example.org is an account"},
      {MakeAlias("info@example.org", {"x@other.example"}), "ALREADY_EXISTS: alias info@example.org exists"},
      {MakeAlias("all@example.org", {}), "INVALID_ARGUMENT: targets: at least one address"},
      {MakeAlias("bob@no.example", {"x@other.example"}), "NOT_FOUND: there is no domain no.example"},
      {MakeAlias("all@example.org", {"all@example.org"}),
       "INVALID_ARGUMENT: targets: these aliases form a loop: all@example.org -> all@example.org"},
  };
  for (const Case& c : cases) {
    v1::Alias alias = c.alias;
    EXPECT_EQ(Text(DecideCreateAlias(index_, kStamp, &alias)), c.create);
  }
  v1::Alias all = cases[0].alias;
  ASSERT_TRUE(NormalizeAlias(index_, &all).ok());
  EXPECT_EQ(absl::StrJoin(all.targets(), " "), "bob@example.org X@other.example");
  EXPECT_EQ(Text(DecideDeleteAlias(index_, {"info", "example.org"})),
            "dir/default: -l/example.org/info; ALIAS info@example.org");
  EXPECT_EQ(Text(DecideDeleteAlias(index_, {"all", "example.org"})), "NOT_FOUND: there is no alias all@example.org");
}

}  // namespace
}  // namespace posthouse::directory
