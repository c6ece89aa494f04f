#include "services/ingress/open_networks.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace posthouse::ingress {
namespace {

std::vector<net::Cidr> Networks(const std::vector<std::string>& texts) {
  std::vector<net::Cidr> networks;
  for (const std::string& text : texts) networks.push_back(*net::Cidr::Parse(text));
  return networks;
}

TEST(OpenNetworksTest, EverybodyIsRecognised) {
  for (const auto& open : std::vector<std::vector<std::string>>{
           {"0.0.0.0/0"}, {"::/0"}, {"2000::/3"}, {"10.0.0.0/8", "0.0.0.0/0"}, {"0.0.0.0/1", "128.0.0.0/1"}}) {
    EXPECT_TRUE(CoversEverybody(Networks(open))) << open[0];
  }
  for (const auto& closed : std::vector<std::vector<std::string>>{
           {}, {"10.0.0.0/8"}, {"0.0.0.0/1"}, {"127.0.0.1", "::1"}, {"fc00::/7", "192.0.2.0/24"}}) {
    EXPECT_FALSE(CoversEverybody(Networks(closed)));
  }
}

TEST(OpenNetworksTest, AWarningAndAGaugeTellOfIt) {
  metrics::Registry registry;
  OpenNetworks open(registry);
  Settings settings;
  settings.relay_networks = Networks({"10.0.0.0/8"});
  open.Look(settings);
  const std::string relay = "posthouse_ingress_open_to_everybody{setting=\"relay_networks\"} ";
  const std::string proxy = "posthouse_ingress_open_to_everybody{setting=\"proxy_from\"} ";
  EXPECT_TRUE(absl::StrContains(registry.Serialize(), relay + "0")) << registry.Serialize();
  settings.relay_networks = Networks({"0.0.0.0/0"});
  settings.smtp.proxy_from = Networks({"::/0"});
  open.Look(settings);
  EXPECT_TRUE(absl::StrContains(registry.Serialize(), relay + "1")) << registry.Serialize();
  EXPECT_TRUE(absl::StrContains(registry.Serialize(), proxy + "1"));
  settings.smtp.enabled = false;
  open.Look(settings);
  EXPECT_TRUE(absl::StrContains(registry.Serialize(), proxy + "0"));
}

}  // namespace
}  // namespace posthouse::ingress
