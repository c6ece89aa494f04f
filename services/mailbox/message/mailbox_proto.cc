#include "services/mailbox/message/mailbox_proto.h"
#include "services/common/uid_set/uid_set.h"

#include <algorithm>

#include "posthouse/mailbox/v1/mailbox.pb.h"

namespace posthouse::mailbox {
namespace {

constexpr size_t kMaxKeywordBytes = 255;
constexpr int kMaxKeywords = 1000;

}  // namespace

const uint32_t kAllFlags = v1::FLAG_SEEN | v1::FLAG_ANSWERED | v1::FLAG_FLAGGED | v1::FLAG_DELETED | v1::FLAG_DRAFT;

absl::StatusOr<std::vector<std::string>> CheckKeywords(
    const google::protobuf::RepeatedPtrField<std::string>& keywords) {
  if (keywords.size() > kMaxKeywords) return absl::InvalidArgumentError("too many keywords");
  for (const std::string& keyword : keywords) {
    if (keyword.empty() || keyword.size() > kMaxKeywordBytes) {
      return absl::InvalidArgumentError("a keyword needs 1 to 255 bytes");
    }
  }
  return std::vector<std::string>(keywords.begin(), keywords.end());
}

void ToProto(const FolderSnapshot& state, uint32_t keyword_limit, v1::FolderState* out) {
  out->set_folder_id(state.folder_id.value());
  out->set_uid_validity(state.head.uid_validity.value());
  out->set_uid_next(state.head.uid_next.value());
  out->set_highest_modseq(state.head.highest_modseq.value());
  out->set_exists(state.head.exists);
  out->set_unseen(state.head.unseen);
  out->set_deleted(state.head.deleted);
  out->set_size_bytes(state.head.size_bytes);
  out->mutable_keywords()->Assign(state.keywords.begin(), state.keywords.end());
  out->set_keyword_limit(keyword_limit);
}

void ToProto(const FolderInfo& info, v1::Folder* out) {
  out->set_folder_id(info.folder_id.value());
  out->set_name(info.name);
  out->set_subscribed(info.subscribed);
  out->set_special_use(info.special_use);
  out->set_has_children(info.has_children);
  out->set_no_select(info.folder_id.empty());
}

bool ToProto(const UidSet& uids, Uid after, google::protobuf::RepeatedPtrField<common::v1::UidRange>* out) {
  for (const UidSet::Range& r : uids.ranges()) {
    if (Uid(r.last) <= after) continue;
    if (static_cast<size_t>(out->size()) == kMaxRanges) return true;
    common::v1::UidRange* range = out->Add();
    range->set_first(std::max(r.first, after.value() + 1));
    range->set_last(r.last);
  }
  return false;
}

void ToProto(const std::vector<MessageFlags>& messages, v1::MessageRows* out) {
  const int n = static_cast<int>(messages.size());
  out->mutable_uid()->Reserve(n);
  out->mutable_modseq()->Reserve(n);
  out->mutable_flags()->Reserve(n);
  out->mutable_keywords()->Reserve(n);
  for (const MessageFlags& m : messages) {
    out->add_uid(m.uid.value());
    out->add_modseq(m.modseq.value());
    out->add_flags(m.flags);
    out->add_keywords(m.keyword_bits);
  }
}

UidSet Missing(const UidSet& asked, const UidSet& present, Uid uid_next) {
  if (uid_next <= Uid(1)) return UidSet();
  return asked.Minus(present).Intersect(UidSet({{1, uid_next.value() - 1}}));
}

}  // namespace posthouse::mailbox
