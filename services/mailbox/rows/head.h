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
  uint32_t uid_validity = 0;
  uint32_t uid_next = 1;
  uint64_t highest_modseq = 1;
  uint64_t log_floor = 1;  // the change log holds (log_floor, highest_modseq]
  uint64_t exists = 0;
  uint64_t unseen = 0;
  uint64_t deleted = 0;
  uint64_t size_bytes = 0;
  uint32_t keywords = 0;
  uint32_t intents = 0;
  int64_t created = 0;

  // Adds (+1) or takes off (-1) a message with these flags and size.
  void Count(uint32_t flags, uint64_t message_bytes, int sign);
  std::string Encode() const;
  static absl::StatusOr<Head> Decode(absl::string_view row);
};

}  // namespace posthouse::mailbox
