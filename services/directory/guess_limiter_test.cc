#include "services/directory/guess_limiter.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace posthouse::directory {
namespace {

const absl::Time kStart = absl::UnixEpoch();

GuessLimits Small() { return {.per_address = 5, .per_network = 12, .per_account = 8, .window = absl::Minutes(10)}; }

TEST(GuessLimiterTest, OneAddressLocksOutNobodyElse) {
  GuessLimiter limiter(Small());
  for (int i = 0; i < 600; ++i) {
    if (!limiter.Ask("192.0.2.1", "alice", kStart)) limiter.Wrong("192.0.2.1", "alice", kStart);
  }
  const auto refused = limiter.Ask("192.0.2.1", "bob", kStart);
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->full, GuessBucket::kAddress);
  EXPECT_EQ(refused->retry_after, absl::Minutes(2));
  EXPECT_FALSE(limiter.Ask("192.0.2.2", "alice", kStart));
  EXPECT_FALSE(limiter.Ask("198.51.100.1", "alice", kStart));
}

TEST(GuessLimiterTest, ABucketEmptiesEvenly) {
  GuessLimiter limiter(Small());
  for (int i = 0; i < 5; ++i) limiter.Wrong("192.0.2.1", absl::StrCat("u", i), kStart);
  EXPECT_TRUE(limiter.Ask("192.0.2.1", "x", kStart + absl::Seconds(119)));
  EXPECT_FALSE(limiter.Ask("192.0.2.1", "x", kStart + absl::Seconds(120)));
  limiter.Wrong("192.0.2.1", "x", kStart + absl::Seconds(120));
  EXPECT_TRUE(limiter.Ask("192.0.2.1", "x", kStart + absl::Seconds(121)));
  EXPECT_FALSE(limiter.Ask("192.0.2.1", "x", kStart + absl::Minutes(20)));
}

TEST(GuessLimiterTest, AddressesOfOneNetworkCountTogether) {
  GuessLimiter limiter(Small());
  for (int i = 0; i < 12; ++i) limiter.Wrong(absl::StrCat("192.0.2.", i), absl::StrCat("u", i), kStart);
  const auto refused = limiter.Ask("192.0.2.200", "x", kStart);
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->full, GuessBucket::kNetwork);
  EXPECT_FALSE(limiter.Ask("192.0.3.200", "x", kStart));
  // A customer has a whole /64: its addresses are one.
  for (int i = 0; i < 5; ++i) limiter.Wrong(absl::StrCat("2001:db8:1:2::", i + 1), absl::StrCat("v", i), kStart);
  EXPECT_EQ(limiter.Ask("2001:db8:1:2:ffff::9", "x", kStart)->full, GuessBucket::kAddress);
  EXPECT_FALSE(limiter.Ask("2001:db8:1:3::1", "x", kStart));
}

TEST(GuessLimiterTest, MappedAddressesAreThemselves) {
  GuessLimiter limiter(Small());
  for (int i = 0; i < 5; ++i) limiter.Wrong("192.0.2.1", absl::StrCat("u", i), kStart);
  EXPECT_TRUE(limiter.Ask("::ffff:192.0.2.1", "x", kStart));
}

TEST(GuessLimiterTest, AnAccountIsGuessedFromManyPlacesAndItsUserStillGetsIn) {
  GuessLimiter limiter(Small());
  limiter.Right("203.0.113.7", "alice", kStart);
  for (int i = 0; i < 50; ++i) limiter.Wrong(absl::StrCat("10.", i, ".0.1"), "alice", kStart);
  EXPECT_EQ(limiter.Ask("10.99.0.1", "alice", kStart)->full, GuessBucket::kAccount);
  EXPECT_FALSE(limiter.Ask("203.0.113.7", "alice", kStart));
  // A neighbour behind the user's address guesses other accounts.
  for (int i = 0; i < 5; ++i) limiter.Wrong("203.0.113.7", absl::StrCat("u", i), kStart);
  EXPECT_TRUE(limiter.Ask("203.0.113.7", "bob", kStart));
  EXPECT_FALSE(limiter.Ask("203.0.113.7", "alice", kStart));
  // The pair has a limit, too, which a login empties.
  for (int i = 0; i < 5; ++i) limiter.Wrong("203.0.113.7", "alice", kStart);
  EXPECT_TRUE(limiter.Ask("203.0.113.7", "alice", kStart));
  limiter.Right("203.0.113.7", "alice", kStart);
  EXPECT_FALSE(limiter.Ask("203.0.113.7", "alice", kStart));
}

TEST(GuessLimiterTest, ZeroIsNoLimit) {
  GuessLimiter limiter({.per_address = 0, .per_network = 0, .per_account = 0});
  for (int i = 0; i < 1000; ++i) limiter.Wrong("192.0.2.1", "alice", kStart);
  EXPECT_FALSE(limiter.Ask("192.0.2.1", "alice", kStart));
  EXPECT_EQ(limiter.size(), 0u);
}

TEST(GuessLimiterTest, MemoryIsBounded) {
  GuessLimiter limiter({.per_address = 5, .per_network = 0, .per_account = 0});
  for (int i = 0; i < 5; ++i) limiter.Wrong("192.0.2.1", "x", kStart);
  for (int i = 0; i < 300'000; ++i) {
    limiter.Wrong(absl::StrCat("10.", i >> 16, ".", (i >> 8) & 255, ".", i & 255), "x", kStart);
  }
  EXPECT_LE(limiter.size(), 200'000u);
  EXPECT_TRUE(limiter.Ask("192.0.2.1", "x", kStart));  // full buckets stay
}

}  // namespace
}  // namespace posthouse::directory
