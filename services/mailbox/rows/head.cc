#include "services/mailbox/rows/head.h"

#include <algorithm>

#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/status/status.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {

void Head::Count(uint32_t flags, uint64_t message_bytes, int sign) {
  const auto add = [sign](uint64_t& counter, uint64_t n) { counter = sign > 0 ? counter + n : counter - n; };
  add(exists, 1);
  add(size_bytes, message_bytes);
  if ((flags & v1::FLAG_SEEN) == 0) add(unseen, 1);
  if ((flags & v1::FLAG_DELETED) != 0) add(deleted, 1);
}

void Head::Jump(uint64_t store_incarnation, uint64_t random) {
  const uint64_t uid = uint64_t{uid_next.value()} + kJump + random % kJump;
  uid_next = Uid(static_cast<uint32_t>(std::min<uint64_t>(uid, UINT32_MAX)));  // at the end no UIDs are left
  if (lost_to.empty()) lost_from = highest_modseq;
  highest_modseq = Modseq(highest_modseq.value() + kJump + (random >> 32));
  lost_to = log_floor = highest_modseq;
  incarnation = store_incarnation;
}

std::string Head::Encode() const {
  v1::FolderHead row;
  row.set_account_id(account_id.value());
  row.set_uid_validity(uid_validity.value());
  row.set_uid_next(uid_next.value());
  row.set_highest_modseq(highest_modseq.value());
  row.set_log_floor(log_floor.value());
  row.set_exists(exists);
  row.set_unseen(unseen);
  row.set_deleted(deleted);
  row.set_size_bytes(size_bytes);
  row.set_keywords(keywords);
  row.set_intents(intents);
  row.set_created(created);
  row.set_incarnation(incarnation);
  row.set_lost_from(lost_from.value());
  row.set_lost_to(lost_to.value());
  row.set_destroyed(destroyed);
  return EncodeRow(row);
}

absl::StatusOr<Head> Head::Decode(absl::string_view bytes) {
  PH_ASSIGN_OR_RETURN(const v1::FolderHead row, DecodeRow<v1::FolderHead>(bytes));
  Head head;
  head.account_id = AccountId(row.account_id());
  head.uid_validity = UidValidity(row.uid_validity());
  head.uid_next = Uid(row.uid_next());
  head.highest_modseq = Modseq(row.highest_modseq());
  head.log_floor = Modseq(row.log_floor());
  head.exists = row.exists();
  head.unseen = row.unseen();
  head.deleted = row.deleted();
  head.size_bytes = row.size_bytes();
  head.keywords = row.keywords();
  head.intents = row.intents();
  head.created = row.created();
  head.incarnation = row.incarnation();
  head.lost_from = Modseq(row.lost_from());
  head.lost_to = Modseq(row.lost_to());
  head.destroyed = row.destroyed();
  return head;
}

}  // namespace posthouse::mailbox
