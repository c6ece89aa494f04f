#include "services/common/store/rocks/rocks_store.h"

#include <rocksdb/db.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/deadline.h"
#include "services/common/async/thread_pool.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/committer.h"
#include "services/common/store/rocks/damage.h"
#include "services/common/store/rocks/encoded_read.h"
#include "services/common/store/rocks/engine_metrics.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/open_checked.h"
#include "services/common/store/rocks/point_read.h"
#include "services/common/store/rocks/reopenable_db.h"
#include "services/common/store/rocks/rocks_blobs.h"
#include "services/common/store/rocks/rocks_status.h"
#include "services/common/store/rocks/space_return.h"
#include "services/common/store/rocks/store_image.h"
#include "services/common/store/rocks/store_metrics.h"
#include "services/common/store/rocks/sync_point.h"
#include "services/common/store/rocks/tiered_reader.h"
#include "services/common/store/rocks/write_health.h"

namespace posthouse::store {
namespace {

absl::Status LateError() { return absl::DeadlineExceededError("the store did not answer before the deadline"); }

absl::Status FullError() { return absl::ResourceExhaustedError("store is full: only removals are accepted"); }

bool AddsRows(const CommitRequest& request) {
  return std::any_of(request.mutations.begin(), request.mutations.end(),
                     [](const Mutation& mutation) { return mutation.value.has_value(); });
}

std::unique_ptr<CommitOp> Encode(CommitRequest request) {
  auto op = std::make_unique<CommitOp>();
  const std::string prefix = PartitionPrefix(request.partition);
  op->guards.reserve(request.preconditions.size());
  for (Precondition& guard : request.preconditions) {
    op->guards.push_back({absl::StrCat(prefix, guard.key), std::move(guard.value), std::nullopt});
  }
  op->rows.reserve(request.mutations.size());
  for (Mutation& row : request.mutations) {
    op->rows.push_back({absl::StrCat(prefix, row.key), std::move(row.value)});
  }
  return op;
}

CommitterOptions SettingsOf(const RocksOptions& options, SyncPoint& sync_point) {
  CommitterOptions settings;
  settings.sync_point = &sync_point;
  settings.max_batch_bytes = options.max_batch_bytes;
  settings.max_waiting_bytes = options.max_waiting_bytes;
  settings.reopen_interval = options.reopen_interval;
  settings.answer_within = options.answer_within;
  settings.on_step = options.on_step;
  return settings;
}

SpaceReturnOptions ReturnSettingsOf(const RocksOptions& options) {
  SpaceReturnOptions settings;
  settings.at_bytes = options.return_space_at_bytes;
  settings.pause = options.return_space_pause;
  settings.between = 15 * options.return_space_pause;
  return settings;
}

}  // namespace

// Members in the order of their need: each uses only those above it.
struct RocksStore::Impl {
  Impl(const RocksOptions& options, metrics::Registry& registry, const StoreMetrics& store_metrics,
       std::shared_ptr<WriteHealth> write_health, std::unique_ptr<SpaceWatch> watch, OpenedStore opened);
  ~Impl();

  void Export();
  uint64_t OwedBytes() const;
  Task<absl::StatusOr<std::unique_ptr<CommitOp>>> Prepare(CommitRequest request);
  Task<absl::StatusOr<ReadResult>> Read(ReadRequest request);
  Task<absl::Status> Commit(CommitRequest request);
  Task<absl::Status> RaiseFormat(int to);
  Task<std::vector<absl::Status>> CommitAll(std::vector<CommitRequest> requests);
  // The task's answer, or `late` when the deadline passed first.
  template <typename T>
  Task<T> Before(absl::Time deadline, Task<T> task, T late) {
    std::optional<T> answer = co_await RunUntil(pool, deadline, std::move(task));
    if (answer.has_value()) co_return *std::move(answer);
    metrics.deadlines.Add();
    co_return late;
  }

  const absl::Duration unready_after;
  StoreMetrics metrics;
  const std::shared_ptr<WriteHealth> health;
  const std::unique_ptr<SpaceWatch> space_watch;
  SpaceWatch& space;
  const uint64_t incarnation;
  const int newest_format;
  std::atomic<int> format;
  const std::unique_ptr<SyncPoint> sync_point;
  const std::unique_ptr<ReopenableDb> db;
  Damage damage;
  ThreadPool pool;
  TieredReader reader;
  Committer committer;
  SpaceReturn space_return;
  RocksBlobs blobs;
  posthouse::metrics::CollectHandle collect;  // last: a scrape uses everything above
};

RocksStore::Impl::Impl(const RocksOptions& options, metrics::Registry& registry, const StoreMetrics& store_metrics,
                       std::shared_ptr<WriteHealth> write_health, std::unique_ptr<SpaceWatch> watch, OpenedStore opened)
    : unready_after(options.unready_after),
      metrics(store_metrics),
      health(std::move(write_health)),
      space_watch(std::move(watch)),
      space(*space_watch),
      incarnation(opened.incarnation),
      newest_format(options.formats.newest),
      format(opened.format),
      sync_point(std::move(opened.sync_point)),
      db(std::move(opened.db)),
      damage(*db, metrics.damaged_places),
      pool(options.read_threads),
      reader(*db, pool, damage, metrics),
      committer(*db, space, pool, metrics, health, SettingsOf(options, *sync_point)),
      space_return(*db, space, metrics.space_returns, ReturnSettingsOf(options)),
      blobs(*db, reader, committer, space, space_return) {
  health->SetOnDamage([this](const rocksdb::Status& error) { damage.Note(error); });
  space.SetOwed([this] { return OwedBytes(); });
  collect = registry.OnCollect([this] { Export(); });
}

RocksStore::Impl::~Impl() {
  collect.Unregister();
  space.SetOwed(nullptr);
  health->SetOnDamage(nullptr);
  space_return.Stop();
  damage.Stop();
  committer.Stop();
  pool.Stop();
}

// Bytes that flushes will write.
uint64_t RocksStore::Impl::OwedBytes() const {
  const ReopenableDb::Ref open = db->Get();
  uint64_t bytes = 0;
  if (open != nullptr) {
    open->db->GetAggregatedIntProperty(rocksdb::DB::Properties::kCurSizeAllMemTables, &bytes);
  }
  return bytes;
}

void RocksStore::Impl::Export() {
  if (const absl::StatusOr<CapacityInfo> capacity = space.Capacity(); capacity.ok()) {
    metrics.full.Set(capacity->full ? 1 : 0);
    metrics.free_bytes.Set(static_cast<double>(capacity->free_bytes));
  }
  metrics.healthy.Set(health->Get().ok() ? 1 : 0);
  metrics.oldest_commit_seconds.Set(absl::ToDoubleSeconds(committer.oldest_wait()));
  ExportEngine(*db, metrics);
}

// Does the part of a commit that needs no order among commits: checks, encodes, and
// reads the guarded rows.
Task<absl::StatusOr<std::unique_ptr<CommitOp>>> RocksStore::Impl::Prepare(CommitRequest request) {
  PH_CO_RETURN_IF_ERROR(Validate(request));
  if (!request.use_reserve && AddsRows(request) && space.Full()) {
    metrics.refused_full.Add();
    co_return FullError();
  }
  std::unique_ptr<CommitOp> op = Encode(std::move(request));
  if (op->guards.empty()) co_return op;
  const auto read_guards = [this, &op](const ReopenableDb::Handles& open, const rocksdb::ReadOptions& read_options) {
    op->seen_batch = committer.published();  // before the reads: they see this batch or a later one
    for (GuardedRow& guard : op->guards) {
      rocksdb::PinnableSlice value;
      const rocksdb::Status status = GetKey(*open.db, read_options, open.rows, guard.key, &value);
      guard.seen.reset();
      if (status.ok()) {
        guard.seen.emplace(value.data(), value.size());
      } else if (!status.IsNotFound()) {
        return status;
      }
    }
    return rocksdb::Status::OK();
  };
  PH_CO_RETURN_IF_ERROR(co_await reader.Run(read_guards));
  for (const GuardedRow& guard : op->guards) {
    // The precondition did not hold at an instant of this call: that is the answer.
    if (guard.seen == guard.expected) continue;
    metrics.conflicts.Add();
    co_return absl::AbortedError("a precondition does not hold");
  }
  co_return op;
}

Task<absl::StatusOr<ReadResult>> RocksStore::Impl::Read(ReadRequest request) {
  PH_CO_RETURN_IF_ERROR(Validate(request));
  EncodedRead encoded(request);
  const auto read = [&encoded](const ReopenableDb::Handles& open, const rocksdb::ReadOptions& options) {
    return encoded.Run(*open.db, options);
  };
  if (encoded.small()) {
    PH_CO_RETURN_IF_ERROR(co_await reader.Run(read));
  } else {
    PH_CO_RETURN_IF_ERROR(co_await reader.RunOnPool(read));
  }
  co_return encoded.Take();
}

Task<absl::Status> RocksStore::Impl::Commit(CommitRequest request) {
  absl::StatusOr<std::unique_ptr<CommitOp>> op = co_await Prepare(std::move(request));
  if (!op.ok()) co_return op.status();
  co_return co_await committer.Run(*std::move(op));
}

// An ordinary commit: nothing that was written in the new format can survive without it.
Task<absl::Status> RocksStore::Impl::RaiseFormat(int to) {
  if (to <= format) co_return absl::OkStatus();
  if (to > newest_format) {
    co_return absl::InvalidArgumentError(absl::StrCat("format ", to, ": this binary knows up to ", newest_format));
  }
  auto op = std::make_unique<CommitOp>();
  op->rows.push_back({FormatKey(), absl::StrCat(to)});
  PH_CO_RETURN_IF_ERROR(co_await committer.Run(std::move(op)));
  format = to;
  metrics.format.Set(to);
  co_return absl::OkStatus();
}

Task<std::vector<absl::Status>> RocksStore::Impl::CommitAll(std::vector<CommitRequest> requests) {
  std::vector<std::unique_ptr<CommitOp>> ops(requests.size());
  std::vector<absl::Status> refused(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    absl::StatusOr<std::unique_ptr<CommitOp>> op = co_await Prepare(std::move(requests[i]));
    if (op.ok()) {
      ops[i] = *std::move(op);
    } else {
      refused[i] = op.status();
    }
  }
  std::vector<absl::Status> results = co_await committer.RunAll(std::move(ops));
  for (size_t i = 0; i < results.size(); ++i) {
    if (!refused[i].ok()) results[i] = refused[i];
  }
  co_return results;
}

RocksStore::RocksStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RocksStore::~RocksStore() = default;

absl::StatusOr<std::unique_ptr<RocksStore>> RocksStore::Open(const RocksOptions& options, metrics::Registry& registry) {
  const StoreMetrics store_metrics(registry, options.name);
  auto health = std::make_shared<WriteHealth>(store_metrics.background_errors);
  auto space = std::make_unique<SpaceWatch>(options.path, options.min_free_bytes, options.space_check_interval,
                                            options.measure_space);
  PH_ASSIGN_OR_RETURN(OpenedStore opened, OpenChecked(options, *space, health, store_metrics));
  auto impl =
      std::make_unique<Impl>(options, registry, store_metrics, std::move(health), std::move(space), std::move(opened));
  LOG_EVENT(kInfo, "store_opened").Str("store", options.name).Str("path", options.path).Int("format", impl->format);
  return std::unique_ptr<RocksStore>(new RocksStore(std::move(impl)));
}

Task<absl::StatusOr<ReadResult>> RocksStore::Read(ReadRequest request) {
  const absl::Time deadline = request.deadline;
  Task<absl::StatusOr<ReadResult>> read = impl_->Read(std::move(request));
  if (deadline == absl::InfiniteFuture()) return read;
  return impl_->Before<absl::StatusOr<ReadResult>>(deadline, std::move(read), LateError());
}

Task<absl::Status> RocksStore::Commit(CommitRequest request) {
  const absl::Time deadline = request.deadline;
  Task<absl::Status> commit = impl_->Commit(std::move(request));
  if (deadline == absl::InfiniteFuture()) return commit;
  return impl_->Before(deadline, std::move(commit), LateError());
}

Task<std::vector<absl::Status>> RocksStore::CommitAll(std::vector<CommitRequest> requests) {
  absl::Time deadline = absl::InfiniteFuture();
  for (const CommitRequest& request : requests) deadline = std::min(deadline, request.deadline);
  std::vector<absl::Status> late(deadline == absl::InfiniteFuture() ? 0 : requests.size(), LateError());
  Task<std::vector<absl::Status>> commits = impl_->CommitAll(std::move(requests));
  if (deadline == absl::InfiniteFuture()) return commits;
  return impl_->Before(deadline, std::move(commits), std::move(late));
}

Task<absl::Status> RocksStore::Drop(Partition partition) {
  PH_CO_RETURN_IF_ERROR(Validate(partition));
  auto op = std::make_unique<CommitOp>();
  op->drop_begin = PartitionPrefix(partition);
  op->drop_end = PrefixEnd(op->drop_begin);
  co_return co_await impl_->committer.Run(std::move(op));
}

Task<absl::StatusOr<std::vector<Partition>>> RocksStore::List(std::string tenant, std::string prefix, std::string after,
                                                              size_t limit) {
  PH_CO_RETURN_IF_ERROR(ValidateListLimit(limit));
  EncodedList list(tenant, prefix, after, limit);
  const auto read = [&list](const ReopenableDb::Handles& open, const rocksdb::ReadOptions& options) {
    return list.Run(*open.db, options);
  };
  PH_CO_RETURN_IF_ERROR(co_await impl_->reader.RunOnPool(read));
  co_return list.Take();
}

Task<absl::StatusOr<CapacityInfo>> RocksStore::Capacity() { co_return impl_->space.Capacity(); }

uint64_t RocksStore::Incarnation() const { return impl_->incarnation; }
int RocksStore::Format() const { return impl_->format; }
Task<absl::Status> RocksStore::RaiseFormat(int format) { return impl_->RaiseFormat(format); }

absl::StatusOr<StoreImage> RocksStore::TakeImage(const std::string& directory) {
  const ReopenableDb::Ref open = impl_->db->Get();
  if (open == nullptr) return absl::UnavailableError("recovering from an I/O error");
  if (open->read_only) return absl::UnavailableError("the volume is full: the store is open for reading only");
  PH_ASSIGN_OR_RETURN(StoreImage image, TakeImageOf(*open, directory));
  image.incarnation = impl_->incarnation;
  return image;
}

BlobStore& RocksStore::blobs() { return impl_->blobs; }

absl::Status RocksStore::Health() {
  PH_RETURN_IF_ERROR(impl_->health->Get());
  const absl::Duration waits = impl_->committer.oldest_wait();
  if (waits < impl_->unready_after) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("the disk has not answered for ", absl::FormatDuration(absl::Trunc(waits, absl::Seconds(1)))));
}

absl::Status RocksStore::Flush() {
  const ReopenableDb::Ref open = impl_->db->Get();
  if (open == nullptr) return absl::UnavailableError("recovering from an I/O error");
  PH_RETURN_IF_ERROR(FromRocks(open->db->Flush(rocksdb::FlushOptions(), {open->rows, open->blobs}), "flush"));
  return FromRocks(open->fs->why(), "flush");
}

}  // namespace posthouse::store
