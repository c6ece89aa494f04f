// SequenceMap: message sequence numbers of one session and the UIDs behind them.
//
// It keeps ranges of UIDs, so 100,000 messages without holes cost one range. Sequence numbers
// run from 1 in UID order (RFC 9051 §2.3.1.2). A value without I/O.
#pragma once

#include <cstdint>
#include <vector>

#include "services/common/ids/ids.h"
#include "services/common/uid_set/uid_set.h"

namespace posthouse::gateway {

class SequenceMap {
 public:
  void Assign(UidSet uids);
  // The range of UIDs lies above all others.
  void Append(Uid first, Uid last);
  void Remove(const UidSet& uids);

  uint32_t size() const { return before_.empty() ? 0 : before_.back() + SizeOf(uids_.ranges().back()); }
  Uid max_uid() const { return Uid(uids_.Max()); }  // empty: no message
  const UidSet& uids() const { return uids_; }

  uint32_t SequenceOf(Uid uid) const;  // 0: not here
  UidSet ToUids(const UidSet& sequences) const;
  UidSet ToSequences(const UidSet& uids) const;
  // How many UIDs are `uid` or larger.
  uint32_t CountFrom(Uid uid) const;

 private:
  static uint32_t SizeOf(const UidSet::Range& range) { return range.last - range.first + 1; }
  void Count(size_t from);

  UidSet uids_;
  std::vector<uint32_t> before_;  // messages before each range
};

}  // namespace posthouse::gateway
