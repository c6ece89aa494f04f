#include "services/common/store/testing/memory_store.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "services/common/async/deadline.h"
#include "services/common/status/status.h"
#include "services/common/store/testing/memory_blobs.h"

namespace posthouse::store {

MemoryStore::MemoryStore(std::shared_ptr<MemoryDisk> disk)
    : disk_(std::move(disk)), blobs_(std::make_unique<MemoryBlobs>(disk_)) {}
MemoryStore::~MemoryStore() = default;

Task<absl::StatusOr<ReadResult>> MemoryStore::Read(ReadRequest request) {
  const absl::Time deadline = request.deadline;
  Task<absl::StatusOr<ReadResult>> read = ReadFrom(disk_, std::move(request));
  if (deadline == absl::InfiniteFuture()) co_return co_await std::move(read);
  std::optional<absl::StatusOr<ReadResult>> result = co_await RunUntil(disk_->timers(), deadline, std::move(read));
  co_return result.has_value() ? *std::move(result) : MemoryDisk::UnknownError();
}

Task<absl::Status> MemoryStore::Commit(CommitRequest request) {
  const absl::Time deadline = request.deadline;
  Task<absl::Status> commit = CommitTo(disk_, std::move(request));
  if (deadline == absl::InfiniteFuture()) co_return co_await std::move(commit);
  const std::optional<absl::Status> result = co_await RunUntil(disk_->timers(), deadline, std::move(commit));
  co_return result.value_or(MemoryDisk::UnknownError());
}

Task<absl::Status> MemoryStore::CommitTo(std::shared_ptr<MemoryDisk> disk, CommitRequest request) {
  co_await disk->WaitWhileStalled();
  co_return disk->Commit(std::move(request));
}

Task<absl::Status> MemoryStore::Drop(Partition partition) {
  PH_CO_RETURN_IF_ERROR(Validate(partition));
  co_await disk_->WaitWhileStalled();
  absl::MutexLock lock(&disk_->mutex_);
  disk_->LandSome(disk_->landing_percent_);
  disk_->partitions_.erase({partition.tenant, partition.id});
  co_return absl::OkStatus();
}

Task<absl::StatusOr<std::vector<Partition>>> MemoryStore::List(std::string tenant, std::string prefix,
                                                               std::string after, size_t limit) {
  PH_CO_RETURN_IF_ERROR(ValidateListLimit(limit));
  co_await disk_->WaitWhileStalled();
  absl::MutexLock lock(&disk_->mutex_);
  PH_CO_RETURN_IF_ERROR(disk_->read_error_);
  std::vector<Partition> found;
  auto it = after < prefix ? disk_->partitions_.lower_bound({tenant, prefix})
                           : disk_->partitions_.upper_bound({tenant, after});
  for (; it != disk_->partitions_.end() && found.size() < limit; ++it) {
    if (it->first.first != tenant || !absl::StartsWith(it->first.second, prefix)) break;
    found.push_back({it->first.first, it->first.second});
  }
  co_return found;
}

Task<absl::StatusOr<CapacityInfo>> MemoryStore::Capacity() {
  absl::MutexLock lock(&disk_->mutex_);
  CapacityInfo info;
  info.total_bytes = std::max(disk_->free_bytes_, uint64_t{1} << 40);
  info.free_bytes = disk_->free_bytes_;
  info.full = disk_->full();
  info.rewrites_fit = disk_->free_bytes_ >= disk_->min_free_bytes_ / 2;
  co_return info;
}

absl::Status MemoryStore::Health() {
  absl::MutexLock lock(&disk_->mutex_);
  return disk_->health_;
}

EngineLimits MemoryStore::Limits() const { return disk_->limits_; }

Task<absl::StatusOr<ReadResult>> MemoryStore::ReadFrom(std::shared_ptr<MemoryDisk> disk, ReadRequest request) {
  PH_CO_RETURN_IF_ERROR(Validate(request));
  co_await disk->WaitWhileStalled();
  absl::MutexLock lock(&disk->mutex_);
  disk->LandSome(disk->landing_percent_);
  PH_CO_RETURN_IF_ERROR(disk->read_error_);
  static const auto* const kNoRows = new MemoryDisk::Rows;
  const auto partition = disk->partitions_.find({request.partition.tenant, request.partition.id});
  const MemoryDisk::Rows& rows = partition == disk->partitions_.end() ? *kNoRows : partition->second;

  ReadResult result;
  result.values.reserve(request.keys.size());
  for (const std::string& key : request.keys) {
    const auto row = rows.find(key);
    result.values.push_back(row == rows.end() ? std::nullopt : std::optional<std::string>(row->second));
  }
  if (request.limit == 0) co_return result;
  auto row = request.after < request.prefix ? rows.lower_bound(request.prefix) : rows.upper_bound(request.after);
  for (; row != rows.end() && absl::StartsWith(row->first, request.prefix); ++row) {
    if (result.page.size() == request.limit) {
      result.more = true;
      break;
    }
    result.page.push_back({row->first, row->second});
  }
  co_return result;
}

}  // namespace posthouse::store
