#include "services/mailbox/folder/folder.h"

#include "services/common/status/status.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {

using store::FetchedRows;

Folder::Folder(MailboxDeps& deps, FolderRef ref, std::shared_ptr<Usage> usage)
    : deps_(deps),
      ref_(std::move(ref)),
      partition_(FolderPartition(ref_.tenant, ref_.folder_id)),
      cache_partition_(CachePartition(ref_.tenant, ref_.folder_id)),
      usage_(std::move(usage)),
      rows_(std::make_shared<Rows>(FolderModel::Options(deps, ref_), FolderModel(deps, ref_, usage_))),
      recent_(deps.store, partition_, deps.executor) {}

Task<absl::Status> Folder::Change(Rows::Decider decide, bool use_reserve, unsigned parts) {
  store::ChangeOptions options;
  options.use_reserve = use_reserve;
  options.parts = parts;
  co_return co_await rows_->Change(std::move(decide), std::move(options));
}

Task<absl::StatusOr<std::vector<std::optional<std::string>>>> Folder::ReadKeys(store::Partition partition,
                                                                               std::vector<std::string> keys) {
  store::ReadRequest request;
  request.partition = std::move(partition);
  request.keys = std::move(keys);
  PH_CO_ASSIGN_OR_RETURN(store::ReadResult read, co_await deps_.store.Read(std::move(request)));
  co_return std::move(read.values);
}

// ---- messages

Task<absl::StatusOr<AppendResult>> Folder::Append(NewMessage message) {
  AppendResult result;
  PH_CO_RETURN_IF_ERROR(
      co_await Change([&](const FolderState& state, const FetchedRows& rows,
                          FolderDraft& draft) { return DecideAppend(state, rows, draft, message, Now(), result); },
                      /*use_reserve=*/false));
  co_return result;
}

Task<absl::StatusOr<std::optional<Uid>>> Folder::FindStoredUid(std::string dedupe_key) {
  PH_CO_ASSIGN_OR_RETURN(const auto values, co_await ReadKeys(partition_, {std::move(dedupe_key)}));
  if (!values[0].has_value()) co_return std::optional<Uid>();
  PH_CO_ASSIGN_OR_RETURN(const v1::DedupeRow stored, DecodeRow<v1::DedupeRow>(*values[0]));
  co_return std::optional<Uid>(Uid(stored.uid()));
}

// Flag changes and expunges go on while the disk is full; else users could make no room.
Task<absl::StatusOr<FlagResult>> Folder::StoreFlags(UidSet uids, FlagChange change) {
  FlagResult result;
  Uid after = change.after;
  for (size_t done = 0;; done += kBatch) {
    BatchAnswer batch;
    PH_CO_RETURN_IF_ERROR(
        co_await Change([&](const FolderState& state, const FetchedRows& rows,
                            FolderDraft& draft) { return DecideFlags(state, rows, draft, uids, after, change, batch); },
                        /*use_reserve=*/true, kIndex));
    for (MessageFlags& m : batch.messages) result.messages.push_back(std::move(m));
    for (const UidSet::Range& r : batch.modified.ranges()) result.modified.Add(r.first, r.last);
    if (!batch.own_modseq.empty()) result.own_modseqs.push_back(batch.own_modseq);
    if (!batch.more) break;
    after = batch.last_uid;
    if (done + kBatch >= change.max_messages) {
      result.continue_after = after;
      break;
    }
  }
  PH_CO_ASSIGN_OR_RETURN(result.state, co_await Snapshot());
  co_return result;
}

Task<absl::StatusOr<ExpungeResult>> Folder::Expunge(UidSet uids, bool even_undeleted, size_t max_ranges) {
  ExpungeResult result;
  for (Uid after;;) {
    BatchAnswer batch;
    PH_CO_RETURN_IF_ERROR(co_await Change(
        [&](const FolderState& state, const FetchedRows&, FolderDraft& draft) {
          return DecideExpunge(state, draft, uids, after, even_undeleted, batch);
        },
        /*use_reserve=*/true, kIndex));
    deps_.metrics.expunged.Add(static_cast<double>(batch.expunged.Count()));
    for (const UidSet::Range& r : batch.expunged.ranges()) result.expunged.Add(r.first, r.last);
    after = batch.last_uid;
    result.more = batch.more && result.expunged.ranges().size() >= max_ranges;
    if (!batch.more || result.more) break;
  }
  PH_CO_ASSIGN_OR_RETURN(result.state, co_await Snapshot());
  co_return result;
}

Task<absl::StatusOr<Usage::Amount>> Folder::Destroy() {
  // Fences every commit that is based on an older head, and loads the counters.
  const absl::Status fenced = co_await Change(
      [](const FolderState&, const FetchedRows&, FolderDraft& draft) -> absl::StatusOr<store::Verdict> {
        draft.head.destroyed = true;
        return store::Verdict::kCommit;
      },
      /*use_reserve=*/true);
  // kNotFound: there is no head, or an earlier call has done it. A damaged head fences nothing, and no
  // commit is based on it.
  if (!fenced.ok() && !absl::IsNotFound(fenced) && !absl::IsDataLoss(fenced)) co_return fenced;
  // When it returns, no commit of ours can put rows back.
  co_await rows_->Close(absl::NotFoundError("no such folder"));
  // An append that came before the close is in the counters.
  const auto counted = rows_->Recall([](const FolderState& state) { return FolderModel::AmountOf(state.head); });
  if (counted.has_value()) usage_->Forget(ref_.folder_id, *counted);
  deps_.hints.FolderDeleted(ref_.account_id, ref_.folder_id);
  PH_CO_RETURN_IF_ERROR(co_await deps_.store.Drop(partition_));
  PH_CO_RETURN_IF_ERROR(co_await deps_.store.Drop(cache_partition_));
  co_return counted.value_or(Usage::Amount());
}

// ---- copies and moves

Task<absl::StatusOr<std::optional<CopyBatch>>> Folder::ReadCopyBatch(std::string operation_id, uint32_t batch) {
  PH_CO_ASSIGN_OR_RETURN(const auto values, co_await ReadKeys(partition_, {CopyBatchKey(operation_id, batch)}));
  if (!values[0].has_value()) co_return std::optional<CopyBatch>();
  PH_CO_ASSIGN_OR_RETURN(CopyBatch found, DecodeCopyBatch(*values[0]));
  co_return std::optional<CopyBatch>(std::move(found));
}

Task<absl::StatusOr<CopyBatch>> Folder::AddCopies(std::string operation_id, uint32_t batch, std::vector<CopyItem> items,
                                                  bool last, bool move) {
  const std::string dedupe_key = operation_id.empty() ? "" : CopyBatchKey(operation_id, batch);
  CopyBatch result;
  // Most clients delete by moving to Trash: that must go on when the disk is full.
  PH_CO_RETURN_IF_ERROR(co_await Change(
      [&](const FolderState& state, const FetchedRows& rows, FolderDraft& draft) {
        return DecideCopy(state, rows, draft, dedupe_key, items, last, Now(), result);
      },
      /*use_reserve=*/move));
  deps_.metrics.copied.Add(static_cast<double>(result.uids.size()));
  co_return result;
}

Task<absl::Status> Folder::WriteIntent(MoveIntent intent) {
  co_return co_await Change([&](const FolderState&, const FetchedRows& rows,
                                FolderDraft& draft) { return DecideBeginMove(rows, draft, intent, Now()); },
                            /*use_reserve=*/true);
}

Task<absl::Status> Folder::FinishIntent(std::string operation_id, UidSet moved) {
  BatchAnswer batch;
  PH_CO_RETURN_IF_ERROR(co_await Change(
      [&](const FolderState& state, const FetchedRows& rows, FolderDraft& draft) {
        return DecideFinishMove(state, rows, draft, operation_id, moved, batch);
      },
      /*use_reserve=*/true, kIndex));
  deps_.metrics.expunged.Add(static_cast<double>(batch.expunged.Count()));
  co_return absl::OkStatus();
}

}  // namespace posthouse::mailbox
