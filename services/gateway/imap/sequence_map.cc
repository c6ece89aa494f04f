#include "services/gateway/imap/sequence_map.h"

#include <algorithm>
#include <utility>

namespace posthouse::gateway {

void SequenceMap::Assign(UidSet uids) {
  uids_ = std::move(uids);
  Count(0);
}

void SequenceMap::Append(Uid first, Uid last) {
  const size_t known = uids_.ranges().size();
  uids_.Add(first, last);
  Count(known == 0 ? 0 : known - 1);
}

void SequenceMap::Remove(const UidSet& uids) {
  uids_ = uids_.Minus(uids);
  Count(0);
}

void SequenceMap::Count(size_t from) {
  const std::vector<UidSet::Range>& ranges = uids_.ranges();
  before_.resize(ranges.size());
  uint32_t count = from == 0 || ranges.empty() ? 0 : before_[from - 1] + SizeOf(ranges[from - 1]);
  for (size_t i = from; i < ranges.size(); ++i) {
    before_[i] = count;
    count += SizeOf(ranges[i]);
  }
}

uint32_t SequenceMap::SequenceOf(Uid of) const {
  const uint32_t uid = of.value();
  const auto& ranges = uids_.ranges();
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), uid,
                                      [](uint32_t u, const UidSet::Range& range) { return u < range.first; });
  if (after == ranges.begin()) return 0;
  const auto at = std::prev(after);
  if (uid > at->last) return 0;
  return before_[static_cast<size_t>(at - ranges.begin())] + (uid - at->first) + 1;
}

UidSet SequenceMap::ToUids(const UidSet& sequences) const {
  UidSet result;
  const auto& ranges = uids_.ranges();
  for (const UidSet::Range& wanted : sequences.ranges()) {
    const uint32_t last = std::min(wanted.last, size());
    if (wanted.first > last) break;
    const auto after = std::upper_bound(before_.begin(), before_.end(), wanted.first - 1);
    for (size_t i = static_cast<size_t>(after - before_.begin()) - 1; i < ranges.size() && before_[i] < last; ++i) {
      const uint32_t skip = wanted.first - 1 > before_[i] ? wanted.first - 1 - before_[i] : 0;
      result.Add(ranges[i].first + skip, std::min(ranges[i].last, ranges[i].first + (last - 1 - before_[i])));
    }
  }
  return result;
}

UidSet SequenceMap::ToSequences(const UidSet& uids) const {
  UidSet result;
  const UidSet present = uids_.Intersect(uids);
  size_t i = 0;
  for (const UidSet::Range& range : present.ranges()) {
    while (uids_.ranges()[i].last < range.first) ++i;
    const uint32_t first = before_[i] + (range.first - uids_.ranges()[i].first) + 1;
    result.Add(first, first + (range.last - range.first));
  }
  return result;
}

uint32_t SequenceMap::CountFrom(Uid from) const {
  const uint32_t uid = from.value();
  const auto& ranges = uids_.ranges();
  const auto at = std::lower_bound(ranges.begin(), ranges.end(), uid,
                                   [](const UidSet::Range& range, uint32_t u) { return range.last < u; });
  if (at == ranges.end()) return 0;
  const uint32_t skipped = before_[static_cast<size_t>(at - ranges.begin())] + (uid > at->first ? uid - at->first : 0);
  return size() - skipped;
}

}  // namespace posthouse::gateway
