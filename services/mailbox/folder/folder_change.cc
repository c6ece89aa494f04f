// Folder: flag changes and expunges, batch by batch.
#include <algorithm>

#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/status/status.h"
#include "services/mailbox/folder/folder.h"
#include "services/mailbox/rows/cache_rows.h"

namespace posthouse::mailbox {
namespace {

// `had` changed by `given` as the mode says; sets of keyword bits.
std::string MergeBits(FlagChange::Mode mode, const std::string& had, const std::string& given) {
  if (mode == FlagChange::Mode::kReplace) return given;
  std::string out = had;
  if (mode == FlagChange::Mode::kAdd) out.resize(std::max(had.size(), given.size()));
  for (size_t i = 0; i < std::min(out.size(), given.size()); ++i) {
    out[i] = static_cast<char>(mode == FlagChange::Mode::kAdd ? out[i] | given[i] : out[i] & ~given[i]);
  }
  while (!out.empty() && out.back() == 0) out.pop_back();
  return out;
}

uint32_t MergeFlags(FlagChange::Mode mode, uint32_t had, uint32_t given) {
  switch (mode) {
    case FlagChange::Mode::kReplace:
      return given;
    case FlagChange::Mode::kAdd:
      return had | given;
    case FlagChange::Mode::kRemove:
      return had & ~given;
  }
  return had;
}

struct NewFlags {
  uint32_t uid = 0;
  uint32_t flags = 0;
  std::string keywords;
};

}  // namespace

Task<absl::StatusOr<FlagResult>> Folder::StoreFlags(UidSet uids, FlagChange change) {
  FlagResult result;
  uint32_t after = change.after;
  for (size_t done = 0;; done += kBatch) {
    const AsyncMutex::Guard guard = co_await writer_.Lock();
    PH_CO_RETURN_IF_ERROR(co_await LoadIndex());
    std::vector<uint32_t> batch;
    {
      absl::MutexLock lock(&mutex_);
      for (const MessageMeta& m : index_->Select(uids, after, kBatch)) batch.push_back(m.uid);
    }
    if (done >= change.max_messages && !batch.empty()) {
      result.continue_after = after;
      batch.clear();
    }
    if (!batch.empty()) PH_CO_RETURN_IF_ERROR(co_await StoreBatch(batch, change, result));
    if (batch.size() < kBatch) {
      result.state = Current();
      co_return result;
    }
    after = batch.back();
  }
}

Task<absl::Status> Folder::StoreBatch(const std::vector<uint32_t>& uids, const FlagChange& change, FlagResult& result) {
  const uint64_t nonce = NewNonce();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    PH_CO_RETURN_IF_ERROR(co_await LoadIndex());
    Change commit = Begin(nonce);
    const bool remove = change.mode == FlagChange::Mode::kRemove;
    PH_CO_ASSIGN_OR_RETURN(const std::string given, KeywordBits(change.keywords, remove, commit));
    // A keyword that is not there need not be made to be taken away.
    if (remove) commit.new_keywords.clear();
    UidSet modified;
    std::vector<NewFlags> changes;
    {
      absl::MutexLock lock(&mutex_);
      for (const uint32_t uid : uids) {
        const MessageMeta* m = index_->Find(uid);
        if (m == nullptr) continue;
        if (change.unchanged_since.has_value() && m->modseq > *change.unchanged_since) {
          modified.Add(uid);
          continue;
        }
        const std::string& had = index_->KeywordBits(m->keywords);
        NewFlags next{uid, MergeFlags(change.mode, m->flags, change.flags), MergeBits(change.mode, had, given)};
        if (next.flags != m->flags || next.keywords != had) changes.push_back(std::move(next));
      }
    }
    absl::Status status;
    if (!changes.empty()) {
      std::vector<std::string> keys;
      for (const NewFlags& c : changes) keys.push_back(MessageKey(c.uid));
      PH_CO_ASSIGN_OR_RETURN(const auto rows, co_await ReadKeys(partition_, std::move(keys)));
      bool stale = false;
      for (size_t i = 0; i < changes.size() && !stale; ++i) {
        const NewFlags& c = changes[i];
        // Gone although the index has it: another writer; the head will tell.
        if ((stale = !rows[i].has_value())) break;
        PH_CO_ASSIGN_OR_RETURN(v1::MessageRow row, DecodeRow<v1::MessageRow>(*rows[i]));
        commit.head.Count(row.flags(), row.size_bytes(), -1);
        commit.head.Count(c.flags, row.size_bytes(), +1);
        row.set_modseq(commit.head.highest_modseq);
        row.set_flags(c.flags);
        row.set_keywords(c.keywords);
        commit.changed.Add(c.uid);
        commit.mutations.push_back({MessageKey(c.uid), EncodeRow(row)});
      }
      if (stale) {
        Forget();
        continue;
      }
      const uint64_t modseq = commit.head.highest_modseq;
      const auto apply = [&changes, modseq](FolderIndex& index) {
        for (const NewFlags& c : changes) index.SetFlags(c.uid, modseq, c.flags, c.keywords);
      };
      status = co_await Commit(std::move(commit), apply);
      if (absl::IsAborted(status)) continue;
      PH_CO_RETURN_IF_ERROR(status);
      result.own_modseqs.push_back(modseq);
      PH_CO_RETURN_IF_ERROR(co_await LoadIndex());
    }
    UidSet changed;
    for (const NewFlags& c : changes) changed.Add(c.uid);
    for (const UidSet::Range& r : modified.ranges()) result.modified.Add(r.first, r.last);
    absl::MutexLock lock(&mutex_);
    for (const uint32_t uid : uids) {
      const MessageMeta* m = index_->Find(uid);
      if (m == nullptr || (change.only_changed && !changed.Contains(uid))) continue;
      result.messages.push_back(*m);
      result.keyword_bits.push_back(index_->KeywordBits(m->keywords));
    }
    co_return absl::OkStatus();
  }
  co_return absl::AbortedError("the folder changes too fast");
}

Task<absl::StatusOr<ExpungeResult>> Folder::Expunge(UidSet uids, bool even_undeleted, size_t max_ranges) {
  ExpungeResult result;
  uint32_t after = 0;
  while (true) {
    const AsyncMutex::Guard guard = co_await writer_.Lock();
    PH_CO_RETURN_IF_ERROR(co_await LoadIndex());
    std::vector<uint32_t> batch;
    {
      absl::MutexLock lock(&mutex_);
      for (size_t i = index_->LowerBound(after); i < index_->messages().size() && batch.size() < kBatch; ++i) {
        const MessageMeta& m = index_->messages()[i];
        if (!even_undeleted && (m.flags & v1::FLAG_DELETED) == 0) continue;
        if (uids.Contains(m.uid)) batch.push_back(m.uid);
      }
    }
    if (!batch.empty() && result.expunged.ranges().size() >= max_ranges) {
      result.more = true;
      batch.clear();
    }
    if (!batch.empty()) PH_CO_RETURN_IF_ERROR(co_await ExpungeBatch(batch, even_undeleted, "", result.expunged));
    if (batch.size() < kBatch) {
      result.state = Current();
      co_return result;
    }
    after = batch.back();
  }
}

Task<absl::Status> Folder::ExpungeBatch(const std::vector<uint32_t>& uids, bool even_undeleted,
                                        std::string finish_intent, UidSet& expunged) {
  const uint64_t nonce = NewNonce();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    PH_CO_RETURN_IF_ERROR(co_await LoadIndex());
    bool has_intent = false;
    if (!finish_intent.empty()) {
      PH_CO_ASSIGN_OR_RETURN(const auto intent, co_await ReadKeys(partition_, {IntentKey(finish_intent)}));
      has_intent = intent[0].has_value();
    }
    Change commit = Begin(nonce);
    {
      absl::MutexLock lock(&mutex_);
      for (const uint32_t uid : uids) {
        const MessageMeta* m = index_->Find(uid);
        if (m == nullptr || (!even_undeleted && (m->flags & v1::FLAG_DELETED) == 0)) continue;
        commit.head.Count(m->flags, m->size_bytes, -1);
        commit.expunged.Add(uid);
        commit.mutations.push_back({MessageKey(uid), std::nullopt});
        for (store::Mutation& removal : CacheRemovals(uid)) commit.cache.push_back(std::move(removal));
      }
    }
    if (has_intent) {
      commit.mutations.push_back({IntentKey(finish_intent), std::nullopt});
      --commit.head.intents;
    }
    if (commit.mutations.empty()) co_return absl::OkStatus();
    const UidSet gone = commit.expunged;
    const auto apply = [&gone](FolderIndex& index) {
      if (!gone.empty()) index.Erase(gone);
    };
    const absl::Status status = co_await Commit(std::move(commit), apply);
    if (absl::IsAborted(status)) continue;
    PH_CO_RETURN_IF_ERROR(status);
    context_.metrics.expunged.Add(static_cast<double>(gone.Count()));
    for (const UidSet::Range& r : gone.ranges()) expunged.Add(r.first, r.last);
    co_return absl::OkStatus();
  }
  co_return absl::AbortedError("the folder changes too fast");
}

}  // namespace posthouse::mailbox
