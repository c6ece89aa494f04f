// UidSet: a set of UIDs as ranges, as rows and protos hold it. A value.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "google/protobuf/repeated_field.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "posthouse/common/v1/common.pb.h"

namespace posthouse::mailbox {

// A set of UIDs as ascending ranges that do not touch.
class UidSet {
 public:
  struct Range {
    uint32_t first = 0;
    uint32_t last = 0;
    friend bool operator==(const Range&, const Range&) = default;
  };

  UidSet() = default;
  explicit UidSet(std::vector<Range> ranges);  // in any order, may overlap; 0 and reversed ones are repaired
  static UidSet All() { return UidSet({{1, UINT32_MAX}}); }
  static UidSet FromProto(const google::protobuf::RepeatedPtrField<common::v1::UidRange>& ranges);
  static UidSet FromFlat(const google::protobuf::RepeatedField<uint32_t>& flat);  // first, last, first, last...

  // `uid` must be greater than everything in the set.
  void Append(uint32_t uid);
  void AppendRange(uint32_t first, uint32_t last);
  bool Contains(uint32_t uid) const;
  bool empty() const { return ranges_.empty(); }
  uint64_t Count() const;
  uint32_t Min() const { return ranges_.empty() ? 0 : ranges_.front().first; }
  uint32_t Max() const { return ranges_.empty() ? 0 : ranges_.back().last; }
  const std::vector<Range>& ranges() const { return ranges_; }
  std::vector<uint32_t> Expand() const;  // only for sets of messages that exist

  void ToProto(google::protobuf::RepeatedPtrField<common::v1::UidRange>* out) const;
  void ToFlat(google::protobuf::RepeatedField<uint32_t>* out) const;
  friend bool operator==(const UidSet&, const UidSet&) = default;

 private:
  std::vector<Range> ranges_;
};

// Pairs whose order matters (COPYUID): appends `uid` to the last range when it
// continues it, without sorting.
void AppendInOrder(google::protobuf::RepeatedPtrField<common::v1::UidRange>* out, uint32_t uid);

}  // namespace posthouse::mailbox
