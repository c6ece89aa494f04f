#include "services/directory/repository.h"

#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "services/common/status/status.h"
#include "services/common/store/guarded_partition.h"
#include "services/directory/key_schema.h"
#include "services/directory/repository_model.h"

namespace posthouse::directory {

Repository::Repository(store::Store& store, RepositoryOptions options)
    : store_(store), options_(options), owner_([] {
        std::random_device random;
        return (uint64_t{random()} << 32) | random() | 1;
      }()) {}

Repository::~Repository() {
  for (auto& [id, partition] : partitions_) SyncWait(partition->guarded->Close());
}

Repository::Partition& Repository::Of(const store::Partition& partition) {
  std::unique_ptr<Partition>& slot = partitions_[partition.id];
  if (slot == nullptr) {
    store::GuardedOptions options;
    options.store = &store_;
    options.partition = partition;
    options.head_key = kHeadKey;
    options.kind = store::GuardKind::kOwnedHead;
    options.executor = options_.executor;
    options.patience = options_.patience;
    options.metrics = options_.metrics;
    slot = std::make_unique<Partition>();
    slot->guarded = std::make_shared<store::GuardedPartition<Model>>(std::move(options), Model(*this, partition));
  }
  return *slot;
}

Task<absl::StatusOr<std::unique_ptr<Repository>>> Repository::Open(store::Store& store, RepositoryOptions options) {
  std::unique_ptr<Repository> repository(new Repository(store, options));
  PH_CO_RETURN_IF_ERROR(co_await repository->Load());
  if (repository->Read([](const Index& index) { return index.tenants(); }) == 0) {
    PH_CO_ASSIGN_OR_RETURN(Turn turn, co_await repository->Begin());
    v1::Tenant tenant;
    tenant.set_tenant(kDefaultTenant);
    PH_CO_ASSIGN_OR_RETURN(RecordEdit edit, DecideCreateTenant(turn.index(), turn.stamp(), &tenant));
    PH_CO_RETURN_IF_ERROR(co_await turn.Commit(std::move(edit)));
  }
  co_return repository;
}

Task<absl::StatusOr<Repository::Turn>> Repository::Begin() {
  AsyncMutex::Guard guard = co_await writer_.Lock();
  if (fenced()) co_return FencedError();
  if (!in_doubt_.empty()) {
    // Settles the commit in doubt: applies it when it happened.
    store::ChangeOptions fresh;
    fresh.fresh = true;
    const auto settled = co_await partitions_.at(in_doubt_)->guarded->Look(
        [](const PartitionState& state) { return state.head.last_revision(); }, std::move(fresh));
    if (!settled.ok()) co_return settled.status();
    in_doubt_.clear();
  }
  co_return Turn(*this, std::move(guard), {last_revision_ + 1, absl::Now()});
}

const Index& Repository::Turn::index() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
  // The index changes with a commit only, and only this turn may commit.
  return repository_->index_;
}

Task<absl::Status> Repository::Turn::Commit(RecordEdit edit) {
  co_return co_await repository_->CommitEdit(std::move(edit), stamp_.revision);
}

Task<absl::Status> Repository::CommitEdit(RecordEdit edit, uint64_t revision) {
  last_revision_ = revision;  // never used twice, even if this fails
  const std::string id = edit.partition.id;
  if (Read([](const Index& index) { return index.lost(); }) != 0) {
    edit.Follow([id, rows = edit.mutations](Index& index) {
      for (const store::Mutation& row : rows) index.Settle(id, row.key);
    });
  }
  v1::ChangeRecord record;
  record.set_revision(revision);
  for (const v1::Change& change : edit.changes) *record.add_changes() = change;
  const absl::Status status = co_await Of(edit.partition)
                                  .guarded->Change([&](const PartitionState&, const store::FetchedRows&,
                                                       PartitionDraft& draft) -> absl::StatusOr<store::Verdict> {
                                    for (const store::Mutation& m : edit.mutations) draft.Put(m.key, m.value);
                                    draft.record = record;
                                    draft.follow = edit.follow;
                                    return store::Verdict::kCommit;
                                  });
  if (absl::IsDeadlineExceeded(status)) in_doubt_ = id;
  co_return status;
}

// A commit is stored: the index and the watchers follow.
void Repository::Landed(v1::ChangeRecord record, const std::vector<std::function<void(Index&)>>& follow) {
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& step : follow) step(index_);
  }
  feed_.Publish(std::move(record));
}

}  // namespace posthouse::directory
