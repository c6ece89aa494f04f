#include "services/routing/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "posthouse/config/v1/config.pb.h"

namespace posthouse::routing {
namespace {

using ::testing::StartsWith;

TEST(RoutingSettingsTest, AbsentKeysMeanTheDocumentedDefaults) {
  config::v1::Config config;
  config.set_hostname("Mail.Example.ORG");
  const absl::StatusOr<Settings> settings = ReadSettings(config);
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->hostname, "mail.example.org");
  EXPECT_EQ(settings->smtp_port, 25);
  EXPECT_EQ(settings->dns.timeout, absl::Seconds(3));
  EXPECT_EQ(settings->dns.tries, 3);
  EXPECT_EQ(settings->dns_cache.max_ttl, absl::Hours(1));
  EXPECT_EQ(settings->dns_cache.min_ttl, absl::Seconds(5));
  EXPECT_EQ(settings->recipient_cache_entries, 100000u);
  EXPECT_FALSE(settings->ipv6.has_value());  // as long as there is a route
  EXPECT_TRUE(settings->own_addresses.empty());
  EXPECT_FALSE(settings->allow_private_literals);
}

TEST(RoutingSettingsTest, MailGoesToPrivateNetworksOnlyWhereTheyAreNamed) {
  config::v1::Config config;
  EXPECT_FALSE(ReadSettings(config)->destinations.Allows("10.0.0.1"));
  EXPECT_TRUE(ReadSettings(config)->destinations.Allows("192.0.2.1"));
  config.mutable_routing()->set_smtp_port(2025);  // a test
  EXPECT_TRUE(ReadSettings(config)->destinations.Allows("127.0.0.1"));
  config.mutable_routing()->add_private_destinations("10.0.0.0/8");
  EXPECT_TRUE(ReadSettings(config)->destinations.Allows("10.0.0.1"));
  EXPECT_FALSE(ReadSettings(config)->destinations.Allows("127.0.0.1"));
  config.mutable_routing()->add_private_destinations("inside");
  EXPECT_EQ(ReadSettings(config).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(RoutingSettingsTest, ServersAndAddressesAreRead) {
  config::v1::Config config;
  auto& routing = *config.mutable_routing();
  for (const char* server : {"192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:53", "[fe80::1%eth0]:53"}) {
    routing.add_dns_servers(server);
  }
  routing.set_ipv6(false);
  routing.add_own_addresses("192.0.2.9");
  routing.set_postmaster("Root@Example.ORG");
  config.mutable_ingress()->mutable_smtp()->set_address("0.0.0.0");
  config.mutable_ingress()->mutable_smtp()->set_port(25);
  config.mutable_ingress()->mutable_submission()->set_disabled(true);
  const absl::StatusOr<Settings> settings = ReadSettings(config);
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->dns.servers.size(), 5u);
  EXPECT_EQ(settings->ipv6, false);
  EXPECT_EQ(settings->own_addresses, std::vector<std::string>{"192.0.2.9"});
  EXPECT_EQ(settings->postmaster, "Root@example.org");
  EXPECT_EQ(settings->listeners, (std::vector<net::Endpoint>{{"0.0.0.0", 25}, {"127.0.0.1", 2465}}));
}

TEST(RoutingSettingsTest, TransportsAreRead) {
  config::v1::Config config;
  config.mutable_routing()->set_smtp_port(2525);
  auto* first = config.mutable_routing()->add_transports();
  first->set_domain(".Example.ORG");
  first->set_host("[192.0.2.1]");
  first->set_tls("required");
  auto* second = config.mutable_routing()->add_transports();
  second->set_domain("*");
  second->set_host("Smart.Example");
  second->set_port(587);
  const absl::StatusOr<Settings> settings = ReadSettings(config);
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->transports[0].domain, ".example.org");
  EXPECT_EQ(settings->transports[0].host, "192.0.2.1");
  EXPECT_EQ(settings->transports[0].port, 2525);
  EXPECT_EQ(settings->transports[0].tls, v1::TLS_POLICY_REQUIRED);
  EXPECT_EQ(settings->transports[1].host, "smart.example");
  EXPECT_EQ(settings->transports[1].port, 587);
}

TEST(RoutingSettingsTest, MistakesAreNamed) {
  const auto refuse = [](auto change) {
    config::v1::Config config;
    change(*config.mutable_routing());
    const absl::StatusOr<Settings> settings = ReadSettings(config);
    EXPECT_EQ(settings.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(settings.status().message());
  };
  EXPECT_EQ(refuse([](auto& r) { r.set_smtp_port(70000); }), "routing.smtp_port is \"70000\": 1 to 65535");
  for (const std::string server : {"not-an-ip", "192.0.2.1:", "192.0.2.1:0", "[2001:db8::1", "192.0.2.0/24", ""}) {
    EXPECT_THAT(refuse([&](auto& r) { r.add_dns_servers(server); }),
                StartsWith("routing.dns_servers is \"" + server + "\": "));
  }
  EXPECT_THAT(refuse([](auto& r) { r.add_own_addresses("mx.example"); }),
              StartsWith("routing.own_addresses is \"mx.example\": "));
  EXPECT_THAT(refuse([](auto& r) { r.set_postmaster("root"); }), StartsWith("routing.postmaster is \"root\": "));
  EXPECT_THAT(refuse([](auto& r) { r.set_dns_tries(11); }), StartsWith("routing.dns_tries is \"11\": "));
  EXPECT_THAT(refuse([](auto& r) { r.mutable_dns_timeout()->set_seconds(0); }), StartsWith("routing.dns_timeout is "));
  EXPECT_THAT(refuse([](auto& r) { r.mutable_dns_min_ttl()->set_seconds(7200); }),
              StartsWith("routing.dns_max_ttl is "));
  EXPECT_THAT(refuse([](auto& r) { r.add_transports()->set_host("x.example"); }),
              StartsWith("routing.transports.domain is \"\": "));
  EXPECT_THAT(refuse([](auto& r) { r.add_transports()->set_domain("*"); }),
              StartsWith("routing.transports.host is \"\": "));
  const auto unknown_policy = [](auto& r) {
    auto* t = r.add_transports();
    t->set_domain("*");
    t->set_host("x.example");
    t->set_tls("sometimes");
  };
  EXPECT_THAT(refuse(unknown_policy), StartsWith("routing.transports.tls is \"sometimes\": "));
}

}  // namespace
}  // namespace posthouse::routing
