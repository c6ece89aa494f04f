#include "services/directory/repository.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/guarded_partition.h"
#include "services/common/store/read_past_damage.h"
#include "services/directory/key_schema.h"

namespace posthouse::directory {
namespace {

constexpr uint64_t kRevisionJump = uint64_t{1} << 20;

absl::Status FencedError() {
  return absl::FailedPreconditionError(
      "another directory writer has taken over this store; this process can change nothing and must be restarted");
}

struct PartitionState {
  v1::PartitionHead head;
  std::deque<uint64_t> logged;  // revisions of the log rows
};

struct PartitionDraft : store::Draft {
  v1::PartitionHead head;
  v1::ChangeRecord record;  // revision 0: this commit only moves the head
  std::vector<std::function<void(Index&)>> follow;
  bool claims = false;
};

}  // namespace

struct Repository::Model : store::GuardedModel<PartitionState, PartitionDraft> {
  Model(Repository& r, store::Partition p) : repository(&r), partition(std::move(p)) {}

  // The head and the revisions of the log, of one instant.
  Task<absl::StatusOr<store::Loaded<PartitionState>>> Load(unsigned /*parts*/) {
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

  void Begin(const PartitionState& state, PartitionDraft& draft) const { draft.head = state.head; }

  absl::StatusOr<store::SealedDraft> Seal(const PartitionState& state, PartitionDraft& draft) {
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

  void Apply(PartitionState& state, PartitionDraft& draft) {
    state.head = draft.head;
    if (draft.head.owner() == repository->owner_) claimed = true;
    while (!state.logged.empty() && state.logged.front() <= draft.head.log_floor()) state.logged.pop_front();
    if (!draft.record.changes().empty()) state.logged.push_back(draft.record.revision());
    if (!draft.claims) repository->Landed(draft.record, draft.follow);
  }

  Repository* const repository;
  const store::Partition partition;
  bool claimed = false;  // the head has been this writer's
};

struct Repository::Partition {
  std::shared_ptr<store::GuardedPartition<Model>> guarded;
};

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

Task<absl::Status> Repository::Load() {
  const absl::Time start = absl::Now();
  std::vector<v1::ChangeRecord> log;
  const auto keep = [&log](Index&, const v1::ChangeRecord& record) { log.push_back(record); };
  const store::Partition system = SystemPartition();
  PH_CO_RETURN_IF_ERROR(co_await Claim(system, true));
  std::vector<store::Partition> claimed = {system};
  std::vector<TenantId> tenants;
  PH_CO_RETURN_IF_ERROR(
      co_await LoadRows<v1::Tenant>(system, kTenantPrefix, [&tenants](Index& index, const v1::Tenant& t) {
        index.PutTenant(t);
        tenants.emplace_back(t.tenant());
      }));
  PH_CO_RETURN_IF_ERROR(
      co_await LoadRows<v1::Domain>(system, kDomainPrefix, [&tenants](Index& index, const v1::Domain& d) {
        index.PutDomain(d);
        if (index.FindTenant(TenantId(d.tenant())) != nullptr) return;
        // The tenant's row was lost. Its mail and its logins wait until an admin sets it.
        v1::Tenant tenant;
        tenant.set_tenant(d.tenant());
        tenant.set_status(v1::STATUS_FROZEN);
        index.PutTenant(tenant);
        tenants.emplace_back(d.tenant());
      }));
  PH_CO_RETURN_IF_ERROR(co_await LoadRows<v1::ChangeRecord>(system, kLogPrefix, keep));
  for (const TenantId& tenant : tenants) {
    const store::Partition partition = TenantPartition(tenant);
    PH_CO_RETURN_IF_ERROR(co_await Claim(partition, false));
    claimed.push_back(partition);
    PH_CO_RETURN_IF_ERROR(co_await LoadRows<v1::Account>(
        partition, kAccountPrefix, [](Index& index, const v1::Account& a) { index.PutAccount(a); }));
    PH_CO_RETURN_IF_ERROR(co_await LoadRows<v1::Alias>(partition, kAliasPrefix,
                                                       [](Index& index, const v1::Alias& a) { index.PutAlias(a); }));
    PH_CO_RETURN_IF_ERROR(co_await LoadRows<v1::DeletedAccountRecord>(
        partition, kDeletedPrefix,
        [](Index& index, const v1::DeletedAccountRecord& r) { index.PutDeleted(r.deleted()); }));
    PH_CO_RETURN_IF_ERROR(co_await LoadRows<v1::ChangeRecord>(partition, kLogPrefix, keep));
  }
  uint64_t floor = 0;
  for (const store::Partition& partition : claimed) {
    PH_CO_ASSIGN_OR_RETURN(const uint64_t own, co_await Of(partition).guarded->Look(
                                                   [](const PartitionState& state) { return state.head.log_floor(); }));
    floor = std::max(floor, own);
  }
  if (log_lost_) {
    floor = last_revision_;
    log.clear();
  }
  std::sort(log.begin(), log.end(), [](const auto& a, const auto& b) { return a.revision() < b.revision(); });
  // The logs together are complete above the highest floor of a partition.
  std::erase_if(log, [floor](const v1::ChangeRecord& record) { return record.revision() <= floor; });
  feed_.Restore(floor, last_revision_, std::move(log));
  const auto [accounts, domains] =
      Read([](const Index& index) { return std::make_pair(index.accounts(), index.domains()); });
  LOG_EVENT(kInfo, "directory_loaded")
      .Int("tenants", static_cast<int64_t>(tenants.size()))
      .Int("domains", static_cast<int64_t>(domains))
      .Int("accounts", static_cast<int64_t>(accounts))
      .Int("epoch", static_cast<int64_t>(epoch_))
      .Seconds("took", absl::Now() - start);
  co_return absl::OkStatus();
}

// A head that cannot be read is made anew. Its epoch and its revision are times, later than
// any that was counted; watchers load everything anew, since its log begins there.
Task<absl::Status> Repository::MendHead(store::Partition partition) {
  store::ReadRequest request;
  request.partition = partition;
  request.keys.push_back(kHeadKey);
  const absl::StatusOr<store::ReadResult> read = co_await store_.Read(std::move(request));
  absl::Status why = read.status();
  if (read.ok()) {
    v1::PartitionHead head;
    if (read->values[0].has_value()) why = Decode(*read->values[0], &head);
  }
  if (!absl::IsDataLoss(why)) co_return why;
  LOG_EVENT(kError, "directory_head_damaged").Str("partition", partition.id).Err(why);
  v1::PartitionHead head;
  // Of the other partitions, each has an earlier epoch than this writer.
  head.set_epoch(epoch_ != 0 ? epoch_ - 1 : static_cast<uint64_t>(absl::ToUnixMicros(absl::Now())));
  head.set_last_revision(static_cast<uint64_t>(absl::ToUnixMicros(absl::Now())));
  head.set_log_floor(head.last_revision());
  head.set_incarnation(store_.Incarnation());
  store::CommitRequest commit;
  commit.partition = std::move(partition);
  commit.mutations.push_back({kHeadKey, Encode(head)});
  commit.use_reserve = true;
  co_return co_await store_.Commit(std::move(commit));
}

// Writes this writer's epoch and owner into the head. `first`: the partition that gives
// out epochs; the others get the epoch that it gave.
Task<absl::Status> Repository::Claim(store::Partition partition, bool first) {
  uint64_t epoch = 0;
  uint64_t last_revision = 0;
  store::ChangeOptions options;
  options.use_reserve = true;  // logins must work while the disk is full
  PH_CO_RETURN_IF_ERROR(co_await MendHead(partition));
  PH_CO_RETURN_IF_ERROR(co_await Of(partition).guarded->Change(
      [&](const PartitionState& state, const store::FetchedRows&,
          PartitionDraft& draft) -> absl::StatusOr<store::Verdict> {
        epoch = first ? state.head.epoch() + 1 : epoch_;
        last_revision = state.head.last_revision();
        if (state.head.incarnation() < store_.Incarnation()) {
          // Lost commits may have given out revisions: none is used again, and a service that
          // knows one of them loads everything anew, since the log begins here.
          last_revision += kRevisionJump + owner_ % kRevisionJump;
          draft.head.set_last_revision(last_revision);
          draft.head.set_log_floor(last_revision);
          draft.head.set_incarnation(store_.Incarnation());
        }
        draft.head.set_epoch(epoch);
        draft.head.set_owner(owner_);
        draft.claims = true;
        return store::Verdict::kCommit;
      },
      std::move(options)));
  epoch_ = epoch;
  last_revision_ = std::max<uint64_t>(last_revision_, last_revision);
  co_return absl::OkStatus();
}

void Repository::NoteLost(const store::Partition& partition, std::string first, std::string last,
                          const absl::Status& why) {
  LOG_EVENT(kError, "directory_rows_damaged")
      .Str("partition", partition.id)
      .Str("first", first)
      .Str("last", last)
      .Err(why);
  if (first.starts_with(kLogPrefix)) log_lost_ = true;
  absl::MutexLock lock(&mutex_);
  index_.PutLost(partition.id, std::move(first), std::move(last));
}

template <typename Record, typename Put>
Task<absl::Status> Repository::LoadRows(store::Partition partition, std::string prefix, Put put) {
  store::ReadRequest request;
  request.partition = partition;
  request.prefix = prefix;
  request.limit = store::kMaxPageRows;
  bool more = true;
  while (more) {
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult result,
                           co_await store::ReadPastDamage(store_, request, [&](const store::LostKeys& lost) {
                             NoteLost(partition, lost.after, lost.until.value_or(store::PrefixEnd(prefix)), lost.why);
                           }));
    std::vector<std::pair<std::string, absl::Status>> damaged;
    {
      absl::MutexLock lock(&mutex_);
      for (const store::Row& row : result.page) {
        Record record;
        absl::Status status = Decode(row.value, &record);
        if constexpr (requires { index_.CheckStored(record); }) {
          if (status.ok()) status = index_.CheckStored(record);
        }
        // A row of a newer schema is no damage: this binary must not start.
        if (absl::IsFailedPrecondition(status)) {
          co_return Annotate(status, absl::StrCat(partition.id, " row ", row.key));
        }
        if (!status.ok()) {
          damaged.emplace_back(row.key, std::move(status));
          continue;
        }
        put(index_, record);
      }
    }
    for (auto& [key, why] : damaged) NoteLost(partition, key, key, why);
    more = result.more && !result.page.empty();
    if (more) request.after = result.page.back().key;
  }
  co_return absl::OkStatus();
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
