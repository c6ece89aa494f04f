#include "services/routing/recipient_resolver.h"

#include <gtest/gtest.h>

#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace posthouse::routing {
namespace {

using directory::v1::LookupAddressResponse;
using Response = v1::ResolveRecipientResponse;

class RecipientResolverTest : public ::testing::Test {
 protected:
  RecipientResolverTest()
      : resolver_([this](std::string address, std::string) { return Directory(std::move(address)); }, 100,
                  [this] { return now_; }, [](RecipientResolver::Source) {}, {"mail.host.example", "", false}) {}

  Task<absl::StatusOr<LookupAddressResponse>> Directory(std::string address) {
    ++asked_;
    if (!down_.ok()) co_return down_;
    const auto it = answers_.find(absl::AsciiStrToLower(address));
    LookupAddressResponse response;
    if (it != answers_.end()) response = it->second;
    const std::string domain = address.substr(address.rfind('@') + 1);
    if (it == answers_.end()) {
      response.set_outcome(ours_.contains(domain) ? LookupAddressResponse::OUTCOME_NO_SUCH_ADDRESS
                                                  : LookupAddressResponse::OUTCOME_NOT_LOCAL);
      if (ours_.contains(domain)) response.add_depends_on(absl::AsciiStrToLower(address));
    }
    response.add_depends_on(domain);
    response.set_revision(revision_);
    response.mutable_ttl()->set_seconds(30);
    co_return response;
  }
  void AddLocal(const std::string& address, const std::string& account_id) {
    LookupAddressResponse response;
    response.set_outcome(LookupAddressResponse::OUTCOME_FOUND);
    response.set_tenant("default");
    response.add_depends_on(address);
    auto* target = response.add_targets();
    target->set_address(address);
    target->mutable_account()->set_account_id(account_id);
    target->mutable_limits()->set_message_bytes(1000);
    answers_[address] = response;
  }
  void Change(const std::string& name, directory::v1::Change::Kind kind = directory::v1::Change::KIND_ACCOUNT) {
    directory::v1::WatchResponse changes;
    changes.add_changes()->set_name(name);
    changes.mutable_changes(0)->set_kind(kind);
    resolver_.OnChanged(++revision_, changes);
    resolver_.OnAlive();
  }
  std::string Resolve(const std::string& address, bool may_relay = false) {
    v1::ResolveRecipientRequest request;
    request.set_address(address);
    request.set_may_relay(may_relay);
    response_ = SyncWait(resolver_.Resolve(request));
    switch (response_.outcome()) {
      case Response::OUTCOME_NO_SUCH_MAILBOX:
        return "no such mailbox";
      case Response::OUTCOME_BAD_ADDRESS:
        return "bad address";
      case Response::OUTCOME_RELAY_DENIED:
        return "relay denied";
      case Response::OUTCOME_SUSPENDED:
        return "suspended";
      case Response::OUTCOME_TEMPORARY:
        return "temporary";
      case Response::OUTCOME_TOO_DEEP:
      case Response::OUTCOME_TOO_MANY:
        return response_.detail();
      case Response::OUTCOME_ACCEPT:
        break;
      default:
        return "?";
    }
    return absl::StrJoin(response_.recipients(), " ", [](std::string* out, const v1::Recipient& recipient) {
      absl::StrAppend(out, recipient.address(), ">",
                      recipient.has_local() ? recipient.local().account().account_id() : recipient.remote().domain());
    });
  }

  std::map<std::string, LookupAddressResponse> answers_;
  std::map<std::string, bool> ours_ = {{"example.org", true}};
  absl::Status down_;
  uint64_t revision_ = 1;
  int asked_ = 0;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  RecipientResolver resolver_;
  Response response_;
};

TEST_F(RecipientResolverTest, EveryAddressHasOneAnswer) {
  AddLocal("bob@example.org", "b0b");
  EXPECT_EQ(Resolve("Bob@Example.ORG"), "bob@example.org>b0b");
  EXPECT_EQ(response_.tenant(), "default");
  EXPECT_EQ(response_.recipients(0).local().max_message_bytes(), 1000u);
  EXPECT_GT(response_.ttl().seconds(), 0);
  EXPECT_EQ(Resolve("eve@example.org"), "no such mailbox");
  EXPECT_EQ(response_.ttl().seconds(), 0);
  EXPECT_EQ(Resolve("nonsense"), "bad address");
  EXPECT_EQ(Resolve("@a.example:b@example.org"), "bad address");
  answers_["sus@example.org"].set_outcome(LookupAddressResponse::OUTCOME_SUSPENDED);
  EXPECT_EQ(Resolve("sus@example.org"), "suspended");
}

// No open relay.
TEST_F(RecipientResolverTest, ForeignDomainsAreForThoseWhoMayRelay) {
  EXPECT_EQ(Resolve("X@Example.NET"), "relay denied");
  EXPECT_EQ(Resolve("X@Example.NET", true), "X@example.net>example.net");
  EXPECT_EQ(Resolve("y@b\xC3\xBC"
                    "cher.example",
                    true),
            "y@xn--bcher-kva.example>xn--bcher-kva.example");
  EXPECT_EQ(Resolve("x@[192.0.2.1]", true), "x@[192.0.2.1]>[192.0.2.1]");
  EXPECT_EQ(Resolve("x@[192.0.2.1]"), "relay denied");
  EXPECT_EQ(Resolve("example.net!x@example.org"), "no such mailbox");
  EXPECT_EQ(Resolve("x%example.net@example.org"), "no such mailbox");
  EXPECT_EQ(Resolve("\"x@example.net\"@example.org"), "no such mailbox");
}

TEST_F(RecipientResolverTest, ForwardsGoToForeignHostsForEverybody) {
  AddLocal("list@example.org", "b0b");
  answers_["list@example.org"].add_targets()->set_address("away@example.net");
  EXPECT_EQ(Resolve("list@example.org"), "list@example.org>b0b away@example.net>example.net");
}

TEST_F(RecipientResolverTest, PostmasterNeedsNoDomain) {
  AddLocal("postmaster", "b0b");
  EXPECT_EQ(Resolve("POSTMASTER"), "postmaster>b0b");
  answers_.clear();
  resolver_.OnLost();
  now_ += absl::Hours(5);
  EXPECT_EQ(Resolve("postmaster"), "no such mailbox");
  EXPECT_EQ(Resolve("postmaster", true), "no such mailbox");
}

// RFC 5321 §4.5.1: reports come from this host's name, which is often no mail domain.
TEST_F(RecipientResolverTest, TheHostNameHasAPostmaster) {
  AddLocal("postmaster", "b0b");
  EXPECT_EQ(Resolve("postmaster@mail.host.example"), "postmaster>b0b");
  EXPECT_EQ(Resolve("PostMaster@MAIL.host.example"), "postmaster>b0b");
  EXPECT_EQ(Resolve("MAILER-DAEMON@mail.host.example"), "postmaster>b0b");
  EXPECT_EQ(Resolve("other@mail.host.example"), "relay denied");
  EXPECT_EQ(Resolve("postmaster@host.example"), "relay denied");
  // The directory's own answer comes first.
  ours_["mail.host.example"] = true;
  AddLocal("postmaster@mail.host.example", "e5e");
  resolver_.OnLost();
  now_ += absl::Hours(5);
  EXPECT_EQ(Resolve("postmaster@mail.host.example"), "postmaster@mail.host.example>e5e");
  EXPECT_EQ(Resolve("mailer-daemon@mail.host.example"), "postmaster>b0b");
}

TEST_F(RecipientResolverTest, APostmasterCanBeConfigured) {
  AddLocal("postmaster", "b0b");
  AddLocal("root@example.org", "e5e");
  RecipientResolver resolver([this](std::string address, std::string) { return Directory(std::move(address)); }, 100,
                             [this] { return now_; }, [](RecipientResolver::Source) {},
                             {"mail.host.example", "root@example.org", false});
  v1::ResolveRecipientRequest request;
  request.set_address("postmaster@mail.host.example");
  const Response response = SyncWait(resolver.Resolve(request));
  ASSERT_EQ(response.recipients_size(), 1);
  EXPECT_EQ(response.recipients(0).local().account().account_id(), "e5e");
}

// Authenticated users must not reach what only this machine can reach.
TEST_F(RecipientResolverTest, LiteralsOfInternalNetworksAreRefused) {
  const std::vector<std::string> internal = {"x@[127.0.0.1]", "x@[10.0.0.1]",     "x@[169.254.169.254]",
                                             "x@[IPv6:::1]",  "x@[IPv6:fe80::1]", "x@[IPv6:::ffff:10.0.0.1]"};
  for (const std::string& address : internal) EXPECT_EQ(Resolve(address, true), "relay denied") << address;
  EXPECT_EQ(Resolve("x@[IPv6:2001:db8::1]", true), "x@[IPv6:2001:db8::1]>[IPv6:2001:db8::1]");
  RecipientResolver open([this](std::string address, std::string) { return Directory(std::move(address)); }, 100,
                         [this] { return now_; }, [](RecipientResolver::Source) {}, {"h.example", "", true});
  for (const std::string& address : internal) {
    v1::ResolveRecipientRequest request;
    request.set_address(address);
    request.set_may_relay(true);
    EXPECT_EQ(SyncWait(open.Resolve(request)).outcome(), Response::OUTCOME_ACCEPT) << address;
  }
}

TEST_F(RecipientResolverTest, WithTheStreamAnswersHoldUntilTheyChange) {
  resolver_.OnAlive();
  EXPECT_EQ(Resolve("bob@example.org"), "no such mailbox");
  for (int minute = 0; minute < 50; ++minute) {
    now_ += absl::Minutes(1);
    resolver_.OnAlive();
    Resolve("bob@example.org");
  }
  EXPECT_EQ(asked_, 1);
  Change("eve@example.org");
  Change("bob@example.org", directory::v1::Change::KIND_CREDENTIAL);
  Resolve("bob@example.org");
  EXPECT_EQ(asked_, 1);
  AddLocal("bob@example.org", "b0b");
  Change("bob@example.org");
  EXPECT_EQ(Resolve("bob@example.org"), "bob@example.org>b0b");
  EXPECT_EQ(asked_, 2);
  Resolve("bob@example.org");
  EXPECT_EQ(asked_, 2);
  Change("example.org", directory::v1::Change::KIND_DOMAIN);
  Resolve("bob@example.org");
  EXPECT_EQ(asked_, 3);
}

TEST_F(RecipientResolverTest, WithoutTheStreamAnswersHoldForTheirTtl) {
  AddLocal("bob@example.org", "b0b");
  Resolve("bob@example.org");
  now_ += absl::Seconds(29);
  Resolve("bob@example.org");
  EXPECT_EQ(asked_, 1);
  now_ += absl::Seconds(2);
  Resolve("bob@example.org");
  EXPECT_EQ(asked_, 2);
}

TEST_F(RecipientResolverTest, MissedChangesMakeEverythingUnsure) {
  resolver_.OnAlive();
  AddLocal("bob@example.org", "b0b");
  Resolve("bob@example.org");
  now_ += absl::Seconds(40);
  resolver_.OnLost();
  resolver_.OnAlive();
  Resolve("bob@example.org");
  EXPECT_EQ(asked_, 2);
}

TEST_F(RecipientResolverTest, WhenTheDirectoryIsAwayWhatItSaidServes) {
  AddLocal("bob@example.org", "b0b");
  AddLocal("eve@example.org", "e5e");
  Resolve("bob@example.org");
  Resolve("eve@example.org");
  Resolve("x@example.net", true);
  down_ = absl::UnavailableError("away");
  now_ += absl::Minutes(30);
  EXPECT_EQ(Resolve("bob@example.org"), "bob@example.org>b0b");
  EXPECT_EQ(Resolve("y@example.net", true), "y@example.net>example.net");
  EXPECT_EQ(Resolve("new@example.org"), "temporary");
  Change("eve@example.org");
  now_ += absl::Minutes(2);
  EXPECT_EQ(Resolve("eve@example.org"), "temporary");  // known to have changed
  now_ += absl::Hours(3);
  EXPECT_EQ(Resolve("bob@example.org"), "temporary");
}

TEST_F(RecipientResolverTest, ADirectoryThatCannotExpandIsTemporary) {
  AddLocal("bob@example.org", "b0b");
  Resolve("bob@example.org");
  now_ += absl::Minutes(1);
  down_ = absl::FailedPreconditionError("aliases are nested deeper than 10");
  EXPECT_EQ(Resolve("bob@example.org"), "temporary");
  down_ = absl::InvalidArgumentError("no");
  EXPECT_EQ(Resolve("eve@example.org"), "bad address");
}

TEST_F(RecipientResolverTest, AForeignDomainThatBecomesOursIsAskedAgain) {
  resolver_.OnAlive();
  EXPECT_EQ(Resolve("a@new.example"), "relay denied");
  EXPECT_EQ(Resolve("b@new.example"), "relay denied");
  EXPECT_EQ(asked_, 1);  // one entry for the whole domain
  ours_["new.example"] = true;
  AddLocal("a@new.example", "aaa");
  Change("new.example", directory::v1::Change::KIND_DOMAIN);
  EXPECT_EQ(Resolve("a@new.example"), "a@new.example>aaa");
  EXPECT_EQ(Resolve("a@new.example"), "a@new.example>aaa");
  EXPECT_EQ(asked_, 2);
}

TEST_F(RecipientResolverTest, TheCacheIsBounded) {
  resolver_.OnAlive();
  for (int i = 0; i < 1000; ++i) Resolve(absl::StrCat("u", i, "@example.org"));
  EXPECT_LE(resolver_.cached(), 100u);
}

TEST_F(RecipientResolverTest, AliasesOverALimitAreADefiniteRefusalWithTheReason) {
  LookupAddressResponse deep;
  deep.set_outcome(LookupAddressResponse::OUTCOME_TOO_DEEP);
  deep.set_detail("a -> b");
  answers_["deep@ours.example"] = deep;
  EXPECT_EQ(Resolve("deep@ours.example"), "a -> b");
  EXPECT_EQ(response_.outcome(), Response::OUTCOME_TOO_DEEP);
  LookupAddressResponse many;
  many.set_outcome(LookupAddressResponse::OUTCOME_TOO_MANY);
  many.set_detail("too many");
  answers_["many@ours.example"] = many;
  EXPECT_EQ(Resolve("many@ours.example"), "too many");
  EXPECT_EQ(response_.outcome(), Response::OUTCOME_TOO_MANY);
}

}  // namespace
}  // namespace posthouse::routing
