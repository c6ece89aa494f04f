// CachedMessage: what the mailbox derives from a message when it is added: ENVELOPE,
// BODYSTRUCTURE, BODY and the preview as IMAP sends them, the part table, and the header fields
// that clients ask for. It lies in the folder's cache partition and can be rebuilt from the
// message. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/common/store/store.h"

namespace posthouse::mailbox::v1 {
class StructureRow;
}

namespace posthouse::mailbox {

struct CachedMessage {
  uint32_t check = 0;  // CheckOfBlob (folder_index.h)
  std::string envelope;
  std::string preview;
  std::string body_structure;
  std::string body;
  std::string part_table;  // message::PartTable
  std::string fields;      // IsCachedField lines in message order, and the blank line
  bool fields_complete = true;
  std::optional<int64_t> sent_day;
  std::string thread_id;

  size_t bytes() const;
};

// StructureRow.format of the rows that CacheMutations() makes: 1: continuations of parameters are
// joined (message::JoinContinuations).
inline constexpr uint32_t kStructureFormat = 1;
// False: the row is of an earlier format, and this one would say something else. Then it is built
// anew when it is next read.
bool IsCurrent(const v1::StructureRow& row);

// Whether `fields` holds every field of this name (any case).
bool IsCachedField(absl::string_view name);

// The rows of a message.
std::vector<store::Mutation> CacheMutations(Uid uid, const CachedMessage& cached);
std::vector<store::Mutation> CacheRemovals(Uid uid);

// Adds the mutations to `out` as commits that are each within the store's limits.
void SplitCommits(const store::Partition& partition, std::vector<store::Mutation> mutations,
                  std::vector<store::CommitRequest>& out);

}  // namespace posthouse::mailbox
