// Sets of sequence numbers and UIDs: as the client wrote them (SequenceSet) and
// as facts (NumberSet).
//
// Threads: values, like std::vector.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace posthouse::imap {

struct NumberRange {
  uint32_t first = 0;
  uint32_t last = 0;  // inclusive
  friend bool operator==(const NumberRange&, const NumberRange&) = default;
};

// Numbers from 1 up as ascending ranges that neither overlap nor touch, so that a
// folder of 100,000 messages without holes is one range.
class NumberSet {
 public:
  NumberSet() = default;
  // Ranges in any order, overlapping or not; `first` > `last` means the reverse.
  static NumberSet Of(std::vector<NumberRange> ranges);

  // Fast when the range lies at or after the end, else linear.
  void Add(uint32_t first, uint32_t last);
  void Add(uint32_t number) { Add(number, number); }

  bool Contains(uint32_t number) const;
  bool empty() const { return ranges_.empty(); }
  uint64_t Count() const;
  uint32_t Min() const { return ranges_.empty() ? 0 : ranges_.front().first; }
  uint32_t Max() const { return ranges_.empty() ? 0 : ranges_.back().last; }
  const std::vector<NumberRange>& ranges() const { return ranges_; }

  NumberSet Intersect(const NumberSet& other) const;
  NumberSet Minus(const NumberSet& other) const;
  NumberSet Union(const NumberSet& other) const;

  // "1:3,5"; "" when empty.
  std::string ToString() const;
  friend bool operator==(const NumberSet&, const NumberSet&) = default;

 private:
  std::vector<NumberRange> ranges_;
};

// RFC 9051 §9:
//   sequence-set = (seq-number / seq-range) ["," sequence-set] / seq-last-command
struct SequenceSet {
  static constexpr uint32_t kStar = 0;  // "*" in a range
  std::vector<NumberRange> ranges;      // as written
  bool saved_result = false;            // "$" (RFC 5182)

  // True when "*" or a number over `largest` occurs.
  bool ReachesBeyond(uint32_t largest) const;
  // Largest number written outside of a range with "*": "9:*" means the last message
  // when there are fewer than nine.
  uint32_t LargestNumber() const;
  // The numbers meant when `largest` is the largest in use: "*" is `largest`, and
  // "n:*" holds it whatever n is (RFC 9051 §9, seq-range). 0: the folder is empty,
  // so ranges with "*" mean nothing.
  NumberSet Resolve(uint32_t largest) const;
};

// Appends "1:3,5".
void AppendRanges(std::string& out, const std::vector<NumberRange>& ranges);

}  // namespace posthouse::imap
