#include "services/common/uid_set/uid_set_proto.h"

#include <utility>

namespace posthouse {

UidSet UidSetFromProto(const UidRanges& ranges) { return UidSet(OrderedRanges(ranges)); }

void UidSetToProto(const UidSet& set, UidRanges* out) {
  for (const UidSet::Range& r : set.ranges()) {
    common::v1::UidRange* range = out->Add();
    range->set_first(r.first);
    range->set_last(r.last);
  }
}

UidSet UidSetFromFlat(const google::protobuf::RepeatedField<uint32_t>& flat) {
  std::vector<UidSet::Range> out;
  for (int i = 0; i + 1 < flat.size(); i += 2) out.push_back({flat[i], flat[i + 1]});
  return UidSet(std::move(out));
}

void UidSetToFlat(const UidSet& set, google::protobuf::RepeatedField<uint32_t>* out) {
  for (const UidSet::Range& r : set.ranges()) {
    out->Add(r.first);
    out->Add(r.last);
  }
}

void AppendInOrder(UidRanges* out, Uid uid) {
  if (!out->empty() && out->rbegin()->last() + 1 == uid.value()) {
    out->rbegin()->set_last(uid.value());
    return;
  }
  common::v1::UidRange* range = out->Add();
  range->set_first(uid.value());
  range->set_last(uid.value());
}

std::vector<UidSet::Range> OrderedRanges(const UidRanges& ranges) {
  std::vector<UidSet::Range> out;
  out.reserve(static_cast<size_t>(ranges.size()));
  for (const common::v1::UidRange& r : ranges) out.push_back({r.first(), r.last()});
  return out;
}

}  // namespace posthouse
