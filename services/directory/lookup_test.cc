#include "services/directory/lookup.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace posthouse::directory {
namespace {

class LookupTest : public ::testing::Test {
 protected:
  LookupTest() {
    AddTenant("default");
    AddDomain("example.org", "+");
  }
  void AddTenant(const std::string& name, v1::Status status = v1::STATUS_ACTIVE) {
    v1::Tenant tenant;
    tenant.set_tenant(name);
    tenant.set_status(status);
    index_.PutTenant(tenant);
  }
  v1::Domain AddDomain(const std::string& name, const std::string& separators = "", const std::string& alias_of = "",
                       const std::string& catch_all = "", v1::Status status = v1::STATUS_ACTIVE) {
    v1::Domain domain;
    domain.set_domain(name);
    domain.set_tenant("default");
    domain.set_status(status);
    domain.set_subaddress_separators(separators);
    domain.set_alias_of(alias_of);
    domain.set_catch_all(catch_all);
    domain.mutable_created()->set_seconds(++clock_);
    index_.PutDomain(domain);
    return domain;
  }
  std::string AddAccount(const std::string& address, v1::Status status = v1::STATUS_ACTIVE) {
    v1::Account account;
    account.set_account_id(absl::StrCat(absl::Hex(++last_id_, absl::kZeroPad16), absl::Hex(0, absl::kZeroPad16)));
    account.set_address(address);
    account.set_status(status);
    index_.PutAccount(account);
    return account.account_id();
  }
  void AddAlias(const std::string& address, const std::vector<std::string>& targets,
                v1::Status status = v1::STATUS_ACTIVE) {
    v1::Alias alias;
    alias.set_address(address);
    alias.set_status(status);
    for (const std::string& target : targets) alias.add_targets(target);
    index_.PutAlias(alias);
  }
  // "found bob@example.org+detail(local) x@y.example", "unknown", "foreign", "suspended", "error".
  std::string Ask(const std::string& address) {
    const absl::StatusOr<LookupAnswer> answer = Lookup(index_, address, "mail.example.org");
    if (!answer.ok()) return absl::IsInvalidArgument(answer.status()) ? "bad" : "error";
    depends_on_ = answer->depends_on;
    switch (answer->outcome) {
      case LookupAnswer::Outcome::kNoSuchAddress:
        return "unknown";
      case LookupAnswer::Outcome::kNotLocal:
        return "foreign";
      case LookupAnswer::Outcome::kSuspended:
        return "suspended";
      case LookupAnswer::Outcome::kTooDeep:
        return "too deep";
      case LookupAnswer::Outcome::kTooMany:
        return "too many";
      case LookupAnswer::Outcome::kFound:
        break;
    }
    return absl::StrJoin(answer->targets, " ", [](std::string* out, const LookupTarget& t) {
      absl::StrAppend(out, t.account ? t.account->address.ToString() : "remote:" + t.address.ToString());
      if (!t.detail.empty()) absl::StrAppend(out, "(", t.detail, ")");
    });
  }
  std::string Depends() { return absl::StrJoin(depends_on_, " "); }

  Index index_;
  std::vector<std::string> depends_on_;
  uint64_t last_id_ = 0;
  int64_t clock_ = 0;
};

TEST_F(LookupTest, AccountsAreFoundInAnyCase) {
  AddAccount("bob@example.org");
  EXPECT_EQ(Ask("Bob@EXAMPLE.org"), "bob@example.org");
  EXPECT_EQ(Ask("\"bob\"@example.org"), "bob@example.org");
  EXPECT_EQ(Depends(), "bob@example.org default example.org");
  EXPECT_EQ(Ask("eve@example.org"), "unknown");
  EXPECT_EQ(Depends(), "default eve@example.org example.org");
  EXPECT_EQ(Ask("bob@example.net"), "foreign");
  EXPECT_EQ(Depends(), "example.net");
  EXPECT_EQ(Ask("bob@[192.0.2.1]"), "foreign");
  EXPECT_EQ(Ask("bob"), "bad");
}

// RFC 5233
TEST_F(LookupTest, SubaddressesReachTheirAccountWithTheDetail) {
  AddAccount("bob@example.org");
  AddAccount("bob+own@example.org");
  AddAlias("team@example.org", {"bob@example.org", "x@example.net"});
  EXPECT_EQ(Ask("bob+Lists@example.org"), "bob@example.org(lists)");
  EXPECT_EQ(Depends(), "bob+lists@example.org bob@example.org default example.org");
  EXPECT_EQ(Ask("bob+own@example.org"), "bob+own@example.org");
  EXPECT_EQ(Ask("team+a@example.org"), "bob@example.org(a) remote:x@example.net");
  EXPECT_EQ(Ask("nobody+a@example.org"), "unknown");
  AddDomain("plain.example");
  AddAccount("bob@plain.example");
  EXPECT_EQ(Ask("bob+x@plain.example"), "unknown");
}

TEST_F(LookupTest, AliasesExpandOnceAndLoopsAreCut) {
  AddAccount("bob@example.org");
  AddAccount("eve@example.org");
  AddAlias("all@example.org", {"bob@example.org", "two@example.org", "X@Example.net"});
  AddAlias("two@example.org", {"eve@example.org", "bob@example.org", "all@example.org"});
  EXPECT_EQ(Ask("all@example.org"), "bob@example.org eve@example.org remote:X@example.net");
  EXPECT_EQ(Ask("two@example.org"), "eve@example.org bob@example.org remote:X@example.net");
  AddAlias("dead@example.org", {"gone@example.org"});
  EXPECT_EQ(Ask("dead@example.org"), "unknown");
  AddAlias("half@example.org", {"gone@example.org", "bob@example.org"});
  EXPECT_EQ(Ask("half@example.org"), "bob@example.org");
  AddAlias("self1@example.org", {"self2@example.org"});
  AddAlias("self2@example.org", {"self1@example.org"});
  EXPECT_EQ(Ask("self1@example.org"), "unknown");
}

TEST_F(LookupTest, NestingAndSizeAreBoundedWithoutLosingMail) {
  AddAccount("bob@example.org");
  AddAlias("a0@example.org", {"bob@example.org"});
  for (int i = 1; i <= 10; ++i) {
    AddAlias(absl::StrCat("a", i, "@example.org"), {absl::StrCat("a", i - 1, "@example.org")});
  }
  EXPECT_EQ(Ask("a9@example.org"), "bob@example.org");
  EXPECT_EQ(Ask("a10@example.org"), "too deep");
  std::vector<std::string> half, other;
  for (int i = 0; i < 500; ++i) half.push_back(absl::StrCat("h", i, "@example.net"));
  for (int i = 0; i < 501; ++i) other.push_back(absl::StrCat("o", i, "@example.net"));
  AddAlias("half@example.org", half);
  AddAlias("other@example.org", other);
  AddAlias("big@example.org", {"half@example.org", "other@example.org"});
  EXPECT_EQ(Ask("big@example.org"), "too many");
  EXPECT_NE(Ask("half@example.org"), "too many");
}

TEST_F(LookupTest, OtherNamesOfADomainLeadThere) {
  AddAccount("bob@example.org");
  AddDomain("example.com", "", "example.org");
  EXPECT_EQ(Ask("bob+x@example.com"), "bob@example.org(x)");
  EXPECT_EQ(Depends(), "bob+x@example.org bob@example.org default example.com example.org");
  EXPECT_EQ(Ask("eve@example.com"), "unknown");
  EXPECT_EQ(FindLogin(index_, "Bob@example.com")->address.ToString(), "bob@example.org");
}

TEST_F(LookupTest, TheCatchAllTakesWhatNobodyElseDoes) {
  AddAccount("bob@example.org");
  AddAccount("rest@example.org");
  AddDomain("example.org", "+", "", "rest@example.org");
  EXPECT_EQ(Ask("bob@example.org"), "bob@example.org");
  EXPECT_EQ(Ask("whoever@example.org"), "rest@example.org");
  AddDomain("example.org", "+", "", "nobody@example.org");
  EXPECT_EQ(Ask("whoever@example.org"), "unknown");
  AddDomain("example.org", "+", "", "away@example.net");
  EXPECT_EQ(Ask("whoever@example.org"), "remote:away@example.net");
}

TEST_F(LookupTest, StatusDecidesWhoTakesMail) {
  AddAccount("bob@example.org");
  AddAccount("susp@example.org", v1::STATUS_SUSPENDED);
  AddAccount("move@example.org", v1::STATUS_FROZEN);
  AddAccount("gone@example.org", v1::STATUS_DELETED);
  EXPECT_EQ(Ask("susp@example.org"), "suspended");
  EXPECT_EQ(Ask("move@example.org"), "suspended");
  EXPECT_EQ(Ask("gone@example.org"), "unknown");
  AddAlias("most@example.org", {"susp@example.org", "bob@example.org"});
  EXPECT_EQ(Ask("most@example.org"), "bob@example.org");
  AddAlias("wait@example.org", {"move@example.org", "bob@example.org"});
  EXPECT_EQ(Ask("wait@example.org"), "suspended");
  AddAlias("off@example.org", {"bob@example.org"}, v1::STATUS_SUSPENDED);
  EXPECT_EQ(Ask("off@example.org"), "suspended");
  AddDomain("example.org", "+", "", "", v1::STATUS_SUSPENDED);
  EXPECT_EQ(Ask("bob@example.org"), "suspended");
  AddDomain("example.org", "+");
  AddTenant("default", v1::STATUS_SUSPENDED);
  EXPECT_EQ(Ask("bob@example.org"), "suspended");
  AddTenant("default", v1::STATUS_DELETED);
  EXPECT_EQ(Ask("bob@example.org"), "unknown");
}

// RFC 5321 §4.5.1
TEST_F(LookupTest, PostmasterNeedsNoDomain) {
  EXPECT_EQ(Ask("Postmaster"), "unknown");
  AddDomain("old.example");
  AddAccount("boss@example.org");
  AddAlias("postmaster@old.example", {"boss@example.org"});
  EXPECT_EQ(Ask("POSTMASTER"), "boss@example.org");
  AddAccount("postmaster@example.org");
  EXPECT_EQ(Ask("postmaster"), "postmaster@example.org");
}

TEST_F(LookupTest, LimitsComeFromTheNearestThatSetsThem) {
  v1::Tenant tenant;
  tenant.set_tenant("default");
  tenant.mutable_limits()->set_storage_bytes(1);
  tenant.mutable_limits()->set_messages(2);
  tenant.mutable_limits()->set_sends_per_day(3);
  index_.PutTenant(tenant);
  v1::Domain domain = AddDomain("example.org", "+");
  domain.mutable_limits()->set_storage_bytes(10);
  domain.mutable_limits()->set_messages(20);
  index_.PutDomain(domain);
  v1::Account account;
  account.set_account_id("000102030405060708090a0b0c0d0e0f");
  account.set_address("bob@example.org");
  account.mutable_limits()->set_storage_bytes(100);
  index_.PutAccount(account);
  const AccountInfo info = *index_.FindAccountById(AccountId("000102030405060708090a0b0c0d0e0f"));
  EXPECT_EQ(info.limits.storage_bytes, 100u);
  EXPECT_EQ(info.limits.messages, 20u);
  EXPECT_EQ(info.limits.sends_per_day, 3u);
  EXPECT_EQ(info.limits.message_bytes, 0u);
}

TEST_F(LookupTest, AnAccountMaySendAsItsNames) {
  AddAccount("bob@example.org");
  AddAlias("sales@example.org", {"bob@example.org", "eve@example.net"});
  AddAlias("other@example.org", {"x@example.net"});
  AddDomain("example.com", "", "example.org");
  EXPECT_EQ(absl::StrJoin(MaySendAs(index_, *FindLogin(index_, "bob@example.org")), " "),
            "bob@example.org sales@example.org bob@example.com sales@example.com");
  index_.EraseAlias({"sales", "example.org"});
  index_.EraseDomain("example.com");
  EXPECT_EQ(absl::StrJoin(MaySendAs(index_, *FindLogin(index_, "bob@example.org")), " "), "bob@example.org");
}

TEST_F(LookupTest, LoginNamesAreAddressesOfAccountsOnly) {
  AddAccount("bob@example.org");
  AddAlias("sales@example.org", {"bob@example.org"});
  EXPECT_TRUE(FindLogin(index_, "BOB@example.org"));
  EXPECT_FALSE(FindLogin(index_, "bob+x@example.org"));
  EXPECT_FALSE(FindLogin(index_, "sales@example.org"));
  EXPECT_FALSE(FindLogin(index_, "bob"));
  EXPECT_FALSE(FindLogin(index_, ""));
}

TEST_F(LookupTest, ALoopIsFoundBeforeItIsMade) {
  AddAlias("b@example.org", {"c@example.org"});
  AddAlias("c@example.org", {"a@example.org", "x@example.net"});
  AddDomain("example.com", "", "example.org");
  EXPECT_EQ(FindLoop(index_, "a@example.org", {"x@example.net", "b@example.org"}),
            "a@example.org -> b@example.org -> c@example.org -> a@example.org");
  EXPECT_EQ(FindLoop(index_, "a@example.org", {"a@example.org"}), "a@example.org -> a@example.org");
  EXPECT_EQ(FindLoop(index_, "a@example.org", {"a+x@example.org"}), "a@example.org -> a@example.org");
  EXPECT_EQ(FindLoop(index_, "a@example.org", {"a@example.com"}), "a@example.org -> a@example.org");
  EXPECT_EQ(FindLoop(index_, "z@example.org", {"b@example.org"}), "");
}

// Slots are used again; what was erased is gone and what stays is found.
TEST_F(LookupTest, TheIndexSurvivesManyChanges) {
  std::vector<std::string> ids(2000);
  for (int i = 0; i < 2000; ++i) ids[i] = AddAccount(absl::StrCat("u", i, "@example.org"));
  for (int i = 0; i < 2000; i += 2) index_.EraseAccount({absl::StrCat("u", i), "example.org"});
  for (int i = 0; i < 500; ++i) AddAccount(absl::StrCat("n", i, "@example.org"));
  EXPECT_EQ(index_.accounts(), 1500u);
  EXPECT_EQ(index_.accounts_in("example.org"), 1500u);
  for (int i = 0; i < 2000; ++i) {
    const bool there = i % 2 == 1;
    EXPECT_EQ(index_.HasAccount({absl::StrCat("u", i), "example.org"}), there) << i;
    EXPECT_EQ(index_.FindAccountById(AccountId(ids[i])).has_value(), there) << i;
  }
}

// A home of its own for each account is odd, and no reason to end the process.
TEST_F(LookupTest, ThereMayBeAnyNumberOfHomes) {
  constexpr int kHomes = 70000;
  for (int i = 0; i < kHomes; ++i) {
    v1::Account account;
    account.set_account_id(absl::StrCat(absl::Hex(i, absl::kZeroPad16), absl::Hex(1, absl::kZeroPad16)));
    account.set_address(absl::StrCat("u", i, "@example.org"));
    account.set_home(absl::StrCat("home", i));
    index_.PutAccount(account);
  }
  for (const int i : {0, 65534, 65535, 65536, kHomes - 1}) {
    EXPECT_EQ(FindLogin(index_, absl::StrCat("u", i, "@example.org"))->home, Home(absl::StrCat("home", i)));
  }
}

}  // namespace
}  // namespace posthouse::directory
