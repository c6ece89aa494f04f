// Folder: adding messages, several waiting appends in one commit.
#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/status/status.h"
#include "services/mailbox/folder/folder.h"
#include "services/mailbox/rows/cache_rows.h"

namespace posthouse::mailbox {
namespace {

// Of one group: keeps a commit and its cache rows far below 4 MiB most of the time.
constexpr size_t kGroupCacheBytes = 2 << 20;

v1::MessageRow RowOf(const NewMessage& message, uint64_t modseq, std::string keywords, absl::Time now) {
  v1::MessageRow row;
  row.set_modseq(modseq);
  row.set_flags(message.flags);
  row.set_keywords(std::move(keywords));
  row.set_internal_date(message.internal_date);
  row.set_internal_date_zone(message.zone);
  row.set_save_date(absl::ToUnixSeconds(now));
  row.set_size_bytes(message.size_bytes);
  row.set_blob(message.blob);
  row.set_thread_id(message.thread_id);
  return row;
}

}  // namespace

Task<absl::StatusOr<AppendResult>> Folder::Append(NewMessage message) {
  co_return co_await AwaitCallback<absl::StatusOr<AppendResult>>(
      [&](absl::AnyInvocable<void(absl::StatusOr<AppendResult>)> done) {
        bool start = false;
        {
          absl::MutexLock lock(&mutex_);
          pending_.push_back({std::move(message), std::move(done), std::nullopt});
          start = !std::exchange(draining_, true);
        }
        if (start) SpawnHere(DrainAppends());
      });
}

Task<void> Folder::DrainAppends() {
  const std::shared_ptr<Folder> self = shared_from_this();
  while (true) {
    std::vector<Pending> group;
    {
      const AsyncMutex::Guard guard = co_await writer_.Lock();
      {
        absl::MutexLock lock(&mutex_);
        size_t bytes = 0;
        size_t n = 0;
        while (n < pending_.size() && n < kAppendGroup && bytes < kGroupCacheBytes) {
          const auto& cached = pending_[n++].message.cached;
          if (cached != nullptr) bytes += cached->bytes();
        }
        group.assign(std::make_move_iterator(pending_.begin()),
                     std::make_move_iterator(pending_.begin() + static_cast<ptrdiff_t>(n)));
        pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(n));
        if (group.empty()) {
          draining_ = false;
          co_return;
        }
      }
      const absl::Status status = co_await CommitGroup(group);
      for (Pending& p : group) {
        if (!p.result.has_value()) p.result = status;
      }
    }
    // Out of the lock: a waiter without an executor goes on right here.
    for (Pending& p : group) p.done(*std::move(p.result));
  }
}

Task<absl::Status> Folder::CommitGroup(std::vector<Pending>& group) {
  const uint64_t nonce = NewNonce();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    PH_CO_RETURN_IF_ERROR(co_await LoadHead());
    Change change = Begin(nonce);
    const absl::Time now = context_.clock();
    std::vector<std::pair<uint32_t, v1::MessageRow>> rows;
    std::vector<std::pair<Pending*, AppendResult>> results;
    absl::flat_hash_map<std::string, uint32_t> done_keys;
    for (Pending& p : group) {
      if (p.result.has_value()) continue;
      const NewMessage& message = p.message;
      AppendResult result;
      if (!message.done_key.empty() && done_keys.contains(message.done_key)) {
        result.uid = done_keys[message.done_key];
        result.duplicate = true;
        results.emplace_back(&p, std::move(result));
        continue;
      }
      if (change.head.uid_next == UINT32_MAX) co_return absl::ResourceExhaustedError("the folder has no UIDs left");
      PH_CO_ASSIGN_OR_RETURN(std::string keywords, KeywordBits(message.keywords, /*drop_excess=*/true, change));
      result.uid = change.head.uid_next++;
      v1::MessageRow row = RowOf(message, change.head.highest_modseq, std::move(keywords), now);
      change.head.Count(message.flags, message.size_bytes, +1);
      change.changed.Add(result.uid);
      change.mutations.push_back({MessageKey(result.uid), EncodeRow(row)});
      if (!message.done_key.empty()) {
        v1::DoneRow done;
        done.set_uid(result.uid);
        done.set_at(absl::ToUnixSeconds(now));
        change.guards.push_back({message.done_key, std::nullopt});
        change.mutations.push_back({message.done_key, EncodeRow(done)});
        done_keys[message.done_key] = result.uid;
      }
      if (message.cached != nullptr) {
        for (store::Mutation& m : CacheMutations(result.uid, *message.cached)) change.cache.push_back(std::move(m));
      }
      rows.emplace_back(result.uid, std::move(row));
      results.emplace_back(&p, std::move(result));
    }
    if (results.empty()) co_return absl::OkStatus();
    const auto apply = [&rows](FolderIndex& index) {
      for (const auto& [uid, row] : rows) index.Add(uid, row);
    };
    const absl::Status status = co_await Commit(std::move(change), apply);
    if (status.ok()) {
      context_.metrics.group_messages.Observe(static_cast<double>(rows.size()));
      const FolderSnapshot state = Current();
      for (auto& [p, result] : results) {
        result.state = state;
        p->result = std::move(result);
      }
      co_return status;
    }
    if (!absl::IsAborted(status)) co_return status;
    PH_CO_RETURN_IF_ERROR(co_await FindDone(group));
  }
  co_return absl::AbortedError("the folder changes too fast");
}

Task<absl::StatusOr<std::optional<uint32_t>>> Folder::FindDoneUid(std::string done_key) {
  PH_CO_ASSIGN_OR_RETURN(const auto values, co_await ReadKeys(partition_, {std::move(done_key)}));
  if (!values[0].has_value()) co_return std::optional<uint32_t>();
  PH_CO_ASSIGN_OR_RETURN(const v1::DoneRow done, DecodeRow<v1::DoneRow>(*values[0]));
  co_return std::optional<uint32_t>(done.uid());
}

// Answers those of the group that were done before: why a commit may have conflicted.
Task<absl::Status> Folder::FindDone(std::vector<Pending>& group) {
  std::vector<std::string> keys;
  std::vector<Pending*> waiting;
  for (Pending& p : group) {
    if (p.result.has_value() || p.message.done_key.empty()) continue;
    keys.push_back(p.message.done_key);
    waiting.push_back(&p);
  }
  if (keys.empty()) co_return absl::OkStatus();
  PH_CO_ASSIGN_OR_RETURN(const auto values, co_await ReadKeys(partition_, std::move(keys)));
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (!values[i].has_value()) continue;
    PH_CO_ASSIGN_OR_RETURN(const v1::DoneRow done, DecodeRow<v1::DoneRow>(*values[i]));
    AppendResult result;
    result.uid = done.uid();
    result.duplicate = true;
    result.state = Current();
    waiting[i]->result = std::move(result);
  }
  co_return absl::OkStatus();
}

}  // namespace posthouse::mailbox
