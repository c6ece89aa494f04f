#include "services/mailbox/rows/uid_set.h"

#include <algorithm>

#include "services/common/status/status.h"

namespace posthouse::mailbox {

UidSet::UidSet(std::vector<Range> ranges) {
  for (Range& r : ranges) {
    if (r.first > r.last) std::swap(r.first, r.last);
    if (r.first == 0) r.first = 1;
  }
  std::erase_if(ranges, [](const Range& r) { return r.last == 0; });
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  for (const Range& r : ranges) {
    if (!ranges_.empty() && uint64_t{r.first} <= uint64_t{ranges_.back().last} + 1) {
      ranges_.back().last = std::max(ranges_.back().last, r.last);
    } else {
      ranges_.push_back(r);
    }
  }
}

UidSet UidSet::FromProto(const google::protobuf::RepeatedPtrField<common::v1::UidRange>& ranges) {
  std::vector<Range> out;
  out.reserve(static_cast<size_t>(ranges.size()));
  for (const common::v1::UidRange& r : ranges) out.push_back({r.first(), r.last()});
  return UidSet(std::move(out));
}

UidSet UidSet::FromFlat(const google::protobuf::RepeatedField<uint32_t>& flat) {
  std::vector<Range> out;
  for (int i = 0; i + 1 < flat.size(); i += 2) out.push_back({flat[i], flat[i + 1]});
  return UidSet(std::move(out));
}

void UidSet::Append(uint32_t uid) { AppendRange(uid, uid); }

void UidSet::AppendRange(uint32_t first, uint32_t last) {
  PH_CHECK(first <= last && (ranges_.empty() || first > ranges_.back().last));
  if (!ranges_.empty() && ranges_.back().last + 1 == first) {
    ranges_.back().last = last;
  } else {
    ranges_.push_back({first, last});
  }
}

bool UidSet::Contains(uint32_t uid) const {
  const auto it = std::upper_bound(ranges_.begin(), ranges_.end(), uid,
                                   [](uint32_t value, const Range& r) { return value < r.first; });
  return it != ranges_.begin() && uid <= std::prev(it)->last;
}

uint64_t UidSet::Count() const {
  uint64_t n = 0;
  for (const Range& r : ranges_) n += uint64_t{r.last} - r.first + 1;
  return n;
}

std::vector<uint32_t> UidSet::Expand() const {
  std::vector<uint32_t> out;
  for (const Range& r : ranges_) {
    for (uint64_t uid = r.first; uid <= r.last; ++uid) out.push_back(static_cast<uint32_t>(uid));
  }
  return out;
}

void UidSet::ToProto(google::protobuf::RepeatedPtrField<common::v1::UidRange>* out) const {
  for (const Range& r : ranges_) {
    common::v1::UidRange* range = out->Add();
    range->set_first(r.first);
    range->set_last(r.last);
  }
}

void UidSet::ToFlat(google::protobuf::RepeatedField<uint32_t>* out) const {
  for (const Range& r : ranges_) {
    out->Add(r.first);
    out->Add(r.last);
  }
}

void AppendInOrder(google::protobuf::RepeatedPtrField<common::v1::UidRange>* out, uint32_t uid) {
  if (!out->empty() && out->rbegin()->last() + 1 == uid) {
    out->rbegin()->set_last(uid);
    return;
  }
  common::v1::UidRange* range = out->Add();
  range->set_first(uid);
  range->set_last(uid);
}

}  // namespace posthouse::mailbox
