// DecideAppend: one new message. Appends that follow each other in one commit share a modseq.
#include "services/common/status/status.h"
#include "services/mailbox/folder/folder_deciders.h"
#include "services/mailbox/rows/cache_rows.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

v1::MessageRow RowOf(const NewMessage& message, Modseq modseq, std::string keyword_bits, int64_t now) {
  v1::MessageRow row;
  row.set_modseq(modseq.value());
  row.set_flags(message.flags);
  row.set_keywords(std::move(keyword_bits));
  row.set_internal_date(message.internal_date);
  row.set_internal_date_zone(message.zone);
  row.set_save_date(now);
  row.set_size_bytes(message.size_bytes);
  row.set_blob(message.blob.Bytes());
  row.set_thread_id(message.thread_id);
  return row;
}

}  // namespace

absl::StatusOr<store::Verdict> DecideAppend(const FolderState& state, const store::FetchedRows& rows,
                                            FolderDraft& draft, const NewMessage& message, int64_t now,
                                            AppendResult& answer) {
  // The row is read only after a commit that required its absence has failed.
  if (const absl::string_view stored = rows.Value(message.dedupe_key); !stored.empty()) {
    PH_ASSIGN_OR_RETURN(const v1::DedupeRow before, DecodeRow<v1::DedupeRow>(stored));
    answer = {Uid(before.uid()), /*duplicate=*/true};
    return store::Verdict::kDone;
  }
  if (draft.head.uid_next == Uid(UINT32_MAX)) return absl::ResourceExhaustedError("the folder has no UIDs left");
  PH_ASSIGN_OR_RETURN(
      const FolderDraft::KeywordPlan keywords,
      draft.PlanKeywords(state, message.keywords, NewKeyword::kMayDrop, FolderDraft::kMaxChangeRows - 1));
  draft.TakeKeywords(keywords);
  const Modseq modseq = draft.TakeModseqForAdditions();
  answer = {draft.TakeUid(), /*duplicate=*/false};
  draft.AddMessage(answer.uid, RowOf(message, modseq, keywords.bits, now));
  draft.NeedBlob(message.blob.Hex());
  if (!message.dedupe_key.empty()) {
    v1::DedupeRow row;
    row.set_uid(answer.uid.value());
    row.set_at(now);
    draft.GuardAbsent(message.dedupe_key);
    draft.Set(message.dedupe_key, EncodeRow(row));
  }
  if (message.cached != nullptr) draft.AddCacheRows(CacheMutations(answer.uid, *message.cached));
  return store::Verdict::kCommit;
}

}  // namespace posthouse::mailbox
