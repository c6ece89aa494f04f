// LimitSet: v1::Limits without protobuf's weight. Threads: values.
#pragma once

#include <cstdint>
#include <utility>

namespace posthouse::directory {

namespace v1 {
class Limits;
}

// 0 inherits.
struct LimitSet {
  uint64_t storage_bytes = 0, messages = 0, message_bytes = 0;
  uint32_t recipients_per_message = 0, sends_per_hour = 0, sends_per_day = 0;

  static LimitSet From(const v1::Limits& limits);
  void To(v1::Limits* limits) const;
  // Each field of this where it is set, else of `wider`.
  LimitSet Or(const LimitSet& wider) const;
  friend bool operator==(const LimitSet&, const LimitSet&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const LimitSet& l) {
    return H::combine(std::move(h), l.storage_bytes, l.messages, l.message_bytes, l.recipients_per_message,
                      l.sends_per_hour, l.sends_per_day);
  }
};

}  // namespace posthouse::directory
