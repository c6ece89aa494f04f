#include "services/common/store/testing/memory_store.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "services/common/async/deadline.h"
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

absl::Status FullError() { return absl::ResourceExhaustedError("store is full: only removals are accepted"); }
absl::Status UnknownError() { return absl::DeadlineExceededError("no answer"); }

}  // namespace

// ---- the disk

MemoryDisk::MemoryDisk(EngineLimits limits, uint64_t seed) : limits_(limits), seed_(seed), random_(seed) {}
MemoryDisk::~MemoryDisk() { Resume(); }

void MemoryDisk::SetFreeBytes(uint64_t free_bytes, uint64_t min_free_bytes) {
  absl::MutexLock lock(&mutex_);
  free_bytes_ = free_bytes;
  min_free_bytes_ = min_free_bytes;
}

void MemoryDisk::SetCommitHook(CommitHook hook) {
  absl::MutexLock lock(&mutex_);
  commit_hook_ = std::move(hook);
}

void MemoryDisk::SetFates(FateHook hook) {
  absl::MutexLock lock(&mutex_);
  fate_hook_ = std::move(hook);
  landing_percent_ = 0;
}

void MemoryDisk::SetFates(const CommitFates& shares) {
  absl::MutexLock lock(&mutex_);
  landing_percent_ = shares.landing;
  fate_hook_ = [this, shares](const CommitRequest&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const int drawn = static_cast<int>(random_() % 100);
    if (drawn < shares.happened) return CommitFate::kHappened;
    if (drawn < shares.happened + shares.never) return CommitFate::kNever;
    return drawn < shares.happened + shares.never + shares.late ? CommitFate::kLate : CommitFate::kAnswered;
  };
}

size_t MemoryDisk::late_commits() const {
  absl::MutexLock lock(&mutex_);
  return late_.size();
}

void MemoryDisk::LandLate() {
  absl::MutexLock lock(&mutex_);
  LandSome(100);
}

void MemoryDisk::DropLate() {
  absl::MutexLock lock(&mutex_);
  late_.clear();
}

void MemoryDisk::LandSome(int percent) {
  if (late_.empty()) return;
  std::shuffle(late_.begin(), late_.end(), random_);
  std::erase_if(late_, [&](const CommitRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (static_cast<int>(random_() % 100) >= percent) return false;
    for (const BlobName& blob : request.needs_blobs) {
      if (!blobs_.contains({blob.tenant, blob.name})) ++commits_without_blobs_;
    }
    (void)Apply(request);  // a conflict is an outcome too, and no caller waits for it
    return true;
  });
}

void MemoryDisk::Stall() {
  absl::MutexLock lock(&mutex_);
  stalled_ = true;
}

void MemoryDisk::Resume() {
  std::vector<absl::AnyInvocable<void(bool)>> waiting;
  {
    absl::MutexLock lock(&mutex_);
    stalled_ = false;
    waiting.swap(waiting_);
  }
  for (absl::AnyInvocable<void(bool)>& resume : waiting) resume(true);
}

Task<void> MemoryDisk::WaitWhileStalled() {
  co_await AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) {
    {
      absl::MutexLock lock(&mutex_);
      if (stalled_) {
        waiting_.push_back(std::move(done));
        return;
      }
    }
    done(true);
  });
}

void MemoryDisk::SetTimers(Executor* timers) {
  absl::MutexLock lock(&mutex_);
  timers_ = timers;
}

Executor& MemoryDisk::timers() {
  absl::MutexLock lock(&mutex_);
  if (timers_ != nullptr) return *timers_;
  if (own_timers_ == nullptr) own_timers_ = std::make_unique<ThreadPool>(1);
  return *own_timers_;
}

void MemoryDisk::SetReadError(absl::Status error) {
  absl::MutexLock lock(&mutex_);
  read_error_ = std::move(error);
}

void MemoryDisk::SetHealth(absl::Status health) {
  absl::MutexLock lock(&mutex_);
  health_ = std::move(health);
}

void MemoryDisk::PowerLoss() {
  absl::MutexLock lock(&mutex_);
  LandSome(50);
  late_.clear();
  std::erase_if(blobs_, [](const auto& blob) { return !blob.second.needed; });
}

size_t MemoryDisk::commits_without_blobs() const {
  absl::MutexLock lock(&mutex_);
  return commits_without_blobs_;
}

std::string MemoryDisk::BlobCursor(const std::string& name) const {
  uint64_t hash = 14695981039346656037u ^ seed_;  // FNV-1a: the same in every process
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  hash ^= hash >> 32;
  return absl::StrFormat("%016x%s", hash * 0x9e3779b97f4a7c15u, name);
}

absl::Status MemoryDisk::Commit(CommitRequest request) {
  PH_RETURN_IF_ERROR(Validate(request));
  absl::MutexLock lock(&mutex_);
  LandSome(landing_percent_);
  if (full() && !request.use_reserve && AddsRows(request)) return FullError();
  for (const BlobName& blob : request.needs_blobs) {
    if (blobs_.contains({blob.tenant, blob.name})) continue;
    return absl::InvalidArgumentError(absl::StrCat("the commit needs blob ", blob.name, ", which is not finished"));
  }
  if (commit_hook_) {
    bool apply_anyway = false;
    const absl::Status answer = commit_hook_(request, &apply_anyway);
    if (!answer.ok()) {
      if (apply_anyway) (void)Apply(request);
      return answer;
    }
  }
  switch (fate_hook_ ? fate_hook_(request) : CommitFate::kAnswered) {
    case CommitFate::kAnswered:
      return Apply(request);
    case CommitFate::kHappened:
      (void)Apply(request);
      return UnknownError();
    case CommitFate::kNever:
      return UnknownError();
    case CommitFate::kLate:
      late_.push_back(std::move(request));
      return UnknownError();
  }
  return absl::InternalError("unknown fate");
}

absl::Status MemoryDisk::Apply(const CommitRequest& request) {
  const Name name(request.partition.tenant, request.partition.id);
  static const auto* const kNoRows = new Rows;
  const auto found = partitions_.find(name);
  const Rows& before = found == partitions_.end() ? *kNoRows : found->second;
  for (const Precondition& precondition : request.preconditions) {
    if (!Holds(before, precondition)) return absl::AbortedError("a precondition does not hold");
  }
  if (limits_.max_partition_rows != 0) {
    size_t rows = before.size();
    for (const Mutation& m : request.mutations) {
      if (m.value.has_value() != before.contains(m.key)) rows += m.value.has_value() ? size_t{1} : ~size_t{0};
    }
    if (rows > limits_.max_partition_rows && rows > before.size()) {
      return absl::InvalidArgumentError(absl::StrCat("partition of ", rows, " rows"));
    }
  }
  Rows& rows = partitions_[name];
  for (const Mutation& mutation : request.mutations) {
    if (mutation.value.has_value()) {
      rows[mutation.key] = *mutation.value;
    } else {
      rows.erase(mutation.key);
    }
  }
  if (rows.empty()) partitions_.erase(name);
  for (const BlobName& blob : request.needs_blobs) {
    const auto needed = blobs_.find({blob.tenant, blob.name});
    if (needed != blobs_.end()) needed->second.needed = true;
  }
  return absl::OkStatus();
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
    co_await disk_->WaitWhileStalled();
    absl::StatusOr<absl::Cord> blob = Find(tenant, name);
    if (!blob.ok()) co_return blob.status();
    if (offset >= blob->size()) co_return absl::Cord();
    co_return blob->Subcord(offset, length);
  }

  Task<absl::StatusOr<uint64_t>> Size(std::string tenant, std::string name) override {
    co_await disk_->WaitWhileStalled();
    absl::StatusOr<absl::Cord> blob = Find(tenant, name);
    if (!blob.ok()) co_return blob.status();
    co_return blob->size();
  }

  Task<absl::Status> Delete(std::string tenant, std::string name) override {
    PH_CO_RETURN_IF_ERROR(ValidateBlobName(tenant, name));
    co_await disk_->WaitWhileStalled();
    absl::MutexLock lock(&disk_->mutex_);
    disk_->blobs_.erase({tenant, name});
    co_return absl::OkStatus();
  }

  Task<absl::StatusOr<BlobPage>> List(std::string tenant, std::string cursor, size_t limit) override {
    PH_CO_RETURN_IF_ERROR(ValidateListLimit(limit));
    co_await disk_->WaitWhileStalled();
    absl::MutexLock lock(&disk_->mutex_);
    PH_CO_RETURN_IF_ERROR(disk_->read_error_);
    std::map<std::string, BlobInfo> in_order;
    for (auto it = disk_->blobs_.lower_bound({tenant, ""}); it != disk_->blobs_.end() && it->first.first == tenant;
         ++it) {
      in_order[disk_->BlobCursor(it->first.second)] = {it->first.second, it->second.bytes.size()};
    }
    BlobPage page;
    for (auto it = in_order.upper_bound(cursor); it != in_order.end(); ++it) {
      if (page.blobs.size() == limit) {
        page.next = disk_->BlobCursor(page.blobs.back().name);
        break;
      }
      page.blobs.push_back(it->second);
    }
    co_return page;
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
      co_await disk_->WaitWhileStalled();
      absl::MutexLock lock(&disk_->mutex_);
      if (disk_->full()) co_return FullError();
      if (!disk_->blobs_.try_emplace({tenant_, name_}, MemoryDisk::Blob{std::move(bytes_)}).second) {
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
    return blob->second.bytes;
  }

  const std::shared_ptr<MemoryDisk> disk_;
};

// ---- rows

MemoryStore::MemoryStore(std::shared_ptr<MemoryDisk> disk)
    : disk_(std::move(disk)), blobs_(std::make_unique<MemoryBlobs>(disk_)) {}
MemoryStore::~MemoryStore() = default;

Task<absl::StatusOr<ReadResult>> MemoryStore::Read(ReadRequest request) {
  const absl::Time deadline = request.deadline;
  Task<absl::StatusOr<ReadResult>> read = ReadFrom(disk_, std::move(request));
  if (deadline == absl::InfiniteFuture()) co_return co_await std::move(read);
  std::optional<absl::StatusOr<ReadResult>> result = co_await RunUntil(disk_->timers(), deadline, std::move(read));
  co_return result.has_value() ? *std::move(result) : UnknownError();
}

Task<absl::Status> MemoryStore::Commit(CommitRequest request) {
  const absl::Time deadline = request.deadline;
  Task<absl::Status> commit = CommitTo(disk_, std::move(request));
  if (deadline == absl::InfiniteFuture()) co_return co_await std::move(commit);
  const std::optional<absl::Status> result = co_await RunUntil(disk_->timers(), deadline, std::move(commit));
  co_return result.value_or(UnknownError());
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
