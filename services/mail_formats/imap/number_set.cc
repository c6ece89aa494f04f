#include "services/mail_formats/imap/number_set.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace posthouse::imap {
namespace {

// Appends to ascending ranges a range that starts at or after the last one's start.
void Extend(std::vector<NumberRange>& ranges, NumberRange next) {
  if (!ranges.empty() && next.first <= static_cast<uint64_t>(ranges.back().last) + 1) {
    ranges.back().last = std::max(ranges.back().last, next.last);
  } else {
    ranges.push_back(next);
  }
}

}  // namespace

NumberSet NumberSet::Of(std::vector<NumberRange> ranges) {
  for (NumberRange& range : ranges) {
    if (range.first > range.last) std::swap(range.first, range.last);
  }
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  NumberSet set;
  for (const NumberRange& range : ranges) {
    if (range.last != 0) Extend(set.ranges_, {std::max<uint32_t>(range.first, 1), range.last});
  }
  return set;
}

void NumberSet::Add(uint32_t first, uint32_t last) {
  if (ranges_.empty() || first >= ranges_.back().first) {
    Extend(ranges_, {first, last});
    return;
  }
  std::vector<NumberRange> ranges = std::move(ranges_);
  ranges.push_back({first, last});
  *this = Of(std::move(ranges));
}

bool NumberSet::Contains(uint32_t number) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), number,
                                      [](uint32_t n, const NumberRange& range) { return n < range.first; });
  return after != ranges_.begin() && number <= std::prev(after)->last;
}

uint64_t NumberSet::Count() const {
  uint64_t count = 0;
  for (const NumberRange& range : ranges_) count += static_cast<uint64_t>(range.last) - range.first + 1;
  return count;
}

NumberSet NumberSet::Intersect(const NumberSet& other) const {
  NumberSet result;
  auto a = ranges_.begin();
  auto b = other.ranges_.begin();
  while (a != ranges_.end() && b != other.ranges_.end()) {
    const uint32_t first = std::max(a->first, b->first);
    const uint32_t last = std::min(a->last, b->last);
    if (first <= last) Extend(result.ranges_, {first, last});
    if (a->last < b->last) {
      ++a;
    } else {
      ++b;
    }
  }
  return result;
}

NumberSet NumberSet::Minus(const NumberSet& other) const {
  NumberSet result;
  auto cut = other.ranges_.begin();
  for (NumberRange range : ranges_) {
    while (cut != other.ranges_.end() && cut->last < range.first) ++cut;
    bool left = true;
    for (auto c = cut; left && c != other.ranges_.end() && c->first <= range.last; ++c) {
      if (c->first > range.first) result.ranges_.push_back({range.first, c->first - 1});
      if (c->last >= range.last) {
        left = false;
      } else {
        range.first = c->last + 1;
        cut = c;
      }
    }
    if (left) result.ranges_.push_back(range);
  }
  return result;
}

NumberSet NumberSet::Union(const NumberSet& other) const {
  std::vector<NumberRange> ranges = ranges_;
  ranges.insert(ranges.end(), other.ranges_.begin(), other.ranges_.end());
  return Of(std::move(ranges));
}

std::string NumberSet::ToString() const {
  std::string out;
  AppendRanges(out, ranges_);
  return out;
}

void AppendRanges(std::string& out, const std::vector<NumberRange>& ranges) {
  bool comma = false;
  for (const NumberRange& range : ranges) {
    if (comma) out.push_back(',');
    comma = true;
    absl::StrAppend(&out, range.first);
    if (range.last != range.first) absl::StrAppend(&out, ":", range.last);
  }
}

bool SequenceSet::ReachesBeyond(uint32_t largest) const {
  return std::any_of(ranges.begin(), ranges.end(), [largest](const NumberRange& range) {
    return range.first == kStar || range.last == kStar || range.first > largest || range.last > largest;
  });
}

uint32_t SequenceSet::LargestNumber() const {
  uint32_t largest = 0;
  for (const NumberRange& range : ranges) {
    if (range.first != kStar && range.last != kStar) largest = std::max({largest, range.first, range.last});
  }
  return largest;
}

NumberSet SequenceSet::Resolve(uint32_t largest) const {
  std::vector<NumberRange> resolved;
  resolved.reserve(ranges.size());
  for (NumberRange range : ranges) {
    const bool star = range.first == kStar || range.last == kStar;
    if (star && largest == 0) continue;
    if (range.first == kStar) range.first = largest;
    if (range.last == kStar) range.last = largest;
    resolved.push_back(range);
  }
  return NumberSet::Of(std::move(resolved));
}

}  // namespace posthouse::imap
