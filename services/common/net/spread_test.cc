#include "services/common/net/spread.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace posthouse::net {
namespace {

TEST(SpreadTest, EachSlotHasOneTime) {
  std::mt19937 random(7);
  for (const size_t count : {1u, 2u, 10u, 1000u}) {
    const absl::Duration over = absl::Seconds(20);
    const std::vector<absl::Duration> times = SpreadOver(count, over, random);
    ASSERT_EQ(times.size(), count);
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    for (size_t i = 0; i < count; ++i) {
      const absl::Duration slot = over / static_cast<double>(count);
      EXPECT_GE(times[i], slot * static_cast<double>(i) - absl::Nanoseconds(2)) << i << " of " << count;
      EXPECT_LE(times[i], slot * static_cast<double>(i + 1) + absl::Nanoseconds(2)) << i << " of " << count;
    }
    EXPECT_LT(times.back(), over);
  }
}

// Two processes that drain together do not end their sessions at the same times.
TEST(SpreadTest, TheTimesAreRandom) {
  std::mt19937 random(7);
  const auto one = SpreadOver(100, absl::Seconds(20), random);
  const auto other = SpreadOver(100, absl::Seconds(20), random);
  EXPECT_NE(one, other);
  std::set<absl::Duration> gaps;
  for (size_t i = 1; i < one.size(); ++i) gaps.insert(one[i] - one[i - 1]);
  EXPECT_GT(gaps.size(), 90u);
}

TEST(SpreadTest, WithoutTimeAllHappenAtOnce) {
  std::mt19937 random(7);
  EXPECT_EQ(SpreadOver(3, absl::ZeroDuration(), random), std::vector<absl::Duration>(3));
  EXPECT_EQ(SpreadOver(3, -absl::Seconds(1), random), std::vector<absl::Duration>(3));
  EXPECT_TRUE(SpreadOver(0, absl::Seconds(1), random).empty());
}

}  // namespace
}  // namespace posthouse::net
