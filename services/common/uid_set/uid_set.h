// UidSet: a set of UIDs as ascending ranges.
//
// A folder of 100,000 messages without holes is one range. Message sequence
// numbers have the same range as UIDs (nz-number, RFC 9051 §9), so IMAP code uses
// this class for them, too. So a range holds plain numbers; Add and Contains also take a Uid.
//
// Threads: a value, like std::vector.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "services/common/ids/ids.h"

namespace posthouse {

class UidSet {
 public:
  struct Range {
    uint32_t first = 0;
    uint32_t last = 0;  // inclusive
    friend bool operator==(const Range&, const Range&) = default;
  };

  UidSet() = default;
  // Ranges in any order; they may overlap. `first` > `last` means the reversed
  // range (RFC 9051 §9, seq-range). 0 is no UID and is left out.
  explicit UidSet(std::vector<Range> ranges);
  static UidSet All() { return UidSet({{1, UINT32_MAX}}); }

  // Adds the range; 0 < `first` <= `last`. Constant time when `first` is not
  // before the first UID of the last range, else linear in the ranges.
  void Add(uint32_t first, uint32_t last);
  void Add(uint32_t number) { Add(number, number); }
  void Add(Uid first, Uid last) { Add(first.value(), last.value()); }
  void Add(Uid uid) { Add(uid, uid); }

  bool Contains(uint32_t number) const;  // logarithmic in the ranges
  bool Contains(Uid uid) const { return Contains(uid.value()); }
  bool empty() const { return ranges_.empty(); }
  uint64_t Count() const;
  uint32_t Min() const { return ranges_.empty() ? 0 : ranges_.front().first; }
  uint32_t Max() const { return ranges_.empty() ? 0 : ranges_.back().last; }
  // Ascending; they neither overlap nor touch.
  const std::vector<Range>& ranges() const { return ranges_; }
  // Every UID. Only for sets of messages that exist: All() would not fit in memory.
  std::vector<Uid> Expand() const;

  UidSet Intersect(const UidSet& other) const;
  UidSet Minus(const UidSet& other) const;
  UidSet Union(const UidSet& other) const;

  // RFC 4315 §4, uid-set: "1:3,5"; "" when empty.
  std::string ToString() const;
  friend bool operator==(const UidSet&, const UidSet&) = default;

 private:
  std::vector<Range> ranges_;
};

// Appends "1:3,5" in the order given. COPYUID's two sets correspond item by item
// (RFC 4315 §3), so their order must not change.
void AppendRanges(std::string& out, const std::vector<UidSet::Range>& ranges);

}  // namespace posthouse
