#include "services/mailbox/message/convert.h"

#include <algorithm>

#include "posthouse/mailbox/v1/mailbox.pb.h"

namespace posthouse::mailbox {

void ToProto(const FolderSnapshot& state, uint32_t keyword_limit, v1::FolderState* out) {
  out->set_folder_id(state.folder_id);
  out->set_uid_validity(state.head.uid_validity);
  out->set_uid_next(state.head.uid_next);
  out->set_highest_modseq(state.head.highest_modseq);
  out->set_exists(state.head.exists);
  out->set_unseen(state.head.unseen);
  out->set_deleted(state.head.deleted);
  out->set_size_bytes(state.head.size_bytes);
  out->mutable_keywords()->Assign(state.keywords.begin(), state.keywords.end());
  out->set_keyword_limit(keyword_limit);
}

void ToProto(const FolderInfo& info, v1::Folder* out) {
  out->set_folder_id(info.folder_id);
  out->set_name(info.name);
  out->set_subscribed(info.subscribed);
  out->set_special_use(info.special_use);
  out->set_has_children(info.has_children);
  out->set_no_select(info.folder_id.empty());
}

bool ToProto(const UidSet& uids, uint32_t after, google::protobuf::RepeatedPtrField<common::v1::UidRange>* out) {
  for (const UidSet::Range& r : uids.ranges()) {
    if (r.last <= after) continue;
    if (static_cast<size_t>(out->size()) == kMaxRanges) return true;
    common::v1::UidRange* range = out->Add();
    range->set_first(std::max(r.first, after + 1));
    range->set_last(r.last);
  }
  return false;
}

void ToProto(const std::vector<MessageMeta>& messages, const std::vector<std::string>& keyword_bits,
             v1::MessageRows* out) {
  const int n = static_cast<int>(messages.size());
  out->mutable_uid()->Reserve(n);
  out->mutable_modseq()->Reserve(n);
  out->mutable_flags()->Reserve(n);
  out->mutable_keywords()->Reserve(n);
  for (size_t i = 0; i < messages.size(); ++i) {
    out->add_uid(messages[i].uid);
    out->add_modseq(messages[i].modseq);
    out->add_flags(messages[i].flags);
    out->add_keywords(keyword_bits[i]);
  }
}

UidSet Missing(const UidSet& asked, const UidSet& present, uint32_t uid_next) {
  if (uid_next <= 1) return UidSet();
  return asked.Minus(present).Intersect(UidSet({{1, uid_next - 1}}));
}

}  // namespace posthouse::mailbox
