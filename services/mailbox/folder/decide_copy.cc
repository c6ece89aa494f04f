// The three steps of a copy or move that add something: DecideReadForCopy looks at the source,
// DecideBeginMove leaves an intent there, DecideCopy adds to the target.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/folder/folder_deciders.h"
#include "services/mailbox/rows/folder_index.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {

namespace {

// The names of a message's keywords, of which this commit may have made some.
std::vector<std::string> NamesOf(absl::string_view bits, const FolderState& state, const FolderDraft& draft) {
  std::vector<std::string> names;
  for (size_t n = 0; n < bits.size() * 8; ++n) {
    if ((static_cast<unsigned char>(bits[n / 8]) >> (n % 8) & 1) == 0) continue;
    if (n < state.keywords.size()) {
      names.push_back(state.keywords[n]);
    } else if (n - state.keywords.size() < draft.new_keywords().size()) {
      names.push_back(draft.new_keywords()[n - state.keywords.size()]);
    }
  }
  return names;
}

}  // namespace

absl::StatusOr<store::Verdict> DecideReadForCopy(const FolderState& state, const store::FetchedRows& rows,
                                                 FolderDraft& draft, const UidSet& uids, Uid after,
                                                 std::vector<CopyItem>& answer, std::vector<ObjectId>& blobs) {
  answer.clear();
  blobs.clear();
  std::vector<std::string> missing;
  for (const MessageMeta& meta : state.index->Select(uids, after, kBatchMessages)) {
    if (!draft.Find(state, meta).has_value()) continue;
    const std::string key = MessageKey(meta.uid);
    if (rows.Find(key) == nullptr) {
      missing.push_back(key);
      continue;
    }
    const absl::string_view stored = rows.Value(key);
    const absl::StatusOr<v1::MessageRow> row = DecodeRow<v1::MessageRow>(stored);
    if (!row.ok()) return Annotate(row.status(), absl::StrCat("message ", meta.uid.value()));
    CopyItem item;
    item.uid = meta.uid;
    item.row = std::string(stored);
    item.keywords = NamesOf(row->keywords(), state, draft);
    answer.push_back(std::move(item));
    blobs.push_back(BlobOf(*row));
  }
  return missing.empty() ? store::Verdict::kDone : draft.Need(std::move(missing));
}

absl::StatusOr<CopyBatch> DecodeCopyBatch(absl::string_view bytes) {
  PH_ASSIGN_OR_RETURN(const v1::CopyBatchRow row, DecodeRow<v1::CopyBatchRow>(bytes));
  CopyBatch batch;
  const UidSet from_set = UidSetFromFlat(row.from());
  const UidSet to_set = UidSetFromFlat(row.to());
  if (from_set.Count() != to_set.Count()) return absl::DataLossError("copy row whose sides differ");
  if (from_set.Count() > kBatchMessages) return absl::DataLossError("copy row of more messages than a commit has");
  const std::vector<Uid> from = from_set.Expand();
  const std::vector<Uid> to = to_set.Expand();
  for (size_t i = 0; i < from.size(); ++i) batch.uids.emplace_back(from[i], to[i]);
  batch.covered_to = Uid(row.covered_to());
  batch.last = row.last();
  return batch;
}

absl::StatusOr<store::Verdict> DecideCopy(const FolderState& state, const store::FetchedRows& rows, FolderDraft& draft,
                                          const std::string& dedupe_key, const std::vector<CopyItem>& items, bool last,
                                          int64_t now, CopyBatch& answer) {
  answer = {};
  // The row is read only after a commit that required its absence has failed.
  if (const absl::string_view before = rows.Value(dedupe_key); !before.empty()) {
    PH_ASSIGN_OR_RETURN(answer, DecodeCopyBatch(before));
    return store::Verdict::kDone;
  }
  answer.last = last;
  if (items.empty() && dedupe_key.empty()) return store::Verdict::kDone;
  if (UINT32_MAX - draft.head.uid_next.value() < items.size()) {
    return absl::ResourceExhaustedError("the folder has no UIDs left");
  }
  std::vector<v1::MessageRow> copies;
  for (const CopyItem& item : items) {
    PH_ASSIGN_OR_RETURN(v1::MessageRow row, DecodeRow<v1::MessageRow>(item.row));
    copies.push_back(std::move(row));
  }
  const Modseq modseq = draft.TakeModseq();
  size_t room = FolderDraft::kMaxChangeRows - std::min(items.size(), FolderDraft::kMaxChangeRows);
  UidSet from;
  UidSet to;
  for (size_t i = 0; i < items.size(); ++i) {
    const CopyItem& item = items[i];
    PH_ASSIGN_OR_RETURN(const FolderDraft::KeywordPlan keywords,
                        draft.PlanKeywords(state, item.keywords, NewKeyword::kMayDrop, room));
    room -= keywords.added.size();
    draft.TakeKeywords(keywords);
    const Uid uid = draft.TakeUid();
    copies[i].set_modseq(modseq.value());
    copies[i].set_keywords(keywords.bits);
    copies[i].set_save_date(now);
    draft.AddMessage(uid, std::move(copies[i]));
    if (item.cache.size() == 3) {
      const std::string keys[] = {EnvelopeKey(uid), StructureKey(uid), HeaderKey(uid)};
      for (size_t k = 0; k < 3; ++k) {
        if (item.cache[k].has_value()) draft.AddCacheRows({{keys[k], item.cache[k]}});
      }
    }
    from.Add(item.uid);
    to.Add(uid);
    answer.uids.emplace_back(item.uid, uid);
    answer.covered_to = item.uid;
  }
  if (!dedupe_key.empty()) {
    v1::CopyBatchRow done;
    UidSetToFlat(from, done.mutable_from());
    UidSetToFlat(to, done.mutable_to());
    done.set_covered_to(answer.covered_to.value());
    done.set_last(last);
    done.set_at(now);
    draft.GuardAbsent(dedupe_key);
    draft.Set(dedupe_key, EncodeRow(done));
  }
  return store::Verdict::kCommit;
}

absl::StatusOr<store::Verdict> DecideBeginMove(const store::FetchedRows& rows, FolderDraft& draft,
                                               const MoveIntent& intent, int64_t now) {
  // One intent of an operation at a time. The row is read only after a conflict.
  const std::string key = IntentKey(intent.operation_id);
  if (!rows.Value(key).empty()) return absl::AbortedError("another request moves under this operation id");
  v1::MoveIntentRow row;
  row.set_to_folder_id(intent.to_folder_id.value());
  UidSetToFlat(intent.uids, row.mutable_uids());
  row.set_batch(intent.batch);
  row.set_last(intent.last);
  row.set_at(now);
  draft.TakeModseq();
  draft.GuardAbsent(key);
  draft.Set(key, EncodeRow(row));
  ++draft.head.intents;
  return store::Verdict::kCommit;
}

}  // namespace posthouse::mailbox
