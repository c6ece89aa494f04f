#include "services/ingress/data_pace.h"

#include <gtest/gtest.h>

namespace posthouse::ingress {
namespace {

constexpr absl::Duration kTimeout = absl::Minutes(3);

TEST(DataPaceTest, AClientMayPauseForTwoTimeouts) {
  DataPace pace;
  EXPECT_FALSE(pace.TooSlow(kTimeout));
  pace.Read(2 * kTimeout, 0);
  EXPECT_FALSE(pace.TooSlow(kTimeout));
  pace.Read(absl::Nanoseconds(1), 0);
  EXPECT_TRUE(pace.TooSlow(kTimeout));
}

TEST(DataPaceTest, BytesBuyTimeAtTheLowestRate) {
  DataPace pace;
  pace.Read(2 * kTimeout + absl::Seconds(10), static_cast<size_t>(10 * DataPace::kMinBytesPerSecond));
  EXPECT_FALSE(pace.TooSlow(kTimeout));
  pace.Read(absl::Seconds(1), 0);
  EXPECT_TRUE(pace.TooSlow(kTimeout));
}

// Each read is in time, and the message would take for ever.
TEST(DataPaceTest, AByteAMinuteIsTooSlow) {
  DataPace pace;
  int minutes = 0;
  while (!pace.TooSlow(kTimeout) && minutes < 100) {
    pace.Read(absl::Minutes(1), 1);
    ++minutes;
  }
  EXPECT_EQ(minutes, 7);
}

}  // namespace
}  // namespace posthouse::ingress
