#include "services/common/time/proto_time.h"

#include <gtest/gtest.h>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace posthouse {
namespace {

TEST(ProtoTimeTest, TimesComeBackWithMicroseconds) {
  struct Case {
    absl::Time time, back;
  };
  const absl::Time second = absl::FromUnixSeconds(1700000000);
  for (const Case& c : {Case{absl::UnixEpoch(), absl::UnixEpoch()},
                        Case{second + absl::Microseconds(999999), second + absl::Microseconds(999999)},
                        Case{second + absl::Nanoseconds(1999), second + absl::Microseconds(1)},
                        Case{absl::UnixEpoch() - absl::Seconds(1), absl::UnixEpoch()}}) {
    google::protobuf::Timestamp proto;
    ToProto(c.time, &proto);
    EXPECT_EQ(FromProto(proto), c.back);
    EXPECT_GE(proto.nanos(), 0);
  }
}

TEST(ProtoTimeTest, DurationsComeBackWithMicroseconds) {
  for (const absl::Duration d : {absl::ZeroDuration(), absl::Microseconds(1500001), -absl::Microseconds(1500001)}) {
    google::protobuf::Duration proto;
    ToProto(d, &proto);
    EXPECT_EQ(FromProto(proto), d);
  }
}

// Timestamps of other programs have nanoseconds.
TEST(ProtoTimeTest, NanosecondsAreRead) {
  google::protobuf::Duration proto;
  proto.set_seconds(-1);
  proto.set_nanos(-7);
  EXPECT_EQ(FromProto(proto), -absl::Nanoseconds(1000000007));
  EXPECT_EQ(DurationOr(true, proto, absl::Seconds(5)), -absl::Nanoseconds(1000000007));
  EXPECT_EQ(DurationOr(false, proto, absl::Seconds(5)), absl::Seconds(5));
}

}  // namespace
}  // namespace posthouse
