#include "services/common/time/proto_time.h"

#include <algorithm>
#include <cstdint>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace posthouse {
namespace {

template <typename Proto>
void SetMicros(int64_t micros, Proto* out) {
  out->set_seconds(micros / 1000000);
  out->set_nanos(static_cast<int32_t>(micros % 1000000) * 1000);
}

}  // namespace

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

void ToProto(absl::Duration duration, google::protobuf::Duration* out) {
  SetMicros(absl::ToInt64Microseconds(duration), out);
}

void ToProto(absl::Time time, google::protobuf::Timestamp* out) {
  SetMicros(std::max<int64_t>(absl::ToUnixMicros(time), 0), out);
}

absl::Duration DurationOr(bool present, const google::protobuf::Duration& duration, absl::Duration fallback) {
  return present ? FromProto(duration) : fallback;
}

}  // namespace posthouse
