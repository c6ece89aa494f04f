#include "services/queue/spool/maintenance.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/read_past_damage.h"
#include "services/common/time/calm_clock.h"
#include "services/queue/metrics.h"
#include "services/queue/spool/hold.h"
#include "services/queue/spool/item_record.h"
#include "services/queue/spool/key_schema.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {
namespace {

constexpr size_t kPage = 256;
constexpr size_t kBodyPage = 64;  // rows of up to 16 KiB
// Mutations after which a change is committed. One item may add 630 more (5,000 recipients),
// and a commit takes 1,000.
constexpr size_t kChangeRows = 300;
constexpr size_t kDuePage = 1000;
// Counting by state takes at most a fiftieth of the time.
constexpr int kCountShare = 50;

// Collects mutations and submits them in bounded changes.
class Repairs {
 public:
  explicit Repairs(Spool& spool) : spool_(spool) { change_.lazy = true; }
  void Remove(std::string key) { change_.Remove(std::move(key)); }
  void Set(std::string key, std::string value) { change_.Set(std::move(key), std::move(value)); }
  void Count() { ++count_; }
  Task<absl::Status> FlushIfLarge() {
    if (change_.mutations.size() < kChangeRows) co_return absl::OkStatus();
    co_return co_await Flush();
  }
  Task<absl::Status> Flush() {
    if (change_.mutations.empty()) co_return absl::OkStatus();
    Change change = std::exchange(change_, Change());
    change_.lazy = true;
    co_return co_await spool_.Commit(std::move(change));
  }
  uint64_t count() const { return count_; }

 private:
  Spool& spool_;
  Change change_;
  uint64_t count_ = 0;
};

void LogDamage(const store::LostKeys& keys) {
  LOG_EVENT(kError, "queue_rows_damaged").Str("after", keys.after).Str("until", keys.until.value_or("")).Err(keys.why);
}

Task<absl::StatusOr<store::ReadResult>> ReadPage(Spool& spool, std::string prefix, std::string after, size_t limit) {
  store::ReadRequest request{.partition = QueuePartition(spool.options().shard),
                             .prefix = std::move(prefix),
                             .after = std::move(after),
                             .limit = limit};
  co_return co_await store::ReadPastDamage(spool.store(), std::move(request), LogDamage);
}

// For each key, whether the row exists. One that cannot be read does: nothing is removed because of damage.
Task<absl::StatusOr<std::vector<bool>>> Exist(Spool& spool, std::vector<std::string> keys) {
  std::vector<bool> exist;
  for (size_t at = 0; at < keys.size(); at += store::kMaxReadKeys) {
    store::ReadRequest request{.partition = QueuePartition(spool.options().shard)};
    request.keys.assign(keys.begin() + static_cast<ptrdiff_t>(at),
                        keys.begin() + static_cast<ptrdiff_t>(std::min(keys.size(), at + store::kMaxReadKeys)));
    const absl::StatusOr<store::ReadResult> together = co_await spool.store().Read(request);
    if (together.ok()) {
      for (const auto& value : together->values) exist.push_back(value.has_value());
      continue;
    }
    if (!absl::IsDataLoss(together.status())) co_return together.status();
    for (const std::string& key : request.keys) {
      store::ReadRequest one{.partition = request.partition, .keys = {key}};
      const absl::StatusOr<store::ReadResult> read = co_await spool.store().Read(std::move(one));
      if (!read.ok() && !absl::IsDataLoss(read.status())) co_return read.status();
      exist.push_back(!read.ok() || read->values[0].has_value());
    }
  }
  co_return exist;
}

// Rows i/: a row D/ wins over them, and each has its row t/.
Task<absl::Status> AuditItems(Spool& spool, absl::Duration delay_warning_after, Repairs& repairs) {
  std::string after;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(const ItemPage page, co_await spool.ReadItems(/*done=*/false, after, kPage));
    const std::vector<ItemRecord>& records = page.items;
    std::vector<std::string> keys;
    for (const ItemRecord& record : records) {
      keys.push_back(DoneKey(record.queue_id()));
      keys.push_back(DueKey(record.due(), record.queue_id()));
    }
    PH_CO_ASSIGN_OR_RETURN(const std::vector<bool> exist, co_await Exist(spool, std::move(keys)));
    for (size_t i = 0; i < records.size(); ++i) {
      const ItemRecord& record = records[i];
      const QueueId id = record.queue_id();
      if (!exist[2 * i] && exist[2 * i + 1]) continue;
      // The item may have changed between the two reads: look again before it is repaired.
      const absl::StatusOr<std::optional<ItemRecord>> loaded = co_await spool.Load(id);
      if (absl::IsDataLoss(loaded.status())) continue;
      PH_CO_RETURN_IF_ERROR(loaded.status());
      const std::optional<ItemRecord>& again = *loaded;
      if (!again.has_value()) continue;
      std::vector<std::string> both = {DoneKey(id), DueKey(again->due(), id)};
      PH_CO_ASSIGN_OR_RETURN(const std::vector<bool> now, co_await Exist(spool, std::move(both)));
      if (!now[0] && now[1]) continue;
      LOG_EVENT(kError, now[0] ? "item_beside_done_mark" : "due_row_lost").QueueId(id.Text());
      repairs.Count();
      if (now[0]) {
        repairs.Remove(ItemKey(id));
        repairs.Remove(DueKey(again->due(), id));
        repairs.Remove(BodyKey(id));
      } else {
        repairs.Set(DueKey(again->due(), id), DueValueOf(*again, WakeTime(again->item, delay_warning_after)));
      }
    }
    PH_CO_RETURN_IF_ERROR(co_await repairs.FlushIfLarge());
    if (!page.more) co_return absl::OkStatus();
    after = page.last_id;
  }
}

// Removes rows that have no item (and, with `or_done`, no done mark either).
Task<absl::Status> AuditOrphans(Spool& spool, std::string prefix, bool or_done, size_t page_rows, Repairs& repairs) {
  std::string after;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(store::ReadResult page, co_await ReadPage(spool, prefix, after, page_rows));
    std::vector<std::string> rows, keys;
    for (const store::Row& row : page.page) {
      after = row.key;
      std::optional<QueueId> id = QueueIdOfKey(row.key);
      if (prefix == kIdempotencyPrefix) {
        v1::IdempotencyRow value;
        id = DecodeValue(row.value, &value).ok() ? QueueId::FromText(value.queue_id()) : std::nullopt;
      }
      if (!id.has_value()) continue;
      rows.push_back(row.key);
      keys.push_back(ItemKey(*id));
      keys.push_back(DoneKey(*id));
    }
    PH_CO_ASSIGN_OR_RETURN(const std::vector<bool> exist, co_await Exist(spool, std::move(keys)));
    for (size_t i = 0; i < rows.size(); ++i) {
      if (exist[2 * i] || (or_done && exist[2 * i + 1])) continue;
      repairs.Count();
      repairs.Remove(rows[i]);
    }
    PH_CO_RETURN_IF_ERROR(co_await repairs.FlushIfLarge());
    if (!page.more) co_return absl::OkStatus();
  }
}

}  // namespace

Task<absl::StatusOr<uint64_t>> PurgeDone(Spool& spool, absl::Duration retention) {
  const absl::Time now = spool.options().clock();
  Repairs repairs(spool);
  std::string after;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(const ItemPage page, co_await spool.ReadItems(/*done=*/true, after, kPage));
    for (const ItemRecord& record : page.items) {
      const QueueId id = record.queue_id();
      // Ids are in order of acceptance: no later one is old enough.
      if (TimeOfQueueId(id) + retention > now) {
        PH_CO_RETURN_IF_ERROR(co_await repairs.Flush());
        co_return repairs.count();
      }
      if (FromProto(record.item.settled()) + retention > now) continue;
      repairs.Count();
      repairs.Remove(DoneKey(id));
      for (uint32_t n = 0; n < record.recipient_rows; ++n) repairs.Remove(RecipientsKey(id, n));
      if (!record.idempotency_key.empty()) repairs.Remove(IdempotencyRowKey(record.idempotency_key));
      PH_CO_RETURN_IF_ERROR(co_await repairs.FlushIfLarge());
    }
    if (!page.more) break;
    after = page.last_id;
  }
  PH_CO_RETURN_IF_ERROR(co_await repairs.Flush());
  co_return repairs.count();
}

Task<absl::StatusOr<uint64_t>> SweepBlobs(Spool& spool) {
  uint64_t swept = 0;
  std::string cursor;
  do {
    PH_CO_ASSIGN_OR_RETURN(store::BlobPage page, co_await spool.store().blobs().List(kStoreTenant, cursor, kPage));
    cursor = std::move(page.next);
    std::vector<std::string> names, keys;
    for (store::BlobInfo& blob : page.blobs) {
      // First ask whether the blob is being written, then whether an item names it: if its
      // item is committed in between, the read below sees it.
      const std::optional<QueueId> id = QueueId::FromText(blob.name);
      if (!id.has_value() || spool.IsBeingWritten(*id)) continue;
      keys.push_back(ItemKey(*id));
      names.push_back(std::move(blob.name));
    }
    PH_CO_ASSIGN_OR_RETURN(const std::vector<bool> owned, co_await Exist(spool, std::move(keys)));
    for (size_t i = 0; i < names.size(); ++i) {
      if (owned[i]) continue;
      PH_CO_RETURN_IF_ERROR(co_await spool.store().blobs().Delete(kStoreTenant, names[i]));
      ++swept;
    }
  } while (!cursor.empty());
  co_return swept;
}

Task<absl::StatusOr<uint64_t>> Audit(Spool& spool, absl::Duration delay_warning_after) {
  Repairs repairs(spool);
  PH_CO_RETURN_IF_ERROR(co_await AuditItems(spool, delay_warning_after, repairs));
  PH_CO_RETURN_IF_ERROR(co_await AuditOrphans(spool, kBodyPrefix, /*or_done=*/false, kBodyPage, repairs));
  PH_CO_RETURN_IF_ERROR(co_await AuditOrphans(spool, kRecipientsPrefix, /*or_done=*/true, kPage, repairs));
  PH_CO_RETURN_IF_ERROR(co_await AuditOrphans(spool, kIdempotencyPrefix, /*or_done=*/true, kPage, repairs));
  PH_CO_RETURN_IF_ERROR(co_await repairs.Flush());
  co_return repairs.count();
}

Task<absl::StatusOr<QueueCounts>> CountByState(Spool& spool) {
  const absl::Time now = spool.options().clock();
  QueueCounts counts;
  std::string after;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(const DuePage page, co_await spool.ReadDue(after, kDuePage));
    for (const DueEntry& entry : page.entries) {
      const auto state = entry.due >= kHeldUntil ? QueueCounts::kHeld
                         : entry.due > now       ? QueueCounts::kDeferred
                                                 : QueueCounts::kActive;
      ++counts.messages[state];
      counts.bytes[state] += entry.size_bytes;
    }
    if (!page.more) co_return counts;
    after = page.last_key;
  }
}

// ---- the loop

Maintenance::Maintenance(Spool& spool, Metrics& metrics, Executor& executor, MaintenanceOptions options)
    : spool_(spool), metrics_(metrics), executor_(executor), options_(options) {}

void Maintenance::Start() {
  {
    absl::MutexLock lock(&mutex_);
    running_ = true;
  }
  Spawn(executor_, Run());
}

void Maintenance::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  wakeup_.Signal();
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !running_; };
  mutex_.Await(absl::Condition(&ended));
}

absl::Duration Maintenance::oldest() const {
  absl::MutexLock lock(&mutex_);
  if (oldest_id_.empty()) return absl::ZeroDuration();
  return std::max(spool_.options().clock() - TimeOfQueueId(oldest_id_), absl::ZeroDuration());
}

Task<void> Maintenance::FindOldest() {
  store::ReadRequest request{.partition = QueuePartition(spool_.options().shard), .prefix = kItemPrefix, .limit = 1};
  const absl::StatusOr<store::ReadResult> read =
      co_await store::ReadPastDamage(spool_.store(), std::move(request), [](const store::LostKeys&) {});
  if (!read.ok()) co_return;
  absl::MutexLock lock(&mutex_);
  oldest_id_ = read->page.empty() ? QueueId() : QueueIdOfKey(read->page[0].key).value_or(QueueId());
}

Task<absl::Time> Maintenance::Count() {
  const absl::Time start = MonotonicNow();
  const absl::StatusOr<QueueCounts> counts = co_await CountByState(spool_);
  log::LogIfError(counts.status(), "counting messages by state");
  if (counts.ok()) metrics_.SetStates(counts->messages, counts->bytes);
  const absl::Time now = MonotonicNow();
  co_return now + std::max(options_.oldest_interval, (now - start) * kCountShare);
}

Task<void> Maintenance::Run() {
  absl::Time next_audit = MonotonicNow() + options_.first_audit;
  absl::Time next_purge = MonotonicNow();
  absl::Time next_count = MonotonicNow();
  while (true) {
    co_await FindOldest();
    if (MonotonicNow() >= next_count) next_count = co_await Count();
    if (MonotonicNow() >= next_purge) {
      next_purge = MonotonicNow() + options_.purge_interval;
      const absl::StatusOr<uint64_t> purged = co_await PurgeDone(spool_, options_.done_retention);
      log::LogIfError(purged.status(), "purging done marks");
      if (purged.ok()) metrics_.purged_done.Add(static_cast<double>(*purged));
    }
    if (MonotonicNow() >= next_audit) {
      next_audit = MonotonicNow() + options_.audit_interval;
      const absl::StatusOr<uint64_t> swept = co_await SweepBlobs(spool_);
      log::LogIfError(swept.status(), "sweeping blobs");
      if (swept.ok()) metrics_.swept_blobs.Add(static_cast<double>(*swept));
      const absl::StatusOr<uint64_t> repaired = co_await Audit(spool_, options_.delay_warning_after);
      log::LogIfError(repaired.status(), "auditing rows");
      if (repaired.ok()) metrics_.repaired_rows.Add(static_cast<double>(*repaired));
    }
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) break;
    }
    co_await wakeup_.WaitFor(options_.oldest_interval);
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) break;
    }
  }
  absl::MutexLock lock(&mutex_);
  running_ = false;
}

}  // namespace posthouse::queue
