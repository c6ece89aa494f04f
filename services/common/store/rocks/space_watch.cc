#include "services/common/store/rocks/space_watch.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/base/const_init.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"

namespace posthouse::store {
namespace {
int64_t SteadyNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

struct Debt {
  dev_t file_system = 0;
  uint64_t bytes = 0;
};

dev_t FileSystemOf(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 ? info.st_dev : 0;
}

// Notes what the store of `watch` owes, and returns what all stores owe on its file
// system. Without a file system the store is forgotten.
uint64_t SetDebt(const SpaceWatch* watch, Debt debt) {
  static absl::Mutex mutex(absl::kConstInit);
  static auto& debts = *new absl::flat_hash_map<const SpaceWatch*, Debt>();
  const absl::MutexLock lock(&mutex);
  if (debt.file_system == 0) {
    debts.erase(watch);
    return debt.bytes;
  }
  debts[watch] = debt;
  uint64_t all = 0;
  for (const auto& [other, owed] : debts) {
    if (owed.file_system == debt.file_system) all += owed.bytes;
  }
  return all;
}

}  // namespace

absl::StatusOr<CapacityInfo> MeasureFileSystem(const std::string& path) {
  struct statvfs info = {};
  if (statvfs(path.c_str(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("statvfs ", path));
  CapacityInfo capacity;
  capacity.total_bytes = uint64_t{info.f_blocks} * info.f_frsize;
  capacity.free_bytes = uint64_t{info.f_bavail} * info.f_frsize;
  return capacity;
}

SpaceWatch::SpaceWatch(std::string path, uint64_t min_free_bytes, absl::Duration interval, MeasureSpace measure)
    : path_(std::move(path)),
      min_free_bytes_(min_free_bytes),
      interval_nanos_(absl::ToInt64Nanoseconds(interval)),
      measure_(measure ? std::move(measure) : MeasureSpace(MeasureFileSystem)) {}

SpaceWatch::~SpaceWatch() { SetDebt(this, {}); }

void SpaceWatch::SetOwed(std::function<uint64_t()> owed) {
  absl::MutexLock lock(&mutex_);
  owed_ = std::move(owed);
}

bool SpaceWatch::Full() {
  const int64_t now = SteadyNanos();
  int64_t due = next_check_nanos_.load(std::memory_order_relaxed);
  const bool much_written = wrote_bytes_.load(std::memory_order_relaxed) > min_free_bytes_ / 4;
  // One caller measures; the others use the last answer.
  if ((now >= due || much_written) && next_check_nanos_.compare_exchange_strong(due, now + interval_nanos_)) {
    (void)Capacity();  // a failure keeps the last answer; callers of Capacity() get the error
  }
  return full_.load(std::memory_order_relaxed);
}

bool SpaceWatch::RoomFor(uint64_t bytes) const {
  // A sixteenth more than enough, so that the store does not flap.
  return spare_.load(std::memory_order_relaxed) >= min_free_bytes_ / 16 + bytes;
}

void SpaceWatch::Wrote(uint64_t bytes) { wrote_bytes_.fetch_add(bytes, std::memory_order_relaxed); }

absl::StatusOr<CapacityInfo> SpaceWatch::Capacity() {
  absl::MutexLock lock(&mutex_);
  wrote_bytes_.store(0, std::memory_order_relaxed);
  absl::StatusOr<CapacityInfo> capacity = measure_(path_);
  if (!capacity.ok()) return capacity;
  const bool was_full = full_.load(std::memory_order_relaxed);
  uint64_t enough = was_full ? min_free_bytes_ + min_free_bytes_ / 16 : min_free_bytes_;
  const uint64_t owed = enough > 0 ? SetDebt(this, {FileSystemOf(path_), owed_ ? owed_() : 0}) : 0;
  enough += owed;
  capacity->rewrites_fit = capacity->free_bytes >= owed + min_free_bytes_ / 2;
  spare_.store(capacity->free_bytes - std::min(capacity->free_bytes, enough), std::memory_order_relaxed);
  capacity->full = capacity->free_bytes < enough;
  full_.store(capacity->full, std::memory_order_relaxed);
  if (capacity->full && !was_full) {
    log::Event event(log::Level::kError, "store_full");
    event.Str("path", path_).Int("free_bytes", static_cast<int64_t>(capacity->free_bytes));
    event.Int("needed_bytes", static_cast<int64_t>(enough));
    if (capacity->total_bytes < min_free_bytes_) {
      event.Str("what_to_do", "set store.min_free_bytes below the size of the file system");
    }
  }
  if (was_full && !capacity->full) LOG_EVENT(kInfo, "store_has_room").Str("path", path_);
  return capacity;
}

}  // namespace posthouse::store
