#include "services/mailbox/folder/folder_state.h"

#include "absl/strings/match.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

void ToFlatRanges(const std::vector<Uid>& uids, google::protobuf::RepeatedField<uint32_t>* out) {
  UidSet set;
  for (const Uid uid : uids) set.Add(uid);
  UidSetToFlat(set, out);
}

// RFC 9051 §2.3.2: keywords are compared without regard to case; the first spelling stays.
size_t NumberOf(const std::vector<std::string>& keywords, const std::string& name) {
  size_t number = 0;
  while (number < keywords.size() && !absl::EqualsIgnoreCase(keywords[number], name)) ++number;
  return number;
}

}  // namespace

std::optional<MessageFlags> FolderDraft::Find(const FolderState& state, const MessageMeta& meta) const {
  if (expunged_.contains(meta.uid)) return std::nullopt;
  if (const auto changed = flags_.find(meta.uid); changed != flags_.end()) return changed->second;
  return MessageFlags{meta.uid, meta.modseq, meta.flags, state.index->KeywordBits(meta.keywords)};
}

Uid FolderDraft::TakeUid() {
  const Uid uid = head.uid_next;
  head.uid_next = uid.Next();
  return uid;
}

// ---- the change log

Modseq FolderDraft::TakeModseq() {
  BeginLogRow(/*additions=*/false);
  return head.highest_modseq;
}

Modseq FolderDraft::TakeModseqForAdditions() {
  if (!log_.has_value() || !log_->additions) BeginLogRow(/*additions=*/true);
  return head.highest_modseq;
}

void FolderDraft::BeginLogRow(bool additions) {
  if (log_.has_value()) {
    Set(ChangeKey(log_->modseq), EncodeLogRow());
    TrimLog();
  }
  head.highest_modseq = head.highest_modseq.Next();
  log_ = DraftedLogRow{head.highest_modseq, additions, {}, {}};
}

std::string FolderDraft::EncodeLogRow() const {
  v1::ChangeRow row;
  ToFlatRanges(log_->changed, row.mutable_changed());
  ToFlatRanges(log_->expunged, row.mutable_expunged());
  row.set_nonce(nonce());
  return EncodeRow(row);
}

// Every modseq above the floor has one row, so the oldest keys are known without reading.
// Two rows go for each that is added: a limit that was lowered takes effect bit by bit.
void FolderDraft::TrimLog() {
  for (int i = 0; i < 2 && head.highest_modseq.value() - head.log_floor.value() > log_entries; ++i) {
    head.log_floor = head.log_floor.Next();
    Remove(ChangeKey(head.log_floor));
  }
}

store::Row FolderDraft::SealLog() {
  if (!log_.has_value()) BeginLogRow(/*additions=*/false);
  TrimLog();
  return {ChangeKey(log_->modseq), EncodeLogRow()};
}

// ---- messages

void FolderDraft::AddMessage(Uid uid, v1::MessageRow row) {
  head.Count(row.flags(), row.size_bytes(), +1);
  log_->changed.push_back(uid);
  Set(MessageKey(uid), EncodeRow(row));
  added_.emplace_back(uid, std::move(row));
}

void FolderDraft::ChangeFlags(const MessageFlags& had, v1::MessageRow row) {
  head.Count(had.flags, row.size_bytes(), -1);
  head.Count(row.flags(), row.size_bytes(), +1);
  log_->changed.push_back(had.uid);
  Set(MessageKey(had.uid), EncodeRow(row));
  flags_[had.uid] = {had.uid, Modseq(row.modseq()), row.flags(), row.keywords()};
}

void FolderDraft::Expunge(const MessageFlags& had, uint64_t size_bytes) {
  head.Count(had.flags, size_bytes, -1);
  log_->expunged.push_back(had.uid);
  Remove(MessageKey(had.uid));
  flags_.erase(had.uid);
  expunged_.insert(had.uid);
}

// ---- keywords

absl::StatusOr<FolderDraft::KeywordPlan> FolderDraft::PlanKeywords(const FolderState& state,
                                                                   const std::vector<std::string>& names,
                                                                   NewKeyword unknown, size_t room) const {
  KeywordPlan plan;
  for (const std::string& name : names) {
    if (name.empty()) continue;
    size_t number = NumberOf(state.keywords, name);
    if (number == state.keywords.size()) number += NumberOf(new_keywords_, name);
    if (number == state.keywords.size() + new_keywords_.size()) {
      const size_t added = NumberOf(plan.added, name);
      number += added;
      if (added == plan.added.size()) {
        if (unknown == NewKeyword::kNeverMake) continue;
        if (number >= keyword_limit || added >= room) {
          if (unknown != NewKeyword::kMayDrop) return absl::OutOfRangeError("too many keywords in this folder");
          ++plan.dropped;
          continue;
        }
        plan.added.push_back(name);
      }
    }
    if (plan.bits.size() <= number / 8) plan.bits.resize(number / 8 + 1);
    plan.bits[number / 8] = static_cast<char>(plan.bits[number / 8] | (1 << (number % 8)));
  }
  return plan;
}

void FolderDraft::TakeKeywords(const KeywordPlan& plan) {
  dropped_keywords_ += plan.dropped;
  for (const std::string& name : plan.added) {
    Set(KeywordKey(static_cast<uint16_t>(head.keywords++)), EncodeText(name));
    new_keywords_.push_back(name);
  }
}

void FolderDraft::AddCacheRows(std::vector<store::Mutation> rows) {
  for (store::Mutation& row : rows) cache_rows_.push_back(std::move(row));
}

}  // namespace posthouse::mailbox
