#include "services/mail_formats/imap/sequence_set.h"

#include <algorithm>
#include <utility>

namespace posthouse::imap {

bool SequenceSet::ReachesBeyond(uint32_t largest) const {
  return std::any_of(ranges.begin(), ranges.end(), [largest](const UidSet::Range& range) {
    return range.first == kStar || range.last == kStar || range.first > largest || range.last > largest;
  });
}

uint32_t SequenceSet::LargestNumber() const {
  uint32_t largest = 0;
  for (const UidSet::Range& range : ranges) {
    if (range.first != kStar && range.last != kStar) largest = std::max({largest, range.first, range.last});
  }
  return largest;
}

UidSet SequenceSet::Resolve(uint32_t largest) const {
  std::vector<UidSet::Range> resolved;
  resolved.reserve(ranges.size());
  for (UidSet::Range range : ranges) {
    const bool star = range.first == kStar || range.last == kStar;
    if (star && largest == 0) continue;
    if (range.first == kStar) range.first = largest;
    if (range.last == kStar) range.last = largest;
    resolved.push_back(range);
  }
  return UidSet(std::move(resolved));
}

}  // namespace posthouse::imap
