// Repository: taking over a store, and loading it.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/read_past_damage.h"
#include "services/directory/key_schema.h"
#include "services/directory/repository.h"
#include "services/directory/repository_model.h"

namespace posthouse::directory {
namespace {

constexpr uint64_t kRevisionJump = uint64_t{1} << 20;

}  // namespace

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

}  // namespace posthouse::directory
