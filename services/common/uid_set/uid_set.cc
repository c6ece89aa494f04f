#include "services/common/uid_set/uid_set.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace posthouse {
namespace {

// Appends to ascending ranges a range that starts at or after the last one's start.
void Extend(std::vector<UidSet::Range>& ranges, UidSet::Range next) {
  if (!ranges.empty() && next.first <= static_cast<uint64_t>(ranges.back().last) + 1) {
    ranges.back().last = std::max(ranges.back().last, next.last);
  } else {
    ranges.push_back(next);
  }
}

}  // namespace

UidSet::UidSet(std::vector<Range> ranges) {
  for (Range& range : ranges) {
    if (range.first > range.last) std::swap(range.first, range.last);
  }
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const Range& range : ranges) {
    if (range.last != 0) Extend(ranges_, {std::max<uint32_t>(range.first, 1), range.last});
  }
}

void UidSet::Add(uint32_t first, uint32_t last) {
  if (ranges_.empty() || first >= ranges_.back().first) {
    Extend(ranges_, {first, last});
    return;
  }
  std::vector<Range> ranges = std::move(ranges_);
  ranges.push_back({first, last});
  *this = UidSet(std::move(ranges));
}

bool UidSet::Contains(uint32_t number) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), number,
                                      [](uint32_t value, const Range& range) { return value < range.first; });
  return after != ranges_.begin() && number <= std::prev(after)->last;
}

uint64_t UidSet::Count() const {
  uint64_t count = 0;
  for (const Range& range : ranges_) count += static_cast<uint64_t>(range.last) - range.first + 1;
  return count;
}

std::vector<Uid> UidSet::Expand() const {
  std::vector<Uid> out;
  for (const Range& range : ranges_) {
    for (uint64_t uid = range.first; uid <= range.last; ++uid) out.emplace_back(static_cast<uint32_t>(uid));
  }
  return out;
}

UidSet UidSet::Intersect(const UidSet& other) const {
  UidSet result;
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

UidSet UidSet::Minus(const UidSet& other) const {
  UidSet result;
  auto cut = other.ranges_.begin();
  for (Range range : ranges_) {
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

UidSet UidSet::Union(const UidSet& other) const {
  std::vector<Range> ranges = ranges_;
  ranges.insert(ranges.end(), other.ranges_.begin(), other.ranges_.end());
  return UidSet(std::move(ranges));
}

std::string UidSet::ToString() const {
  std::string out;
  AppendRanges(out, ranges_);
  return out;
}

void AppendRanges(std::string& out, const std::vector<UidSet::Range>& ranges) {
  bool comma = false;
  for (const UidSet::Range& range : ranges) {
    if (comma) out.push_back(',');
    comma = true;
    absl::StrAppend(&out, range.first);
    if (range.last != range.first) absl::StrAppend(&out, ":", range.last);
  }
}

}  // namespace posthouse
