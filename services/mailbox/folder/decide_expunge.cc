// DecideExpunge and DecideFinishMove: messages that leave the folder.
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/status/status.h"
#include "services/mailbox/folder/folder_deciders.h"
#include "services/mailbox/rows/cache_rows.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {
namespace {

// Chooses up to kBatchMessages, then drafts their removal.
void Expunge(const FolderState& state, FolderDraft& draft, const UidSet& uids, Uid after, bool even_undeleted,
             BatchAnswer& answer) {
  answer = {};
  size_t chosen = 0;
  const std::vector<MessageMeta>& messages = state.index->messages();
  for (size_t i = state.index->LowerBound(after.Next()); i < messages.size(); ++i) {
    const MessageMeta& meta = messages[i];
    if (!uids.Contains(meta.uid)) continue;
    const std::optional<MessageFlags> had = draft.Find(state, meta);
    if (!had.has_value() || (!even_undeleted && (had->flags & v1::FLAG_DELETED) == 0)) continue;
    if (chosen++ == kBatchMessages) {
      answer.more = true;
      break;
    }
    if (answer.expunged.empty()) draft.TakeModseq();
    answer.expunged.Add(meta.uid);
    answer.last_uid = meta.uid;
    draft.Expunge(*had, meta.size_bytes);
    draft.AddCacheRows(CacheRemovals(meta.uid));
  }
}

}  // namespace

absl::StatusOr<store::Verdict> DecideExpunge(const FolderState& state, FolderDraft& draft, const UidSet& uids,
                                             Uid after, bool even_undeleted, BatchAnswer& answer) {
  Expunge(state, draft, uids, after, even_undeleted, answer);
  return answer.expunged.empty() ? store::Verdict::kDone : store::Verdict::kCommit;
}

absl::StatusOr<store::Verdict> DecideFinishMove(const FolderState& state, const store::FetchedRows& rows,
                                                FolderDraft& draft, const std::string& operation_id,
                                                const UidSet& moved, BatchAnswer& answer) {
  const std::string key = IntentKey(operation_id);
  const std::optional<std::string>* intent = rows.Find(key);
  if (intent == nullptr) return draft.Need({key});
  const bool under_way = intent->has_value();  // the row may be in the draft, which changes now
  Expunge(state, draft, moved, Uid(), /*even_undeleted=*/true, answer);
  if (under_way) {
    if (answer.expunged.empty()) draft.TakeModseq();
    draft.Remove(key);
    --draft.head.intents;
  }
  return under_way || !answer.expunged.empty() ? store::Verdict::kCommit : store::Verdict::kDone;
}

}  // namespace posthouse::mailbox
