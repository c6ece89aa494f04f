#include "services/common/store/rocks/space_watch.h"

#include <errno.h>
#include <sys/statvfs.h>

#include <chrono>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace posthouse::store {
namespace {
int64_t SteadyNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
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

void SpaceWatch::Wrote(uint64_t bytes) { wrote_bytes_.fetch_add(bytes, std::memory_order_relaxed); }

absl::StatusOr<CapacityInfo> SpaceWatch::Capacity() {
  absl::MutexLock lock(&mutex_);
  wrote_bytes_.store(0, std::memory_order_relaxed);
  absl::StatusOr<CapacityInfo> capacity = measure_(path_);
  if (!capacity.ok()) return capacity;
  const bool was_full = full_.load(std::memory_order_relaxed);
  const uint64_t enough = was_full ? min_free_bytes_ + min_free_bytes_ / 16 : min_free_bytes_;
  capacity->full = capacity->free_bytes < enough;
  full_.store(capacity->full, std::memory_order_relaxed);
  return capacity;
}

}  // namespace posthouse::store
