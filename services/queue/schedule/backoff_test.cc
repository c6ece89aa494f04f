#include "services/queue/schedule/backoff.h"

#include <gtest/gtest.h>

namespace posthouse::queue {
namespace {

TEST(BackoffTest, GrowsByTheFactorUpToTheMaximum) {
  const BackoffPolicy policy{.min = absl::Minutes(1), .max = absl::Hours(1), .factor = 2, .jitter = 0.2};
  const struct {
    int failures;
    absl::Duration middle;
  } kCases[] = {{0, absl::Minutes(1)},  {1, absl::Minutes(1)},  {2, absl::Minutes(2)},      {3, absl::Minutes(4)},
                {6, absl::Minutes(32)}, {7, absl::Minutes(60)}, {100000, absl::Minutes(60)}};
  for (const auto& c : kCases) EXPECT_EQ(BackoffDelay(policy, c.failures, 0.5), c.middle) << c.failures;
}

TEST(BackoffTest, JitterStaysInsideItsBand) {
  const BackoffPolicy policy{.min = absl::Seconds(100), .max = absl::Seconds(100), .factor = 2, .jitter = 0.2};
  EXPECT_EQ(BackoffDelay(policy, 1, 0.0), absl::Seconds(80));
  EXPECT_EQ(BackoffDelay(policy, 1, 0.25), absl::Seconds(90));
  EXPECT_LE(BackoffDelay(policy, 1, 0.999999), absl::Seconds(120));
}

TEST(BackoffTest, OddPoliciesStayUsable) {
  EXPECT_EQ(BackoffDelay({.min = absl::Minutes(5), .max = absl::Minutes(1), .factor = 0.1, .jitter = 0}, 9, 0.5),
            absl::Minutes(5));
}

}  // namespace
}  // namespace posthouse::queue
