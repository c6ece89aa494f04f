// Head: the counters of a folder, row "H" of its partition. A value.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"

namespace posthouse::mailbox {

struct Head {
  AccountId account_id;
  UidValidity uid_validity;
  Uid uid_next{1};
  Modseq highest_modseq{1};
  Modseq log_floor{1};  // the change log holds (log_floor, highest_modseq]
  uint64_t exists = 0;
  uint64_t unseen = 0;
  uint64_t deleted = 0;
  uint64_t size_bytes = 0;
  uint32_t keywords = 0;
  uint32_t intents = 0;
  int64_t created = 0;
  uint64_t incarnation = 0;  // of the store, when Jump() was last called or the folder was made
  // Modseqs in (lost_from, lost_to) were of commits that were lost. lost_to empty: none.
  Modseq lost_from;
  Modseq lost_to;
  bool destroyed = false;  // the folder is being destroyed: every commit is refused

  // Adds (+1) or takes off (-1) a message with these flags and size.
  void Count(uint32_t flags, uint64_t message_bytes, int sign);
  // Commits may be missing that gave out UIDs and modseqs: moves uid_next and highest_modseq
  // at least kJump on, so that no number is given out twice (RFC 9051 §2.3.1.1, RFC 7162
  // §3.1.1), and empties the change log. `random` keeps two restores of one backup apart.
  static constexpr uint64_t kJump = uint64_t{1} << 20;
  void Jump(uint64_t store_incarnation, uint64_t random);
  // Whether a client that knows `modseq` may have seen commits that were lost.
  bool KnowsLostCommits(Modseq modseq) const { return modseq > lost_from && modseq < lost_to; }
  std::string Encode() const;
  static absl::StatusOr<Head> Decode(absl::string_view row);
};

}  // namespace posthouse::mailbox
