// UidSet to and from protos: ranges as messages (RPCs) and as a flat list of
// numbers (rows of the mailbox store).
//
// Threads: stateless.
#pragma once

#include <cstdint>
#include <vector>

#include "google/protobuf/repeated_field.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "posthouse/common/v1/common.pb.h"
#include "services/common/ids/ids.h"
#include "services/common/uid_set/uid_set.h"

namespace posthouse {

using UidRanges = google::protobuf::RepeatedPtrField<common::v1::UidRange>;

// A peer may have written the ranges in any order, so the set sorts them.
UidSet UidSetFromProto(const UidRanges& ranges);
void UidSetToProto(const UidSet& set, UidRanges* out);

// first, last, first, last, ...
UidSet UidSetFromFlat(const google::protobuf::RepeatedField<uint32_t>& flat);
void UidSetToFlat(const UidSet& set, google::protobuf::RepeatedField<uint32_t>* out);

// Lists whose order matters (the two of COPYUID correspond item by item). Appends
// `uid`, to the last range if `uid` follows it; never sorts.
void AppendInOrder(UidRanges* out, Uid uid);
// The ranges in the order written.
std::vector<UidSet::Range> OrderedRanges(const UidRanges& ranges);

}  // namespace posthouse
