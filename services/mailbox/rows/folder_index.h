// FolderIndex: what of every message of an open folder is kept in memory, 40 bytes
// each, in UID order: enough for FETCH FLAGS, SEARCH by flags, dates and sizes, and
// sequence numbers without reading a row. A value type; its owner synchronises it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mailbox/rows/records.h"

namespace posthouse::mailbox::v1 {
class MessageRow;
}

namespace posthouse::mailbox {

struct MessageMeta {
  uint64_t modseq = 0;
  int64_t internal_date = 0;
  uint64_t size_bytes = 0;
  uint32_t uid = 0;
  uint32_t keywords = 0;  // FolderIndex::KeywordBits
  uint32_t check = 0;     // what the message's cache rows must carry
  int16_t zone = 0;
  uint8_t flags = 0;
};
static_assert(sizeof(MessageMeta) == 40);

// Last 4 bytes of a blob id.
uint32_t CheckOfBlob(absl::string_view blob);

class FolderIndex {
 public:
  FolderIndex();
  // `uid` greater than every one in the index.
  void Add(uint32_t uid, const v1::MessageRow& row);
  void SetFlags(uint32_t uid, uint64_t modseq, uint32_t flags, absl::string_view keywords);
  void Erase(const UidSet& uids);

  const std::vector<MessageMeta>& messages() const { return messages_; }
  const MessageMeta* Find(uint32_t uid) const;
  // Index of the first message with a UID of at least `uid`.
  size_t LowerBound(uint32_t uid) const;
  // The messages of `uids` with a UID above `after`, at most `limit`.
  std::vector<MessageMeta> Select(const UidSet& uids, uint32_t after, size_t limit) const;
  // Bits of a keyword set, little-endian bytes (MessageRow.keywords).
  const std::string& KeywordBits(uint32_t set) const { return keyword_sets_[set]; }
  const std::vector<std::string>& keyword_sets() const { return keyword_sets_; }
  UidSet Uids() const;
  uint32_t FirstUnseen() const;  // 0: none
  size_t MemoryBytes() const;

 private:
  uint32_t Intern(absl::string_view bits);
  std::vector<MessageMeta> messages_;
  std::vector<std::string> keyword_sets_;  // [0] is empty
  absl::flat_hash_map<std::string, uint32_t> set_numbers_;
};

}  // namespace posthouse::mailbox
