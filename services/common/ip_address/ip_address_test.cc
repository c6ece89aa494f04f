#include "services/common/ip_address/ip_address.h"

#include <gtest/gtest.h>

namespace posthouse {
namespace {

TEST(IpAddressTest, AnAddressIsInTheNetworkOfItsNeighbours) {
  EXPECT_EQ(NetworkOf("192.0.2.77", 24, 64), "192.0.2.0/24");
  EXPECT_EQ(NetworkOf("::ffff:192.0.2.77", 24, 64), "192.0.2.0/24");
  EXPECT_EQ(NetworkOf("2001:db8:0:1:2:3:4:5", 24, 64), "2001:db8:0:1::/64");
  EXPECT_EQ(NetworkOf("2001:db8:ffff:1:2:3:4:5", 24, 36), "2001:db8:f000::/36");
  EXPECT_EQ(NetworkOf("192.0.2.77", 0, 0), "0.0.0.0/0");
  EXPECT_EQ(NetworkOf("unix", 24, 64), "unix");
  EXPECT_EQ(NetworkOf("", 24, 64), "");
}

TEST(IpAddressTest, ACustomersWholeNetworkIsOneClient) {
  EXPECT_EQ(ClientOf("2001:db8:0:1::5"), ClientOf("2001:db8:0:1:ffff::6"));
  EXPECT_NE(ClientOf("2001:db8:0:1::5"), ClientOf("2001:db8:0:2::5"));
  EXPECT_EQ(ClientOf("192.0.2.77"), "192.0.2.77/32");
  EXPECT_NE(ClientOf("192.0.2.77"), ClientOf("192.0.2.78"));
}

}  // namespace
}  // namespace posthouse
