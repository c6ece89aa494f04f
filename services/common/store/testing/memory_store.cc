#include "services/common/store/testing/memory_store.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"

namespace posthouse::store {
namespace {

bool AddsRows(const CommitRequest& request) {
  return std::any_of(request.mutations.begin(), request.mutations.end(),
                     [](const Mutation& mutation) { return mutation.value.has_value(); });
}

bool Holds(const std::map<std::string, std::string>& rows, const Precondition& precondition) {
  const auto row = rows.find(precondition.key);
  if (row == rows.end()) return !precondition.value.has_value();
  return precondition.value.has_value() && *precondition.value == row->second;
}

absl::Status FullError() { return absl::ResourceExhaustedError("store is full: only deletes are accepted"); }

}  // namespace

void MemoryDisk::SetFreeBytes(uint64_t free_bytes, uint64_t min_free_bytes) {
  absl::MutexLock lock(&mutex_);
  free_bytes_ = free_bytes;
  min_free_bytes_ = min_free_bytes;
}

void MemoryDisk::SetCommitHook(CommitHook hook) {
  absl::MutexLock lock(&mutex_);
  commit_hook_ = std::move(hook);
}

void MemoryDisk::SetReadError(absl::Status error) {
  absl::MutexLock lock(&mutex_);
  read_error_ = std::move(error);
}

// ---- blobs

class MemoryBlobs final : public BlobStore {
 public:
  explicit MemoryBlobs(std::shared_ptr<MemoryDisk> disk) : disk_(std::move(disk)) {}

  std::unique_ptr<BlobWriter> Create(const std::string& tenant, const std::string& name) override {
    return std::make_unique<Writer>(disk_, tenant, name);
  }

  Task<absl::StatusOr<absl::Cord>> Get(std::string tenant, std::string name, uint64_t offset,
                                       uint64_t length) override {
    if (length > kMaxBlobPieceBytes * 16) co_return absl::InvalidArgumentError("blob range too long");
    absl::StatusOr<absl::Cord> blob = Find(tenant, name);
    if (!blob.ok()) co_return blob.status();
    if (offset >= blob->size()) co_return absl::Cord();
    co_return blob->Subcord(offset, length);
  }

  Task<absl::StatusOr<uint64_t>> Size(std::string tenant, std::string name) override {
    absl::StatusOr<absl::Cord> blob = Find(tenant, name);
    if (!blob.ok()) co_return blob.status();
    co_return blob->size();
  }

  Task<absl::Status> Delete(std::string tenant, std::string name) override {
    PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant, name));
    absl::MutexLock lock(&disk_->mutex_);
    disk_->blobs_.erase({tenant, name});
    co_return absl::OkStatus();
  }

  Task<absl::StatusOr<std::vector<BlobInfo>>> List(std::string tenant, std::string after, size_t limit) override {
    if (limit > kMaxPageRows) co_return absl::InvalidArgumentError("list of too many blobs");
    absl::MutexLock lock(&disk_->mutex_);
    PH_CO_RETURN_IF_ERROR(disk_->read_error_);
    std::vector<BlobInfo> found;
    for (auto it = disk_->blobs_.upper_bound({tenant, after});
         it != disk_->blobs_.end() && it->first.first == tenant && found.size() < limit; ++it) {
      found.push_back({it->first.second, it->second.size()});
    }
    co_return found;
  }

 private:
  class Writer final : public BlobWriter {
   public:
    Writer(std::shared_ptr<MemoryDisk> disk, std::string tenant, std::string name)
        : disk_(std::move(disk)), tenant_(std::move(tenant)), name_(std::move(name)) {}

    Task<absl::Status> Append(absl::Cord bytes) override {
      PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant_, name_));
      if (finished_) co_return absl::FailedPreconditionError("blob is finished");
      absl::MutexLock lock(&disk_->mutex_);
      if (disk_->full()) co_return FullError();
      bytes_.Append(std::move(bytes));
      co_return absl::OkStatus();
    }

    Task<absl::Status> Finish() override {
      PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant_, name_));
      if (finished_) co_return absl::FailedPreconditionError("blob is finished");
      finished_ = true;
      absl::MutexLock lock(&disk_->mutex_);
      if (disk_->full()) co_return FullError();
      if (!disk_->blobs_.try_emplace({tenant_, name_}, std::move(bytes_)).second) {
        co_return absl::AlreadyExistsError(absl::StrCat("blob ", name_, " exists"));
      }
      co_return absl::OkStatus();
    }

   private:
    const std::shared_ptr<MemoryDisk> disk_;
    const std::string tenant_;
    const std::string name_;
    absl::Cord bytes_;
    bool finished_ = false;
  };

  absl::StatusOr<absl::Cord> Find(const std::string& tenant, const std::string& name) {
    PH_RETURN_IF_ERROR(ValidateBlobName(tenant, name));
    absl::MutexLock lock(&disk_->mutex_);
    PH_RETURN_IF_ERROR(disk_->read_error_);
    const auto blob = disk_->blobs_.find({tenant, name});
    if (blob == disk_->blobs_.end()) return absl::NotFoundError(absl::StrCat("no blob ", name));
    return blob->second;
  }

  const std::shared_ptr<MemoryDisk> disk_;
};

// ---- rows

MemoryStore::MemoryStore(std::shared_ptr<MemoryDisk> disk)
    : disk_(std::move(disk)), blobs_(std::make_unique<MemoryBlobs>(disk_)) {}
MemoryStore::~MemoryStore() = default;

Task<absl::StatusOr<ReadResult>> MemoryStore::Read(ReadRequest request) { co_return ReadNow(request); }

Task<absl::Status> MemoryStore::Commit(CommitRequest request) { co_return CommitNow(std::move(request)); }

Task<absl::Status> MemoryStore::Drop(Partition partition) {
  PH_CO_RETURN_IF_ERROR(Validate(partition));
  absl::MutexLock lock(&disk_->mutex_);
  disk_->partitions_.erase({partition.tenant, partition.id});
  co_return absl::OkStatus();
}

Task<absl::StatusOr<std::vector<Partition>>> MemoryStore::List(std::string tenant, std::string prefix,
                                                               std::string after, size_t limit) {
  co_return ListNow(tenant, prefix, after, limit);
}

Task<absl::StatusOr<CapacityInfo>> MemoryStore::Capacity() {
  absl::MutexLock lock(&disk_->mutex_);
  CapacityInfo info;
  info.total_bytes = std::max(disk_->free_bytes_, uint64_t{1} << 40);
  info.free_bytes = disk_->free_bytes_;
  info.full = disk_->full();
  co_return info;
}

absl::StatusOr<ReadResult> MemoryStore::ReadNow(const ReadRequest& request) {
  PH_RETURN_IF_ERROR(Validate(request));
  absl::MutexLock lock(&disk_->mutex_);
  PH_RETURN_IF_ERROR(disk_->read_error_);
  static const auto* const kNoRows = new MemoryDisk::Rows;
  const auto partition = disk_->partitions_.find({request.partition.tenant, request.partition.id});
  const MemoryDisk::Rows& rows = partition == disk_->partitions_.end() ? *kNoRows : partition->second;

  ReadResult result;
  result.values.reserve(request.keys.size());
  for (const std::string& key : request.keys) {
    const auto row = rows.find(key);
    result.values.push_back(row == rows.end() ? std::nullopt : std::optional<std::string>(row->second));
  }
  if (request.limit == 0) return result;
  auto row = request.after < request.prefix ? rows.lower_bound(request.prefix) : rows.upper_bound(request.after);
  for (; row != rows.end() && absl::StartsWith(row->first, request.prefix); ++row) {
    if (result.page.size() == request.limit) {
      result.more = true;
      break;
    }
    result.page.push_back({row->first, row->second});
  }
  return result;
}

absl::Status MemoryStore::CommitNow(CommitRequest request) {
  PH_RETURN_IF_ERROR(Validate(request));
  absl::MutexLock lock(&disk_->mutex_);
  if (disk_->full() && !request.use_reserve && AddsRows(request)) return FullError();
  absl::Status answer = absl::OkStatus();
  if (disk_->commit_hook_) {
    bool apply_anyway = false;
    answer = disk_->commit_hook_(request, &apply_anyway);
    if (!answer.ok() && !apply_anyway) return answer;
  }
  const std::pair<std::string, std::string> name(request.partition.tenant, request.partition.id);
  MemoryDisk::Rows& rows = disk_->partitions_[name];
  for (const Precondition& precondition : request.preconditions) {
    if (Holds(rows, precondition)) continue;
    if (rows.empty()) disk_->partitions_.erase(name);
    return answer.ok() ? absl::AbortedError("a precondition does not hold") : answer;
  }
  for (Mutation& mutation : request.mutations) {
    if (mutation.value.has_value()) {
      rows[std::move(mutation.key)] = *std::move(mutation.value);
    } else {
      rows.erase(mutation.key);
    }
  }
  if (rows.empty()) disk_->partitions_.erase(name);
  return answer;
}

absl::StatusOr<std::vector<Partition>> MemoryStore::ListNow(const std::string& tenant, const std::string& prefix,
                                                            const std::string& after, size_t limit) {
  if (limit > kMaxPageRows) return absl::InvalidArgumentError("list of too many partitions");
  absl::MutexLock lock(&disk_->mutex_);
  PH_RETURN_IF_ERROR(disk_->read_error_);
  std::vector<Partition> found;
  auto it = after < prefix ? disk_->partitions_.lower_bound({tenant, prefix})
                           : disk_->partitions_.upper_bound({tenant, after});
  for (; it != disk_->partitions_.end() && found.size() < limit; ++it) {
    if (it->first.first != tenant || !absl::StartsWith(it->first.second, prefix)) break;
    found.push_back({it->first.first, it->first.second});
  }
  return found;
}

}  // namespace posthouse::store
