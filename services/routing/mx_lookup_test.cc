#include "services/routing/mx_lookup.h"

#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/routing/dns/testing/fake_resolver.h"

namespace posthouse::routing {
namespace {

using Response = v1::ResolveDestinationResponse;

class FakeNetwork final : public LocalNetwork {
 public:
  bool IsOwnAddress(absl::string_view address) override { return own.contains(std::string(address)); }
  bool IsListener(const net::Endpoint& endpoint) override { return listeners.contains(endpoint.ToString()); }
  bool HasIpv6Route() override { return ipv6; }
  std::set<std::string> own, listeners;
  bool ipv6 = false;
};

class MxLookupTest : public ::testing::Test {
 protected:
  // Outcome and hosts: "hosts mx1.example.org=192.0.2.1,192.0.2.2 mx2...".
  std::string Resolve(const std::string& domain) {
    MxLookup lookup(dns_, network_, {"mail.us.example", port_, ipv6_, transports_, destinations_, private_literals_},
                    [this](size_t n) { return random_ % n; });
    response_ = SyncWait(lookup.Resolve(domain));
    switch (response_.outcome()) {
      case Response::OUTCOME_NO_SUCH_DOMAIN:
        return "no such domain";
      case Response::OUTCOME_NULL_MX:
        return "null mx";
      case Response::OUTCOME_LOOP:
        return "loop";
      case Response::OUTCOME_TEMPORARY:
        return "temporary";
      case Response::OUTCOME_PRIVATE:
        return "private";
      case Response::OUTCOME_HOSTS:
        break;
      default:
        return "?";
    }
    return absl::StrJoin(response_.hosts(), " ", [](std::string* out, const v1::Host& host) {
      absl::StrAppend(out, host.name(), "=", absl::StrJoin(host.addresses(), ","));
    });
  }

  dns::FakeResolver dns_;
  uint16_t port_ = 25;
  std::optional<bool> ipv6_;
  FakeNetwork network_;
  std::vector<Transport> transports_;
  DestinationNetworks destinations_;
  bool private_literals_ = false;
  size_t random_ = 0;
  Response response_;
};

// RFC 5321 §5.1
TEST_F(MxLookupTest, HostsComeInOrderOfPreference) {
  dns_.Mx("example.org", {{20, "b.example.org"}, {10, "a.example.org"}, {30, "c.example.org"}}, absl::Seconds(300));
  dns_.A("a.example.org", {"192.0.2.1", "192.0.2.11"}, absl::Seconds(200));
  dns_.A("b.example.org", {"192.0.2.2"});
  dns_.A("c.example.org", {"192.0.2.3"});
  EXPECT_EQ(Resolve("Example.ORG"),
            "a.example.org=192.0.2.1,192.0.2.11 b.example.org=192.0.2.2 c.example.org=192.0.2.3");
  EXPECT_EQ(response_.ttl().seconds(), 200);
  EXPECT_EQ(response_.hosts(1).preference(), 20u);
  EXPECT_EQ(response_.hosts(1).port(), 25u);
  EXPECT_EQ(response_.hosts(1).tls(), v1::TLS_POLICY_OPPORTUNISTIC);
  EXPECT_EQ(response_.site(), "a.example.org");
}

TEST_F(MxLookupTest, EqualHostsComeInEveryOrder) {
  dns_.Mx("example.org", {{10, "a.example.org"}, {10, "b.example.org"}, {10, "c.example.org"}});
  for (const char* host : {"a", "b", "c"}) dns_.A(absl::StrCat(host, ".example.org"), {"192.0.2.1"});
  std::set<std::string> orders, sites;
  for (random_ = 0; random_ < 6; ++random_) {
    orders.insert(Resolve("example.org"));
    sites.insert(response_.site());
  }
  EXPECT_GE(orders.size(), 3u);
  EXPECT_EQ(sites, (std::set<std::string>{"a.example.org,b.example.org,c.example.org"}));
}

TEST_F(MxLookupTest, WithoutMxTheDomainItselfIsTheHost) {
  dns_.A("plain.example", {"192.0.2.5"});
  EXPECT_EQ(Resolve("plain.example"), "plain.example=192.0.2.5");
  dns_.Exists("empty.example");
  EXPECT_EQ(Resolve("empty.example"), "no such domain");
  EXPECT_EQ(Resolve("nowhere.example"), "no such domain");
  EXPECT_EQ(Resolve("not a domain"), "no such domain");
}

// RFC 7505
TEST_F(MxLookupTest, NullMxTakesNoMail) {
  dns_.Mx("null.example", {{0, ""}});
  dns_.A("null.example", {"192.0.2.5"});
  EXPECT_EQ(Resolve("null.example"), "null mx");
  dns_.Mx("odd.example", {{0, ""}, {10, "mx.example.org"}});
  dns_.A("mx.example.org", {"192.0.2.1"});
  EXPECT_EQ(Resolve("odd.example"), "mx.example.org=192.0.2.1");
}

TEST_F(MxLookupTest, TroubleIsTemporaryAndGoesRoundWhereItCan) {
  dns_.Fail("broken.example", absl::UnavailableError("SERVFAIL"));
  EXPECT_EQ(Resolve("broken.example"), "temporary");
  EXPECT_NE(response_.detail().find("SERVFAIL"), std::string::npos);
  dns_.Mx("half.example", {{10, "slow.example"}, {20, "good.example"}});
  dns_.Fail("slow.example", absl::DeadlineExceededError("time-out"));
  dns_.A("good.example", {"192.0.2.1"});
  EXPECT_EQ(Resolve("half.example"), "good.example=192.0.2.1");
  EXPECT_LE(response_.ttl().seconds(), 60);
  dns_.Mx("dark.example", {{10, "slow.example"}, {20, "gone.example"}});
  EXPECT_EQ(Resolve("dark.example"), "temporary");
  dns_.Mx("dead.example", {{10, "gone.example"}, {20, "gone2.example"}});
  EXPECT_EQ(Resolve("dead.example"), "no such domain");
}

// RFC 5321 §5.1: a host in the list that is us.
TEST_F(MxLookupTest, WeNeverSendToOurselves) {
  dns_.A("mail.us.example", {"192.0.2.100"});
  dns_.A("better.example", {"192.0.2.1"});
  dns_.A("equal.example", {"192.0.2.2"});
  dns_.A("worse.example", {"192.0.2.3"});
  dns_.Mx("second.example",
          {{10, "better.example"}, {20, "mail.us.example"}, {20, "equal.example"}, {30, "worse.example"}});
  EXPECT_EQ(Resolve("second.example"), "better.example=192.0.2.1");
  dns_.Mx("first.example", {{10, "mail.us.example"}, {20, "worse.example"}});
  EXPECT_EQ(Resolve("first.example"), "loop");
  EXPECT_EQ(Resolve("mail.us.example"), "loop");  // implicit MX
}

TEST_F(MxLookupTest, LiteralsNeedNoDns) {
  dns_.FailAll(absl::UnavailableError("down"));
  EXPECT_EQ(Resolve("[192.0.2.1]"), "[192.0.2.1]=192.0.2.1");
  EXPECT_EQ(Resolve("[IPv6:2001:db8::1]"), "[IPv6:2001:db8::1]=2001:db8::1");
  EXPECT_EQ(Resolve("[nonsense]"), "no such domain");
  EXPECT_EQ(Resolve("["), "no such domain");
  EXPECT_EQ(Resolve("[]"), "no such domain");
}

// Whoever owns a domain chooses its addresses; it must not lead into the network of this system.
TEST_F(MxLookupTest, NamesThatLeadToPrivateNetworksGetNoMail) {
  ipv6_ = true;
  const std::vector<std::string> internal = {"127.0.0.1",       "0.0.0.0",    "10.0.0.5", "192.168.1.1",
                                             "169.254.169.254", "100.64.0.1", "224.0.0.1"};
  for (size_t i = 0; i < internal.size(); ++i) {
    const std::string domain = absl::StrCat("evil", i, ".example");
    dns_.Mx(domain, {{10, absl::StrCat("mx.", domain)}});
    dns_.A(absl::StrCat("mx.", domain), {internal[i]});
    EXPECT_EQ(Resolve(domain), "private") << internal[i];
    EXPECT_EQ(response_.detail(),
              absl::StrCat("the mail hosts of ", domain, " have only addresses of private networks: mx.", domain, " ",
                           internal[i]));
    EXPECT_EQ(Resolve(absl::StrCat("[", internal[i], "]")), "private");
  }
  dns_.Aaaa("six.example", {"::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "::"});
  EXPECT_EQ(Resolve("six.example"), "private");  // implicit MX
  // The others are used.
  dns_.Mx("mixed.example", {{10, "mx.evil2.example"}, {20, "two.example"}});
  dns_.A("two.example", {"10.0.0.9", "192.0.2.7"});
  EXPECT_EQ(Resolve("mixed.example"), "two.example=192.0.2.7");
  // One of them may have an address that is not known for now.
  dns_.Mx("dark.example", {{10, "mx.evil2.example"}, {20, "slow.example"}});
  dns_.Fail("slow.example", absl::DeadlineExceededError("time-out"));
  EXPECT_EQ(Resolve("dark.example"), "temporary");
  // What an administrator configures may lead there.
  transports_ = {{"evil2.example", "mx.evil2.example", 25, v1::TLS_POLICY_NONE}};
  EXPECT_EQ(Resolve("evil2.example"), "mx.evil2.example=10.0.0.5");
  transports_.clear();
  destinations_ = DestinationNetworks({*net::Cidr::Parse("10.0.0.0/8")});
  EXPECT_EQ(Resolve("evil2.example"), "mx.evil2.example=10.0.0.5");
  EXPECT_EQ(Resolve("evil3.example"), "private");
  private_literals_ = true;
  EXPECT_EQ(Resolve("[192.168.1.1]"), "[192.168.1.1]=192.168.1.1");
  destinations_ = DestinationNetworks::All();
  EXPECT_EQ(Resolve("evil0.example"), "mx.evil0.example=127.0.0.1");
}

TEST_F(MxLookupTest, Ipv6IsUsedWhenWishedOrRouted) {
  dns_.Mx("example.org", {{10, "mx.example.org"}});
  dns_.A("mx.example.org", {"192.0.2.1", "192.0.2.2", "192.0.2.3"});
  dns_.Aaaa("mx.example.org", {"2001:db8::1", "2001:db8::2"});
  const std::string both = "mx.example.org=2001:db8::1,192.0.2.1,2001:db8::2,192.0.2.2,192.0.2.3";
  const std::string ipv4 = "mx.example.org=192.0.2.1,192.0.2.2,192.0.2.3";
  for (const bool route : {false, true}) {
    network_.ipv6 = route;
    ipv6_ = std::nullopt;
    EXPECT_EQ(Resolve("example.org"), route ? both : ipv4);
    ipv6_ = true;
    EXPECT_EQ(Resolve("example.org"), both);
    ipv6_ = false;
    EXPECT_EQ(Resolve("example.org"), ipv4);
  }
}

// A domain whose hosts have IPv6 addresses only does exist, whatever our network.
TEST_F(MxLookupTest, AnIpv6OnlyHostIsNotUnknown) {
  dns_.Mx("six.example", {{10, "mx.six.example"}});
  dns_.Aaaa("mx.six.example", {"2001:db8::1"});
  dns_.Aaaa("bare.example", {"2001:db8::2"});
  EXPECT_EQ(Resolve("six.example"), "mx.six.example=2001:db8::1");
  EXPECT_EQ(Resolve("bare.example"), "bare.example=2001:db8::2");
  // A host with both is not worth an address without a route.
  dns_.Mx("both.example", {{10, "mx.six.example"}, {20, "mx4.example"}});
  dns_.A("mx4.example", {"192.0.2.1"});
  EXPECT_EQ(Resolve("both.example"), "mx.six.example=2001:db8::1 mx4.example=192.0.2.1");
  ipv6_ = false;
  EXPECT_EQ(Resolve("both.example"), "mx4.example=192.0.2.1");
  EXPECT_EQ(Resolve("six.example"), "temporary");
  EXPECT_EQ(response_.detail(), "mx.six.example has IPv6 addresses only, and routing.ipv6 is false");
  EXPECT_EQ(Resolve("bare.example"), "temporary");
}

// RFC 5321 §5.1: a host that is us under another name.
TEST_F(MxLookupTest, OurAddressIsUsWhateverItsName) {
  destinations_ = DestinationNetworks::All();
  network_.own = {"192.0.2.100", "2001:db8::100"};
  network_.listeners = {"127.0.0.1:25"};
  dns_.A("alias.example", {"192.0.2.100"});
  dns_.A("local.example", {"192.0.2.7", "127.0.0.1"});
  dns_.A("better.example", {"192.0.2.1"});
  dns_.A("worse.example", {"192.0.2.3"});
  dns_.Mx("first.example", {{10, "alias.example"}, {20, "worse.example"}});
  EXPECT_EQ(Resolve("first.example"), "loop");
  EXPECT_EQ(response_.detail(), "the best mail host of first.example, alias.example, has an address of this system");
  dns_.Mx("second.example", {{10, "better.example"}, {20, "alias.example"}, {20, "worse.example"}});
  EXPECT_EQ(Resolve("second.example"), "better.example=192.0.2.1");
  EXPECT_EQ(Resolve("alias.example"), "loop");  // implicit MX
  EXPECT_EQ(Resolve("local.example"), "loop");
  port_ = 2525;  // something else listens there
  EXPECT_EQ(Resolve("local.example"), "local.example=192.0.2.7,127.0.0.1");
  EXPECT_EQ(Resolve("[192.0.2.100]"), "loop");
  EXPECT_EQ(Resolve("[IPv6:2001:db8::100]"), "loop");
  // A transport to ourselves is a mistake of ours, which bounces nobody's mail.
  transports_ = {{"*", "127.0.0.1", 25, v1::TLS_POLICY_NONE}};
  EXPECT_EQ(Resolve("first.example"), "temporary");
  EXPECT_EQ(response_.detail(), "transport *: host 127.0.0.1 port 25 is this system");
}

TEST_F(MxLookupTest, TransportsComeBeforeDns) {
  transports_ = {{"example.org", "192.0.2.50", 2525, v1::TLS_POLICY_NONE},
                 {".example.org", "smart.example", 587, v1::TLS_POLICY_VERIFY},
                 {"*", "gone.example", 25, v1::TLS_POLICY_OPPORTUNISTIC}};
  dns_.A("smart.example", {"192.0.2.60"});
  EXPECT_EQ(Resolve("example.org"), "192.0.2.50=192.0.2.50");
  EXPECT_EQ(response_.hosts(0).port(), 2525u);
  EXPECT_EQ(response_.hosts(0).tls(), v1::TLS_POLICY_NONE);
  EXPECT_EQ(response_.site(), "192.0.2.50:2525");
  EXPECT_EQ(Resolve("a.b.example.org"), "smart.example=192.0.2.60");
  EXPECT_EQ(response_.hosts(0).tls(), v1::TLS_POLICY_VERIFY);
  EXPECT_EQ(Resolve("other.example"), "temporary");  // our mistake bounces nobody's mail
}

TEST_F(MxLookupTest, ListsAreBounded) {
  std::vector<dns::MxRecord> many;
  std::vector<std::string> addresses;
  for (int i = 0; i < 100; ++i) {
    many.push_back({static_cast<uint16_t>(i), absl::StrCat("m", i, ".example")});
    addresses.push_back(absl::StrCat("192.0.2.", i));
  }
  for (const dns::MxRecord& record : many) dns_.A(record.host, addresses);
  dns_.Mx("many.example", many);
  Resolve("many.example");
  EXPECT_EQ(response_.hosts_size(), static_cast<int>(kMaxHosts));
  EXPECT_EQ(response_.hosts(0).name(), "m0.example");
  EXPECT_EQ(response_.hosts(0).addresses_size(), static_cast<int>(kMaxAddresses));
}

}  // namespace
}  // namespace posthouse::routing
