#include "services/common/time/calm_clock.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace posthouse {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

class CalmClockTest : public ::testing::Test {
 protected:
  void Pass(absl::Duration d) {
    wall_ += d;
    monotonic_ += d;
  }
  absl::Time wall_ = kStart;
  absl::Time monotonic_ = absl::UnixEpoch();
  CalmClock clock_{{.wall = [this] { return wall_; }, .monotonic = [this] { return monotonic_; }}};
};

TEST_F(CalmClockTest, FollowsTheWallClock) {
  Pass(absl::Hours(1));
  EXPECT_EQ(clock_.Now(), kStart + absl::Hours(1));
  wall_ += absl::Milliseconds(300);
  EXPECT_EQ(clock_.Now(), wall_);
}

TEST_F(CalmClockTest, NeverGoesBackForASmallCorrection) {
  Pass(absl::Minutes(1));
  const absl::Time before = clock_.Now();
  wall_ -= absl::Milliseconds(500);
  EXPECT_EQ(clock_.Now(), before);
  Pass(absl::Seconds(2));
  EXPECT_EQ(clock_.Now(), wall_);
}

TEST_F(CalmClockTest, AStepThatIsTakenBackIsNotNoticed) {
  for (const absl::Duration step : {absl::Hours(-1), absl::Hours(240), absl::Seconds(-25)}) {
    const absl::Time before = clock_.Now();
    wall_ += step;
    for (int i = 0; i < 10; ++i) {
      Pass(absl::Seconds(10));
      EXPECT_EQ(clock_.Now(), before + (i + 1) * absl::Seconds(10));
    }
    wall_ -= step;
    EXPECT_EQ(clock_.Now(), wall_);
    EXPECT_EQ(clock_.SteppedSince(kStart), absl::ZeroDuration());
  }
}

TEST_F(CalmClockTest, AStepThatLastsIsFollowed) {
  for (const absl::Duration step : {absl::Hours(240), absl::Hours(-240)}) {
    wall_ += step;
    clock_.Now();
    Pass(absl::Minutes(4));
    EXPECT_NE(clock_.Now(), wall_);
    Pass(absl::Minutes(2));
    EXPECT_EQ(clock_.Now(), wall_);
    EXPECT_EQ(clock_.TakeStepsBack(), std::max(-step, absl::ZeroDuration()));
    EXPECT_EQ(clock_.TakeStepsBack(), absl::ZeroDuration());
  }
}

TEST_F(CalmClockTest, WhatWasBeforeAStepForwardIsNotOlderForIt) {
  Pass(absl::Hours(1));
  const absl::Time early = clock_.Now();
  wall_ += absl::Hours(240);
  clock_.Now();
  Pass(absl::Minutes(6));
  const absl::Time late = clock_.Now();
  ASSERT_EQ(late, wall_);
  EXPECT_EQ(late - early - clock_.SteppedSince(early), absl::Minutes(6));
  EXPECT_EQ(clock_.SteppedSince(late), absl::ZeroDuration());
}

}  // namespace
}  // namespace posthouse
