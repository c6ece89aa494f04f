// Times and durations of protos, to and from absl. Threads: stateless.
//
// Durations and times are written with microseconds: the RocksDB keys of the queue
// hold microseconds, and a row and its key must agree.
#pragma once

#include "absl/time/time.h"

namespace google::protobuf {
class Duration;
class Timestamp;
}  // namespace google::protobuf

namespace posthouse {

// Between the types of protobuf and of absl; protobuf gets whole microseconds.
absl::Duration FromProto(const google::protobuf::Duration& duration);
absl::Time FromProto(const google::protobuf::Timestamp& time);

void ToProto(absl::Duration duration, google::protobuf::Duration* out);
// A time before 1970 becomes the epoch.
void ToProto(absl::Time time, google::protobuf::Timestamp* out);

// `duration` of a config message, or `fallback` when the message does not have it.
absl::Duration DurationOr(bool present, const google::protobuf::Duration& duration, absl::Duration fallback);

}  // namespace posthouse
