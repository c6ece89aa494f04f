// SequenceMap: message sequence numbers of one session and the UIDs behind them.
//
// It keeps ranges of UIDs, so 100,000 messages without holes cost one range. Sequence numbers
// run from 1 in UID order (RFC 9051 §2.3.1.2). A value without I/O.
#pragma once

#include <cstdint>
#include <vector>

#include "services/mail_formats/imap/sequence_set.h"

namespace posthouse::gateway {

class SequenceMap {
 public:
  void Assign(UidSet uids);
  // `uid` range lies above all others.
  void Append(uint32_t first, uint32_t last);
  void Remove(const UidSet& uids);

  uint32_t size() const { return before_.empty() ? 0 : before_.back() + SizeOf(uids_.ranges().back()); }
  uint32_t max_uid() const { return uids_.Max(); }
  const UidSet& uids() const { return uids_; }

  uint32_t SequenceOf(uint32_t uid) const;  // 0: not here
  UidSet ToUids(const UidSet& sequences) const;
  UidSet ToSequences(const UidSet& uids) const;
  // How many UIDs are `uid` or larger.
  uint32_t CountFrom(uint32_t uid) const;

 private:
  static uint32_t SizeOf(const UidSet::Range& range) { return range.last - range.first + 1; }
  void Count(size_t from);

  UidSet uids_;
  std::vector<uint32_t> before_;  // messages before each range
};

}  // namespace posthouse::gateway
