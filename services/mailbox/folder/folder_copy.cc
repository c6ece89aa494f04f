// Folder: the two ends of copies and moves.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/folder/folder.h"
#include "services/mailbox/rows/cache_rows.h"

namespace posthouse::mailbox {
namespace {

// Cache rows carried along by one batch; beyond it the target rebuilds them.
constexpr size_t kMaxCarriedCacheBytes = 8 << 20;

absl::StatusOr<CopyBatch> DecodeBatch(absl::string_view bytes) {
  PH_ASSIGN_OR_RETURN(const v1::CopyBatchRow row, DecodeRow<v1::CopyBatchRow>(bytes));
  CopyBatch batch;
  const std::vector<uint32_t> from = UidSetFromFlat(row.from()).Expand();
  const std::vector<uint32_t> to = UidSetFromFlat(row.to()).Expand();
  if (from.size() != to.size()) return absl::DataLossError("copy row whose sides differ");
  for (size_t i = 0; i < from.size(); ++i) batch.uids.emplace_back(from[i], to[i]);
  batch.covered_to = row.covered_to();
  batch.last = row.last();
  return batch;
}

std::vector<std::string> NamesOf(absl::string_view bits, const std::vector<std::string>& keywords) {
  std::vector<std::string> names;
  for (size_t n = 0; n < bits.size() * 8 && n < keywords.size(); ++n) {
    if ((static_cast<unsigned char>(bits[n / 8]) >> (n % 8) & 1) != 0) names.push_back(keywords[n]);
  }
  return names;
}

}  // namespace

Task<absl::StatusOr<std::vector<CopyItem>>> Folder::ReadForCopy(UidSet uids, uint32_t after, BlobPins::Hold& hold) {
  // The lock keeps the rows, and so their blobs, until the pins hold them.
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  PH_CO_RETURN_IF_ERROR(co_await LoadIndex());
  std::vector<CopyItem> items;
  std::vector<std::string> keys;
  {
    absl::MutexLock lock(&mutex_);
    for (const MessageMeta& m : index_->Select(uids, after, kBatch)) {
      items.emplace_back();
      items.back().uid = m.uid;
      keys.push_back(MessageKey(m.uid));
    }
  }
  if (items.empty()) co_return items;
  PH_CO_ASSIGN_OR_RETURN(const auto rows, co_await ReadKeys(partition_, std::move(keys)));
  const std::vector<std::string> names = Current().keywords;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!rows[i].has_value()) co_return absl::AbortedError("another writer changed the folder");
    PH_CO_ASSIGN_OR_RETURN(const v1::MessageRow row, DecodeRow<v1::MessageRow>(*rows[i]));
    hold.Pin(row.blob());
    items[i].keywords = NamesOf(row.keywords(), names);
    items[i].row = *rows[i];
  }
  size_t carried = 0;
  for (const auto& key : {&EnvelopeKey, &StructureKey, &HeaderKey}) {
    std::vector<std::string> cache_keys;
    for (const CopyItem& item : items) cache_keys.push_back((*key)(item.uid));
    absl::StatusOr<std::vector<std::optional<std::string>>> cached =
        co_await ReadKeys(cache_partition_, std::move(cache_keys));
    for (size_t i = 0; i < items.size(); ++i) {
      items[i].cache.emplace_back();
      if (!cached.ok() || !(*cached)[i].has_value()) continue;
      carried += (*cached)[i]->size();
      if (carried <= kMaxCarriedCacheBytes) items[i].cache.back() = std::move((*cached)[i]);
    }
  }
  co_return items;
}

Task<absl::StatusOr<std::optional<CopyBatch>>> Folder::ReadCopyBatch(std::string operation_id, uint32_t batch) {
  PH_CO_ASSIGN_OR_RETURN(const auto values, co_await ReadKeys(partition_, {CopyBatchKey(operation_id, batch)}));
  if (!values[0].has_value()) co_return std::optional<CopyBatch>();
  PH_CO_ASSIGN_OR_RETURN(CopyBatch found, DecodeBatch(*values[0]));
  co_return std::optional<CopyBatch>(std::move(found));
}

Task<absl::StatusOr<CopyBatch>> Folder::AddCopies(std::string operation_id, uint32_t batch, std::vector<CopyItem> items,
                                                  bool last, bool move) {
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  const uint64_t nonce = NewNonce();
  const std::string done_key = operation_id.empty() ? "" : CopyBatchKey(operation_id, batch);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    PH_CO_RETURN_IF_ERROR(co_await LoadHead());
    Change commit = Begin(nonce);
    commit.use_reserve = move;  // most clients delete by moving to Trash: that must go on when the disk is full
    const int64_t now = absl::ToUnixSeconds(context_.clock());
    CopyBatch result;
    result.last = last;
    std::vector<std::pair<uint32_t, v1::MessageRow>> rows;
    UidSet from;
    for (const CopyItem& item : items) {
      if (commit.head.uid_next == UINT32_MAX) co_return absl::ResourceExhaustedError("the folder has no UIDs left");
      PH_CO_ASSIGN_OR_RETURN(v1::MessageRow row, DecodeRow<v1::MessageRow>(item.row));
      PH_CO_ASSIGN_OR_RETURN(*row.mutable_keywords(), KeywordBits(item.keywords, /*drop_excess=*/true, commit));
      const uint32_t uid = commit.head.uid_next++;
      row.set_modseq(commit.head.highest_modseq);
      row.set_save_date(now);
      commit.head.Count(row.flags(), row.size_bytes(), +1);
      commit.changed.Add(uid);
      commit.mutations.push_back({MessageKey(uid), EncodeRow(row)});
      if (item.cache.size() == 3) {
        const std::string keys[] = {EnvelopeKey(uid), StructureKey(uid), HeaderKey(uid)};
        for (size_t i = 0; i < 3; ++i) {
          if (item.cache[i].has_value()) commit.cache.push_back({keys[i], item.cache[i]});
        }
      }
      from.Add(item.uid);
      result.uids.emplace_back(item.uid, uid);
      result.covered_to = item.uid;
      rows.emplace_back(uid, std::move(row));
    }
    if (!done_key.empty()) {
      v1::CopyBatchRow done;
      UidSetToFlat(from, done.mutable_from());
      UidSetToFlat(commit.changed, done.mutable_to());
      done.set_covered_to(result.covered_to);
      done.set_last(last);
      done.set_at(now);
      commit.guards.push_back({done_key, std::nullopt});
      commit.mutations.push_back({done_key, EncodeRow(done)});
    }
    if (commit.mutations.empty()) co_return result;
    const auto apply = [&rows](FolderIndex& index) {
      for (const auto& [uid, row] : rows) index.Add(uid, row);
    };
    const absl::Status status = co_await Commit(std::move(commit), apply);
    if (status.ok()) {
      context_.metrics.copied.Add(static_cast<double>(rows.size()));
      co_return result;
    }
    if (!absl::IsAborted(status)) co_return status;
    if (done_key.empty()) continue;
    PH_CO_ASSIGN_OR_RETURN(std::optional<CopyBatch> found, co_await ReadCopyBatch(operation_id, batch));
    if (found.has_value()) co_return *std::move(found);
  }
  co_return absl::AbortedError("the folder changes too fast");
}

Task<absl::Status> Folder::WriteIntent(MoveIntent intent) {
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  const uint64_t nonce = NewNonce();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    PH_CO_RETURN_IF_ERROR(co_await LoadHead());
    Change commit = Begin(nonce);
    commit.use_reserve = true;
    v1::MoveIntentRow row;
    row.set_to_folder_id(intent.to_folder_id);
    UidSetToFlat(intent.uids, row.mutable_uids());
    row.set_batch(intent.batch);
    row.set_last(intent.last);
    row.set_at(absl::ToUnixSeconds(context_.clock()));
    // One intent of an operation at a time: the one before was finished.
    commit.guards.push_back({IntentKey(intent.operation_id), std::nullopt});
    commit.mutations.push_back({IntentKey(intent.operation_id), EncodeRow(row)});
    ++commit.head.intents;
    const auto apply = [](FolderIndex&) {};
    const absl::Status status = co_await Commit(std::move(commit), apply);
    if (!absl::IsAborted(status)) co_return status;
  }
  co_return absl::AbortedError("the folder changes too fast");
}

Task<absl::Status> Folder::FinishIntent(std::string operation_id, UidSet moved) {
  const AsyncMutex::Guard guard = co_await writer_.Lock();
  UidSet expunged;
  co_return co_await ExpungeBatch(moved.Expand(), /*even_undeleted=*/true, std::move(operation_id), expunged);
}

Task<absl::StatusOr<std::vector<MoveIntent>>> Folder::ReadIntents() {
  std::vector<MoveIntent> out;
  store::ReadRequest request;
  request.partition = partition_;
  request.prefix = kIntentPrefix;
  request.limit = store::kMaxPageRows;
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await context_.store.Read(std::move(request)));
  for (const store::Row& stored : read.page) {
    PH_CO_ASSIGN_OR_RETURN(const v1::MoveIntentRow row, DecodeRow<v1::MoveIntentRow>(stored.value));
    MoveIntent intent;
    PH_CO_ASSIGN_OR_RETURN(intent.operation_id, OperationOfIntentKey(stored.key));
    intent.to_folder_id = row.to_folder_id();
    intent.uids = UidSetFromFlat(row.uids());
    intent.batch = row.batch();
    intent.last = row.last();
    out.push_back(std::move(intent));
  }
  co_return out;
}

}  // namespace posthouse::mailbox
