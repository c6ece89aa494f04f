// FolderIndex: the messages of an open folder in memory, 40 bytes each, in UID order. It answers
// FETCH FLAGS, SEARCH by flags, dates and sizes, and sequence numbers without reading a row.
// A value; its owner synchronises it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>
#include "services/common/ids/ids.h"
#include "services/common/uid_set/uid_set.h"

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace posthouse::mailbox::v1 {
class MessageRow;
}

namespace posthouse::mailbox {

// What the index keeps of one message.
struct MessageMeta {
  Modseq modseq;
  int64_t internal_date = 0;
  uint64_t size_bytes = 0;
  Uid uid;
  uint32_t keywords = 0;  // FolderIndex::KeywordBits
  uint32_t check = 0;     // a cache row counts only when it has the same
  int16_t zone = 0;
  uint8_t flags = 0;
};
static_assert(sizeof(MessageMeta) == 40);

// The name of a message's body. empty(): the row is damaged.
ObjectId BlobOf(const v1::MessageRow& row);
// Last 4 bytes of a body's name.
uint32_t CheckOfBlob(const ObjectId& blob);

class FolderIndex {
 public:
  FolderIndex();
  void SetFlags(Uid uid, Modseq modseq, uint32_t flags, absl::string_view keywords);
  // Adds the message, or replaces it when the index has it.
  void Put(Uid uid, const v1::MessageRow& row);
  void Erase(const UidSet& uids);
  void Erase(const absl::flat_hash_set<Uid>& uids);

  const std::vector<MessageMeta>& messages() const { return messages_; }
  const MessageMeta* Find(Uid uid) const;
  // Index of the first message with a UID of at least `uid`.
  size_t LowerBound(Uid uid) const;
  // The messages of `uids` with a UID above `after`, at most `limit`.
  std::vector<MessageMeta> Select(const UidSet& uids, Uid after, size_t limit) const;
  // The bits of MessageMeta.keywords, as in MessageRow.keywords.
  const std::string& KeywordBits(uint32_t set) const { return keyword_sets_[set]; }
  UidSet Uids() const;
  Uid FirstUnseen() const;  // empty: none
  size_t MemoryBytes() const;

 private:
  uint32_t Intern(absl::string_view bits);
  MessageMeta MetaOf(Uid uid, const v1::MessageRow& row);
  std::vector<MessageMeta> messages_;
  std::vector<std::string> keyword_sets_;  // [0] is empty
  absl::flat_hash_map<std::string, uint32_t> set_numbers_;
};

}  // namespace posthouse::mailbox
