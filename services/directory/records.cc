#include "services/directory/records.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/directory/key_schema.h"

namespace posthouse::directory {
namespace {

constexpr int kTakeoverTries = 10;

absl::Status FencedError() {
  return absl::FailedPreconditionError(
      "another directory writer has taken over this store; this process changes nothing any more");
}

store::ReadRequest PointRead(const store::Partition& partition, std::string key) {
  store::ReadRequest request;
  request.partition = partition;
  request.keys.push_back(std::move(key));
  return request;
}

store::Mutation Set(std::string key, std::string value) { return {std::move(key), std::move(value)}; }

}  // namespace

const Index& Transaction::index() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
  // Only the holder of the writer's lock changes the index, and that is us.
  return records_->index_;
}

void Transaction::Put(std::string key, const google::protobuf::MessageLite& record) {
  mutations_.push_back(Set(std::move(key), Encode(record)));
}

void Transaction::Erase(std::string key) { mutations_.push_back({std::move(key), std::nullopt}); }

void Transaction::Note(v1::Change::Kind kind, std::string name, std::string account_id) {
  v1::Change change;
  change.set_kind(kind);
  change.set_name(std::move(name));
  change.set_account_id(std::move(account_id));
  changes_.push_back(std::move(change));
}

Task<absl::Status> Transaction::Commit(store::Partition partition) {
  Records::Pending pending;
  pending.partition = std::move(partition);
  pending.record.set_revision(revision_);
  for (v1::Change& change : changes_) *pending.record.add_changes() = std::move(change);
  pending.apply = std::move(apply_);
  co_return co_await records_->CommitNow(std::move(pending), std::move(mutations_));
}

Task<absl::StatusOr<std::unique_ptr<Records>>> Records::Open(store::Store& store) {
  std::unique_ptr<Records> records(new Records(store));
  PH_CO_RETURN_IF_ERROR(co_await records->Load());
  if (records->Read([](const Index& index) { return index.tenants(); }) == 0) {
    PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records->Begin());
    v1::Tenant tenant;
    tenant.set_tenant("default");
    tenant.set_status(v1::STATUS_ACTIVE);
    tenant.set_revision(transaction.revision());
    tenant.mutable_created()->set_seconds(absl::ToUnixSeconds(absl::Now()));
    transaction.Put(TenantKey(tenant.tenant()), tenant);
    transaction.Note(v1::Change::KIND_TENANT, tenant.tenant());
    transaction.Apply([tenant](Index& index) { index.PutTenant(tenant); });
    PH_CO_RETURN_IF_ERROR(co_await transaction.Commit(SystemPartition()));
  }
  co_return records;
}

Task<absl::Status> Records::Load() {
  const absl::Time start = absl::Now();
  std::vector<v1::ChangeRecord> log;
  uint64_t floor = 0;
  const store::Partition system = SystemPartition();
  PH_CO_RETURN_IF_ERROR(co_await TakePartition(system, true));
  std::vector<std::string> tenants;
  PH_CO_RETURN_IF_ERROR(
      co_await LoadRows<v1::Tenant>(system, kTenantPrefix, [&tenants](Index& index, const v1::Tenant& t) {
        index.PutTenant(t);
        tenants.push_back(t.tenant());
      }));
  PH_CO_RETURN_IF_ERROR(co_await LoadRows<v1::Domain>(system, kDomainPrefix,
                                                      [](Index& index, const v1::Domain& d) { index.PutDomain(d); }));
  PH_CO_RETURN_IF_ERROR(co_await LoadLog(system, &log, &floor));
  for (const std::string& tenant : tenants) {
    const store::Partition partition = TenantPartition(tenant);
    PH_CO_RETURN_IF_ERROR(co_await TakePartition(partition, false));
    PH_CO_RETURN_IF_ERROR(co_await LoadRows<v1::Account>(
        partition, kAccountPrefix, [](Index& index, const v1::Account& a) { index.PutAccount(a); }));
    PH_CO_RETURN_IF_ERROR(co_await LoadRows<v1::Alias>(partition, kAliasPrefix,
                                                       [](Index& index, const v1::Alias& a) { index.PutAlias(a); }));
    PH_CO_RETURN_IF_ERROR(co_await LoadLog(partition, &log, &floor));
  }
  std::sort(log.begin(), log.end(), [](const auto& a, const auto& b) { return a.revision() < b.revision(); });
  // A log is complete above the highest floor of all partitions, not below it.
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

// Reads the head and writes our epoch into it; `first`: the partition that gives
// out epochs. The old writer may commit in between: then the head differs, and we
// read again.
Task<absl::Status> Records::TakePartition(store::Partition partition, bool first) {
  for (int tries = 0; tries < kTakeoverTries; ++tries) {
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult result, co_await store_.Read(PointRead(partition, kHeadKey)));
    v1::PartitionHead head;
    if (result.values[0]) PH_CO_RETURN_IF_ERROR(Decode(*result.values[0], &head));
    if (first) epoch_ = head.epoch() + 1;
    last_revision_ = std::max(last_revision_, head.last_revision());
    head.set_epoch(epoch_);
    store::CommitRequest request;
    request.partition = partition;
    request.preconditions.push_back({kHeadKey, result.values[0]});
    request.mutations.push_back(Set(kHeadKey, Encode(head)));
    request.use_reserve = true;  // logins go on while the disk is full
    const absl::Status status = co_await store_.Commit(std::move(request));
    if (status.ok()) {
      heads_[partition.id] = Encode(head);
      co_return status;
    }
    // Unknown whether it happened, or the old writer was faster: look again.
    if (!absl::IsAborted(status) && !absl::IsDeadlineExceeded(status)) co_return status;
  }
  co_return absl::UnavailableError(absl::StrCat("cannot take over partition ", partition.id, ": it keeps changing"));
}

template <typename Record, typename Put>
Task<absl::Status> Records::LoadRows(store::Partition partition, std::string prefix, Put put) {
  store::ReadRequest request;
  request.partition = partition;
  request.prefix = prefix;
  request.limit = store::kMaxPageRows;
  bool more = true;
  while (more) {
    PH_CO_ASSIGN_OR_RETURN(const store::ReadResult result, co_await store_.Read(request));
    absl::MutexLock lock(&mutex_);
    for (const store::Row& row : result.page) {
      Record record;
      const absl::Status status = Decode(row.value, &record);
      if (!status.ok()) co_return Annotate(status, absl::StrCat(partition.id, " row ", row.key));
      put(index_, record);
    }
    more = result.more && !result.page.empty();
    if (more) request.after = result.page.back().key;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> Records::LoadLog(store::Partition partition, std::vector<v1::ChangeRecord>* log, uint64_t* floor) {
  v1::PartitionHead head;
  PH_CO_RETURN_IF_ERROR(Decode(heads_[partition.id], &head));
  *floor = std::max(*floor, head.log_floor());
  std::deque<uint64_t>* revisions = &logged_[partition.id];
  co_return co_await LoadRows<v1::ChangeRecord>(partition, kLogPrefix,
                                                [log, revisions](Index&, const v1::ChangeRecord& record) {
                                                  revisions->push_back(record.revision());
                                                  log->push_back(record);
                                                });
}

Task<absl::StatusOr<Transaction>> Records::Begin() {
  AsyncMutex::Guard guard = co_await writer_.Lock();
  if (fenced()) co_return FencedError();
  PH_CO_RETURN_IF_ERROR(co_await Settle());
  co_return Transaction(*this, std::move(guard), last_revision_ + 1);
}

bool Records::fenced() const {
  absl::ReaderMutexLock lock(&mutex_);
  return fenced_;
}

// Finds out whether the commit in doubt happened.
Task<absl::Status> Records::Settle() {
  if (!pending_) co_return absl::OkStatus();
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult result,
                         co_await store_.Read(PointRead(pending_->partition, kHeadKey)));
  const auto known = heads_.find(pending_->partition.id);
  const std::optional<std::string> before =
      known == heads_.end() ? std::nullopt : std::optional<std::string>(known->second);
  Pending pending = *std::move(pending_);
  pending_.reset();
  if (result.values[0] == std::optional<std::string>(Encode(pending.new_head))) {
    Accept(std::move(pending));
  } else if (result.values[0] != before) {
    absl::MutexLock lock(&mutex_);
    fenced_ = true;
    co_return FencedError();
  }
  co_return absl::OkStatus();
}

void Records::Accept(Pending pending) {
  heads_[pending.partition.id] = Encode(pending.new_head);
  std::deque<uint64_t>& logged = logged_[pending.partition.id];
  while (!logged.empty() && logged.front() <= pending.new_head.log_floor()) logged.pop_front();
  if (!pending.record.changes().empty()) logged.push_back(pending.record.revision());
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& apply : pending.apply) apply(index_);
  }
  feed_.Publish(std::move(pending.record));
}

void Records::AppendLog(const Pending& pending, std::vector<store::Mutation>* mutations) {
  if (pending.record.changes().empty()) return;
  mutations->push_back(Set(LogKey(pending.record.revision()), Encode(pending.record)));
}

Task<absl::Status> Records::CommitNow(Pending pending, std::vector<store::Mutation> mutations) {
  last_revision_ = pending.record.revision();  // never used twice, even if this fails
  const auto known = heads_.find(pending.partition.id);
  std::optional<std::string> before;
  if (known != heads_.end()) {
    before = known->second;
    PH_CO_RETURN_IF_ERROR(Decode(*before, &pending.new_head));
  }
  pending.new_head.set_epoch(epoch_);
  pending.new_head.set_last_revision(pending.record.revision());
  AppendLog(pending, &mutations);
  const std::deque<uint64_t>& logged = logged_[pending.partition.id];
  if (!pending.record.changes().empty() && logged.size() >= kLogRows) {
    pending.new_head.set_log_floor(logged.front());
    mutations.push_back({LogKey(logged.front()), std::nullopt});
  }
  store::CommitRequest request;
  request.partition = pending.partition;
  request.preconditions.push_back({kHeadKey, before});
  request.mutations = std::move(mutations);
  request.mutations.push_back(Set(kHeadKey, Encode(pending.new_head)));
  const absl::Status status = co_await store_.Commit(std::move(request));
  if (status.ok()) {
    Accept(std::move(pending));
    co_return status;
  }
  // Not known, or a head that is not ours: the head tells which.
  if (absl::IsDeadlineExceeded(status) || absl::IsAborted(status)) {
    const uint64_t revision = pending.record.revision();
    pending_ = std::move(pending);
    PH_CO_RETURN_IF_ERROR(co_await Settle());
    if (feed_.revision() == revision) co_return absl::OkStatus();
  }
  co_return status;
}

}  // namespace posthouse::directory
