#include "services/common/store/testing/memory_disk.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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

}  // namespace

MemoryDisk::MemoryDisk(EngineLimits limits, uint64_t seed) : limits_(limits), seed_(seed), random_(seed) {}
MemoryDisk::~MemoryDisk() { Resume(); }

absl::Status MemoryDisk::FullError() {
  return absl::ResourceExhaustedError("store is full: only removals are accepted");
}

absl::Status MemoryDisk::UnknownError() { return absl::DeadlineExceededError("no answer"); }

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

}  // namespace posthouse::store
