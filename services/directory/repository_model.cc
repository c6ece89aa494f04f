#include "services/directory/repository_model.h"

#include <algorithm>

#include "services/common/status/status.h"
#include "services/directory/key_schema.h"

namespace posthouse::directory {

absl::Status FencedError() {
  return absl::FailedPreconditionError(
      "another directory writer has taken over this store; this process can change nothing and must be restarted");
}

Task<absl::StatusOr<store::Loaded<PartitionState>>> Repository::Model::Load(unsigned /*parts*/) {
  store::Loaded<PartitionState> loaded;
  store::ReadRequest request;
  request.partition = partition;
  request.keys.push_back(kHeadKey);
  request.prefix = kLogPrefix;
  request.limit = store::kMaxPageRows;
  for (bool first = true, more = true; more; first = false) {
    absl::StatusOr<store::ReadResult> read = co_await repository->store_.Read(request);
    if (absl::IsDataLoss(read.status())) {
      // The log is damaged. Watchers load everything anew (Repository::Load); the rows stay.
      repository->log_lost_ = true;
      loaded.state.logged.clear();
      request.prefix.clear();
      request.after.clear();
      request.limit = 0;
      read = co_await repository->store_.Read(request);
    }
    PH_CO_RETURN_IF_ERROR(read.status());
    const store::ReadResult& result = *read;
    if (!first && result.values[0] != loaded.head) co_return absl::AbortedError("the partition changed meanwhile");
    loaded.head = result.values[0];
    for (const store::Row& row : result.page) {
      v1::ChangeRecord record;
      if (!Decode(row.value, &record).ok()) {
        repository->log_lost_ = true;
        continue;
      }
      loaded.state.logged.push_back(record.revision());
    }
    more = result.more && !result.page.empty();
    if (more) request.after = result.page.back().key;
  }
  v1::PartitionHead& head = loaded.state.head;
  if (loaded.head.has_value()) PH_CO_RETURN_IF_ERROR(Decode(*loaded.head, &head));
  // A later epoch, or another writer's head where this writer's has been, means: replaced.
  const bool mine = head.epoch() == repository->epoch_ && head.owner() == repository->owner_;
  const bool later = repository->epoch_ != 0 && head.epoch() >= repository->epoch_;
  if (!mine && (claimed || later)) {
    repository->fenced_ = true;
    co_return FencedError();
  }
  co_return loaded;
}

absl::StatusOr<store::SealedDraft> Repository::Model::Seal(const PartitionState& state, PartitionDraft& draft) {
  if (!draft.claims) {
    // An empty commit takes a revision of its own: no head may be written twice.
    if (draft.record.revision() == 0) {
      draft.record.set_revision(std::max<uint64_t>(repository->last_revision_, draft.head.last_revision()) + 1);
      repository->last_revision_ = draft.record.revision();
    }
    // Without an epoch yet, an empty commit only ends a claim in doubt; the owner stays.
    if (repository->epoch_ != 0) {
      draft.head.set_epoch(repository->epoch_);
      draft.head.set_owner(repository->owner_);
    }
    draft.head.set_last_revision(draft.record.revision());
  }
  if (!draft.record.changes().empty()) {
    draft.Set(LogKey(draft.record.revision()), Encode(draft.record));
    if (state.logged.size() >= kLogRows) {
      draft.head.set_log_floor(state.logged.front());
      draft.Remove(LogKey(state.logged.front()));
    }
  }
  store::SealedDraft sealed;
  sealed.head = Encode(draft.head);
  return sealed;
}

void Repository::Model::Apply(PartitionState& state, PartitionDraft& draft) {
  state.head = draft.head;
  if (draft.head.owner() == repository->owner_) claimed = true;
  while (!state.logged.empty() && state.logged.front() <= draft.head.log_floor()) state.logged.pop_front();
  if (!draft.record.changes().empty()) state.logged.push_back(draft.record.revision());
  if (!draft.claims) repository->Landed(draft.record, draft.follow);
}

}  // namespace posthouse::directory
