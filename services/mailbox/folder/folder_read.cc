// Folder: everything that reads.
#include <algorithm>

#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/folder/folder.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

// Cache rows carried along by one batch of a copy; beyond it the target rebuilds them.
constexpr size_t kMaxCarriedCacheBytes = 8 << 20;

store::ChangeOptions NeedsIndex() {
  store::ChangeOptions options;
  options.parts = FolderModel::kIndex;
  return options;
}

// From the index: `all`, or only those whose modseq is above `modseq`.
void AddChanged(const FolderState& state, bool all, Modseq modseq, Uid after, size_t limit, FolderChanges& changes) {
  const std::vector<MessageMeta>& messages = state.index->messages();
  for (size_t i = state.index->LowerBound(after); i < messages.size(); ++i) {
    const MessageMeta& m = messages[i];
    if (m.uid <= after || (!all && m.modseq <= modseq)) continue;
    if ((changes.more = changes.messages.size() >= limit)) break;
    changes.messages.push_back({m.uid, m.modseq, m.flags, state.index->KeywordBits(m.keywords)});
  }
}

}  // namespace

bool Folder::loaded() const {
  return rows_->healthy().ok() && rows_->Peek([](const FolderState&) { return true; }).has_value();
}

Task<absl::StatusOr<FolderSnapshot>> Folder::Snapshot() {
  PH_CO_RETURN_IF_ERROR(rows_->healthy());
  co_return co_await rows_->Look([this](const FolderState& state) { return SnapshotOf(state); });
}

Task<absl::StatusOr<std::shared_ptr<const UidsView>>> Folder::Uids() {
  PH_CO_RETURN_IF_ERROR(rows_->healthy());
  co_return co_await rows_->Look(
      [this](const FolderState& state) -> std::shared_ptr<const UidsView> {
        absl::MutexLock lock(&view_mutex_);
        if (view_ != nullptr && view_->state.head.highest_modseq == state.head.highest_modseq) return view_;
        auto view = std::make_shared<UidsView>();
        view->state = SnapshotOf(state);
        view->uids = state.index->Uids();
        view->first_unseen = state.head.unseen == 0 ? Uid() : state.index->FirstUnseen();
        view_ = std::move(view);
        return view_;
      },
      NeedsIndex());
}

Task<absl::StatusOr<std::vector<MessageMeta>>> Folder::Select(UidSet uids, Uid after, size_t limit,
                                                              std::vector<std::string>* bits) {
  PH_CO_RETURN_IF_ERROR(rows_->healthy());
  co_return co_await rows_->Look(
      [&](const FolderState& state) {
        std::vector<MessageMeta> out = state.index->Select(uids, after, limit);
        if (bits != nullptr) {
          bits->clear();
          for (const MessageMeta& m : out) bits->push_back(state.index->KeywordBits(m.keywords));
        }
        return out;
      },
      NeedsIndex());
}

Task<absl::StatusOr<std::optional<UidSet>>> Folder::ExpungedBetween(Modseq after, Modseq to) {
  std::vector<UidSet::Range> ranges;
  store::ReadRequest request;
  request.partition = partition_;
  request.prefix = kChangePrefix;
  request.after = ChangeKey(after);
  request.limit = store::kMaxPageRows;
  while (after < to) {
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(request));
    for (const store::Row& row : read.page) {
      PH_CO_ASSIGN_OR_RETURN(const Modseq modseq, ModseqOfKey(row.key));
      after = after.Next();
      // The oldest rows may have been dropped since the head was looked at.
      if (modseq != after) co_return std::optional<UidSet>();
      if (after > to) break;
      PH_CO_ASSIGN_OR_RETURN(const v1::ChangeRow change, DecodeRow<v1::ChangeRow>(row.value));
      const UidSet expunged = UidSetFromFlat(change.expunged());
      ranges.insert(ranges.end(), expunged.ranges().begin(), expunged.ranges().end());
      request.after = row.key;
    }
    if (!read.more && after < to) co_return std::optional<UidSet>();
  }
  co_return std::optional<UidSet>(UidSet(std::move(ranges)));
}

Task<absl::StatusOr<std::optional<UidSet>>> Folder::VanishedAfter(Modseq modseq, UidSet within) {
  PH_CO_ASSIGN_OR_RETURN(const FolderSnapshot state, co_await Snapshot());
  if (modseq < state.head.log_floor) co_return std::optional<UidSet>();
  PH_CO_ASSIGN_OR_RETURN(const std::optional<UidSet> all, co_await ExpungedBetween(modseq, state.head.highest_modseq));
  if (!all.has_value()) co_return std::optional<UidSet>();
  co_return std::optional<UidSet>(all->Intersect(within));
}

Task<absl::StatusOr<FolderChanges>> Folder::ChangesAfter(Modseq modseq, Uid after, size_t limit) {
  PH_CO_RETURN_IF_ERROR(rows_->healthy());
  // Nothing new is what the poll after a lost hint finds most of the time: it needs no index.
  PH_CO_ASSIGN_OR_RETURN(FolderSnapshot now, co_await Snapshot());
  FolderChanges out;
  if (modseq == now.head.highest_modseq) {
    out.state = std::move(now);
    co_return out;
  }
  const auto look = [&](const FolderState& state) {
    out.state = SnapshotOf(state);
    out.messages.clear();
    // A modseq of the future is from another life of the folder: start again.
    out.full = out.full || modseq < state.head.log_floor || modseq > state.head.highest_modseq;
    AddChanged(state, out.full, modseq, after, limit, out);
    return true;
  };
  PH_CO_RETURN_IF_ERROR((co_await rows_->Look(look, NeedsIndex())).status());
  if (out.full) co_return out;
  // Up to the head that was looked at: what came later belongs to the next answer.
  PH_CO_ASSIGN_OR_RETURN(std::optional<UidSet> vanished,
                         co_await ExpungedBetween(modseq, out.state.head.highest_modseq));
  if (!vanished.has_value() || vanished->ranges().size() > kMaxVanishedRanges) {
    out.full = true;
    PH_CO_RETURN_IF_ERROR((co_await rows_->Look(look, NeedsIndex())).status());
  } else if (after.empty()) {
    out.vanished = *std::move(vanished);
  }
  co_return out;
}

Task<absl::StatusOr<UidSet>> Folder::ChangedSince(UidSet uids, Modseq modseq) {
  PH_CO_RETURN_IF_ERROR(rows_->healthy());
  co_return co_await rows_->Look(
      [&](const FolderState& state) {
        UidSet out;
        const bool all = state.head.KnowsLostCommits(modseq);
        for (const MessageMeta& m : state.index->messages()) {
          if ((all || m.modseq > modseq) && uids.Contains(m.uid)) out.Add(m.uid);
        }
        return out;
      },
      NeedsIndex());
}

Task<absl::StatusOr<uint64_t>> Folder::CountRecent() {
  PH_CO_ASSIGN_OR_RETURN(const Uid told, co_await recent_.Told());
  // Without new mail, which is most of the time, it needs no index.
  PH_CO_ASSIGN_OR_RETURN(const FolderSnapshot now, co_await Snapshot());
  if (told >= now.head.uid_next || told.Next() == now.head.uid_next) co_return uint64_t{0};
  co_return co_await rows_->Look(
      [told](const FolderState& state) {
        return uint64_t{state.index->messages().size() - state.index->LowerBound(told.Next())};
      },
      NeedsIndex());
}

Task<absl::Status> Folder::CountUsage() {
  if (usage_->Counted(ref_.folder_id)) co_return absl::OkStatus();
  PH_CO_RETURN_IF_ERROR(rows_->healthy());
  // No change of the head falls between the look and the count: both are in the state's lock.
  co_return (co_await rows_->Look([this](const FolderState& state) {
    usage_->Count(ref_.folder_id, FolderModel::AmountOf(state.head));
    return true;
  })).status();
}

size_t Folder::MemoryBytes() const {
  return 1024 + rows_
                    ->Peek([](const FolderState& state) {
                      return state.keywords.size() * 64 + (state.index.has_value() ? state.index->MemoryBytes() : 0);
                    })
                    .value_or(0);
}

// ---- for copies and moves

Task<absl::StatusOr<std::vector<CopyItem>>> Folder::ReadForCopy(UidSet uids, Uid after, BlobPins::Hold& hold) {
  std::vector<CopyItem> items;
  PH_CO_RETURN_IF_ERROR(co_await Change(
      [&](const FolderState& state, const store::FetchedRows& rows, FolderDraft& draft) {
        std::vector<ObjectId> blobs;
        const absl::StatusOr<store::Verdict> verdict = DecideReadForCopy(state, rows, draft, uids, after, items, blobs);
        // Here, between two commits: an expunge that frees one of them comes after the pins.
        for (const ObjectId& blob : blobs) hold.Pin(blob);
        return verdict;
      },
      /*use_reserve=*/true, kIndex));
  if (!items.empty()) co_await AddCachedRows(items);
  co_return items;
}

Task<void> Folder::AddCachedRows(std::vector<CopyItem>& items) {
  size_t carried = 0;
  for (const auto& key : {&EnvelopeKey, &StructureKey, &HeaderKey}) {
    std::vector<std::string> keys;
    for (const CopyItem& item : items) keys.push_back((*key)(item.uid));
    const auto cached = co_await ReadKeys(cache_partition_, std::move(keys));
    for (size_t i = 0; i < items.size(); ++i) {
      items[i].cache.emplace_back();
      if (!cached.ok() || !(*cached)[i].has_value()) continue;
      carried += (*cached)[i]->size();
      if (carried <= kMaxCarriedCacheBytes) items[i].cache.back() = (*cached)[i];
    }
  }
}

Task<absl::StatusOr<std::vector<MoveIntent>>> Folder::ReadIntents() {
  std::vector<MoveIntent> out;
  store::ReadRequest request;
  request.partition = partition_;
  request.prefix = kIntentPrefix;
  request.limit = store::kMaxPageRows;
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await deps_.store.Read(std::move(request)));
  for (const store::Row& stored : read.page) {
    PH_CO_ASSIGN_OR_RETURN(const v1::MoveIntentRow row, DecodeRow<v1::MoveIntentRow>(stored.value));
    MoveIntent intent;
    PH_CO_ASSIGN_OR_RETURN(intent.operation_id, OperationOfIntentKey(stored.key));
    intent.to_folder_id = FolderId(row.to_folder_id());
    intent.uids = UidSetFromFlat(row.uids());
    intent.batch = row.batch();
    intent.last = row.last();
    out.push_back(std::move(intent));
  }
  co_return out;
}

}  // namespace posthouse::mailbox
