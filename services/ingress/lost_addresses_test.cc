#include "services/ingress/lost_addresses.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace posthouse::ingress {
namespace {

using testing::HasSubstr;

class LostAddressesTest : public testing::Test {
 protected:
  // The answer for the last of `n` names.
  bool SeeNames(absl::string_view address, size_t n, absl::string_view prefix = "host") {
    bool lost = false;
    for (size_t i = 0; i < n; ++i) lost = lost_.Saw(address, absl::StrCat(prefix, i, ".example"), now_);
    return lost;
  }
  std::string Metrics() {
    lost_.Tick(now_);
    return registry_.Serialize();
  }

  metrics::Registry registry_;
  LostAddresses lost_{registry_};
  absl::Time now_ = absl::FromUnixSeconds(1000);
};

TEST_F(LostAddressesTest, APrivateAddressWithManyNamesHidesClients) {
  EXPECT_FALSE(SeeNames("10.244.0.1", LostAddresses::kManyNames - 1));
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_ingress_client_addresses_lost 0\n"));
  EXPECT_TRUE(SeeNames("10.244.0.1", LostAddresses::kManyNames));
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_ingress_client_addresses_lost 1\n"));
  EXPECT_TRUE(lost_.Saw("10.244.0.1", "host0.example", now_));
  EXPECT_FALSE(lost_.Saw("10.244.0.2", "host0.example", now_));  // its neighbour
}

TEST_F(LostAddressesTest, OneNameOftenIsOneClient) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(lost_.Saw("192.168.1.1", i % 2 == 0 ? "relay.example" : "RELAY.example", now_));
  }
}

TEST_F(LostAddressesTest, AGlobalAddressIsAClient) {
  EXPECT_FALSE(SeeNames("198.51.100.7", 100));  // a provider's NAT
  EXPECT_FALSE(SeeNames("2001:db8::1", 100));
  EXPECT_TRUE(SeeNames("fd00::1", 100));
}

TEST_F(LostAddressesTest, ProgramsOfThisMachineMayHaveManyNames) {
  EXPECT_FALSE(SeeNames("127.0.0.1", 100));
  EXPECT_FALSE(SeeNames("::1", 100));
}

TEST_F(LostAddressesTest, NamesOfADayAreNotThoseOfAnHour) {
  for (size_t i = 0; i < 100; ++i, now_ += absl::Minutes(10)) {
    EXPECT_FALSE(lost_.Saw("10.0.0.1", absl::StrCat("host", i), now_));
  }
}

// Else the first names of each hour would be relayed.
TEST_F(LostAddressesTest, ALostAddressStaysLostForADayAfterItsLastManyNames) {
  EXPECT_TRUE(SeeNames("10.0.0.1", LostAddresses::kManyNames));
  now_ += absl::Hours(23);
  EXPECT_TRUE(lost_.Saw("10.0.0.1", "one", now_));
  now_ += absl::Hours(2);
  EXPECT_FALSE(lost_.Saw("10.0.0.1", "one", now_));
  EXPECT_THAT(Metrics(), HasSubstr("posthouse_ingress_client_addresses_lost 0\n"));
}

TEST_F(LostAddressesTest, AddressesAreBoundedAndLostOnesStay) {
  EXPECT_TRUE(SeeNames("10.0.0.1", LostAddresses::kManyNames));
  for (size_t i = 0; i < 2 * LostAddresses::kMaxAddresses; ++i) {
    now_ += absl::Milliseconds(1);
    lost_.Saw(absl::StrCat("10.1.", i / 256, ".", i % 256), "x", now_);
  }
  EXPECT_TRUE(lost_.Saw("10.0.0.1", "x", now_));
}

}  // namespace
}  // namespace posthouse::ingress
