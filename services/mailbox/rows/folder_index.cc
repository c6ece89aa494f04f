#include "services/mailbox/rows/folder_index.h"

#include <algorithm>

#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set.h"

namespace posthouse::mailbox {

ObjectId BlobOf(const v1::MessageRow& row) { return ObjectId::FromBytes(row.blob()).value_or(ObjectId()); }

uint32_t CheckOfBlob(const ObjectId& blob) {
  uint32_t check = 0;
  for (const char c : blob.Bytes().substr(ObjectId::kBytes - 4)) check = (check << 8) | static_cast<unsigned char>(c);
  return check;
}

FolderIndex::FolderIndex() : keyword_sets_(1), set_numbers_({{"", 0}}) {}

uint32_t FolderIndex::Intern(absl::string_view bits) {
  if (bits.empty()) return 0;
  const auto [it, added] = set_numbers_.try_emplace(std::string(bits), static_cast<uint32_t>(keyword_sets_.size()));
  if (added) keyword_sets_.push_back(it->first);
  return it->second;
}

void FolderIndex::Put(Uid uid, const v1::MessageRow& row) {
  const size_t i = LowerBound(uid);
  if (i < messages_.size() && messages_[i].uid == uid) {
    messages_[i] = MetaOf(uid, row);
  } else {
    messages_.insert(messages_.begin() + static_cast<ptrdiff_t>(i), MetaOf(uid, row));
  }
}

MessageMeta FolderIndex::MetaOf(Uid uid, const v1::MessageRow& row) {
  MessageMeta meta;
  meta.modseq = Modseq(row.modseq());
  meta.internal_date = row.internal_date();
  meta.size_bytes = row.size_bytes();
  meta.uid = uid;
  meta.keywords = Intern(row.keywords());
  meta.check = CheckOfBlob(BlobOf(row));
  meta.zone = static_cast<int16_t>(row.internal_date_zone());
  meta.flags = static_cast<uint8_t>(row.flags());
  return meta;
}

void FolderIndex::SetFlags(Uid uid, Modseq modseq, uint32_t flags, absl::string_view keywords) {
  const size_t i = LowerBound(uid);
  PH_CHECK(i < messages_.size() && messages_[i].uid == uid);
  messages_[i].modseq = modseq;
  messages_[i].flags = static_cast<uint8_t>(flags);
  messages_[i].keywords = Intern(keywords);
}

void FolderIndex::Erase(const UidSet& uids) {
  std::erase_if(messages_, [&](const MessageMeta& m) { return uids.Contains(m.uid); });
}

void FolderIndex::Erase(const absl::flat_hash_set<Uid>& uids) {
  std::erase_if(messages_, [&](const MessageMeta& m) { return uids.contains(m.uid); });
}

size_t FolderIndex::LowerBound(Uid uid) const {
  return static_cast<size_t>(
      std::lower_bound(messages_.begin(), messages_.end(), uid, [](const MessageMeta& m, Uid u) { return m.uid < u; }) -
      messages_.begin());
}

const MessageMeta* FolderIndex::Find(Uid uid) const {
  const size_t i = LowerBound(uid);
  return i < messages_.size() && messages_[i].uid == uid ? &messages_[i] : nullptr;
}

std::vector<MessageMeta> FolderIndex::Select(const UidSet& uids, Uid after, size_t limit) const {
  std::vector<MessageMeta> out;
  if (after == Uid(UINT32_MAX)) return out;
  const auto& ranges = uids.ranges();
  auto range = std::lower_bound(ranges.begin(), ranges.end(), after.Next(),
                                [](const UidSet::Range& r, Uid uid) { return Uid(r.last) < uid; });
  for (; range != ranges.end() && out.size() < limit; ++range) {
    for (size_t i = LowerBound(std::max(Uid(range->first), after.Next()));
         i < messages_.size() && messages_[i].uid <= Uid(range->last) && out.size() < limit; ++i) {
      out.push_back(messages_[i]);
    }
  }
  return out;
}

UidSet FolderIndex::Uids() const {
  UidSet out;
  size_t i = 0;
  while (i < messages_.size()) {
    size_t end = i + 1;
    while (end < messages_.size() && messages_[end].uid == messages_[end - 1].uid.Next()) ++end;
    out.Add(messages_[i].uid, messages_[end - 1].uid);
    i = end;
  }
  return out;
}

Uid FolderIndex::FirstUnseen() const {
  for (const MessageMeta& m : messages_) {
    if ((m.flags & v1::FLAG_SEEN) == 0) return m.uid;
  }
  return Uid();
}

size_t FolderIndex::MemoryBytes() const {
  return messages_.capacity() * sizeof(MessageMeta) + keyword_sets_.size() * 96;
}

}  // namespace posthouse::mailbox
