// DataPace: whether a client sends the data of one message fast enough.
//
// A client that sends more slowly than kMinBytesPerSecond for longer than two data timeouts is
// cut off, although each single read is in time (RFC 5321 §4.5.3.2.5). The time that the queue
// makes the client wait does not count.
//
// Threads: values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace posthouse::ingress {

class DataPace {
 public:
  static constexpr double kMinBytesPerSecond = 128;

  // A read took `waited` and brought `bytes`.
  void Read(absl::Duration waited, size_t bytes) {
    waited_ += waited;
    bytes_ += bytes;
  }
  bool TooSlow(absl::Duration data_timeout) const {
    return waited_ > 2 * data_timeout + absl::Seconds(static_cast<double>(bytes_) / kMinBytesPerSecond);
  }

 private:
  absl::Duration waited_;
  uint64_t bytes_ = 0;
};

}  // namespace posthouse::ingress
