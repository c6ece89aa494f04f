// SequenceSet: sequence numbers or UIDs as the client wrote them.
//
// Threads: a value, like std::vector.
#pragma once

#include <cstdint>
#include <vector>

#include "services/common/uid_set/uid_set.h"

namespace posthouse::imap {

// RFC 9051 §9:
//   sequence-set = (seq-number / seq-range) ["," sequence-set] / seq-last-command
struct SequenceSet {
  static constexpr uint32_t kStar = 0;  // "*" in a range
  std::vector<UidSet::Range> ranges;    // as written
  bool saved_result = false;            // "$" (RFC 5182)

  // True when the set contains "*" or a number over `largest`.
  bool ReachesBeyond(uint32_t largest) const;
  // The largest number outside the ranges with "*", whose other end may be beyond the
  // last message: in a mailbox of three, "9:*" means message 3.
  uint32_t LargestNumber() const;
  // The numbers that the set means when `largest` is the largest in use. "*" is
  // `largest`, so "n:*" contains `largest` for every n (RFC 9051 §9, seq-range).
  // With `largest` 0 the mailbox is empty, and ranges with "*" mean no message.
  UidSet Resolve(uint32_t largest) const;
};

}  // namespace posthouse::imap
