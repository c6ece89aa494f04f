#include "services/routing/local_network.h"
#include "services/common/ip_address/ip_address.h"

#include <gtest/gtest.h>

namespace posthouse::routing {
namespace {

TEST(IpAddressTest, SpellingsOfOneAddressAreEqual) {
  EXPECT_EQ(IpBytes("2001:DB8:0:0::1"), IpBytes("2001:db8::1"));
  EXPECT_EQ(IpBytes("::ffff:192.0.2.1"), IpBytes("192.0.2.1"));
  for (const char* text : {"", "banana", "192.0.2", "192.0.2.0/24", "[::1]", "fe80::1%eth0"}) {
    EXPECT_FALSE(IsIpAddress(text)) << text;
    EXPECT_FALSE(IsGlobal(text)) << text;
  }
}

TEST(IpAddressTest, InternalNetworksAreNotGlobal) {
  for (const char* text : {"0.0.0.0",         "10.1.2.3",     "100.64.0.1",
                           "100.127.255.255", "127.0.0.1",    "127.9.8.7",
                           "169.254.169.254", "172.16.0.1",   "172.31.255.255",
                           "192.168.1.1",     "198.18.0.1",   "224.0.0.1",
                           "255.255.255.255", "::",           "::1",
                           "::ffff:10.0.0.1", "fe80::1",      "fc00::1",
                           "fdff::1",         "ff02::1",      "64:ff9b::7f00:1",
                           "2002:7f00:1::1",  "2002:a00:1::1"}) {
    EXPECT_FALSE(IsGlobal(text)) << text;
  }
  for (const char* text : {"192.0.2.1", "8.8.8.8", "100.63.0.1", "100.128.0.1", "172.15.0.1", "172.32.0.1",
                           "2001:db8::1", "2a00:1450::1", "64:ff9b::808:808", "::ffff:8.8.8.8"}) {
    EXPECT_TRUE(IsGlobal(text)) << text;
  }
}

TEST(LocalNetworkTest, ConfiguredAddressesAreOurs) {
  SystemNetwork network({"192.0.2.1", "2001:db8::1"}, {});
  EXPECT_TRUE(network.IsOwnAddress("192.0.2.1"));
  EXPECT_TRUE(network.IsOwnAddress("::ffff:192.0.2.1"));
  EXPECT_TRUE(network.IsOwnAddress("2001:DB8:0::1"));
  EXPECT_FALSE(network.IsOwnAddress("192.0.2.2"));
}

TEST(LocalNetworkTest, InterfacesAreOursAndLoopbackIsOnlyWhereWeListen) {
  SystemNetwork network({}, {{"127.0.0.1", 2525}, {"0.0.0.0", 2526}, {"127.0.0.1", 0}});
  EXPECT_FALSE(network.IsOwnAddress("127.0.0.1"));
  EXPECT_FALSE(network.IsOwnAddress("192.0.2.77"));
  EXPECT_TRUE(network.IsListener({"127.0.0.1", 2525}));
  EXPECT_FALSE(network.IsListener({"127.0.0.2", 2525}));
  EXPECT_FALSE(network.IsListener({"127.0.0.1", 25}));
  EXPECT_FALSE(network.IsListener({"127.0.0.1", 0}));
  EXPECT_TRUE(network.IsListener({"127.0.0.2", 2526}));
  EXPECT_FALSE(network.IsListener({"192.0.2.77", 2526}));
  EXPECT_TRUE(InterfaceAddresses().contains(IpBytes("127.0.0.1")));
}

}  // namespace
}  // namespace posthouse::routing
