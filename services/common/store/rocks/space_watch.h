// SpaceWatch: is there room on the disk for more than removals?
//
// Full() measures the file system when the interval has passed, or earlier when
// Wrote() counted more than a quarter of `min_free_bytes` since the last measurement.
// All stores of this process on one file system share it: what each still has in
// memory, and must write to tables, is not free for any of them.
// SpaceWatch needs no thread of its own, and notices without a restart that room was
// made. Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/store/store.h"

namespace posthouse::store {

// total_bytes and free_bytes of the file system that holds `path`.
using MeasureSpace = std::function<absl::StatusOr<CapacityInfo>(const std::string& path)>;
absl::StatusOr<CapacityInfo> MeasureFileSystem(const std::string& path);

class SpaceWatch {
 public:
  SpaceWatch(std::string path, uint64_t min_free_bytes, absl::Duration interval, MeasureSpace measure);
  ~SpaceWatch();
  SpaceWatch(const SpaceWatch&) = delete;
  SpaceWatch& operator=(const SpaceWatch&) = delete;

  // `owed` returns the bytes that the store holds in memory and must still write. It is
  // called by measurements, on any thread. Null: 0.
  void SetOwed(std::function<uint64_t()> owed);

  // True: commits that add are to be refused. Full begins under `min_free_bytes`
  // and ends a sixteenth above it, so that it does not flap.
  bool Full();
  // Counts bytes that went to the disk.
  void Wrote(uint64_t bytes);
  // Whether `bytes` more could be written without making the store full, as of the last look.
  bool RoomFor(uint64_t bytes) const;
  // Measures now.
  absl::StatusOr<CapacityInfo> Capacity();

 private:
  const std::string path_;
  const uint64_t min_free_bytes_;
  const int64_t interval_nanos_;
  const MeasureSpace measure_;
  std::atomic<int64_t> next_check_nanos_{0};
  std::atomic<uint64_t> wrote_bytes_{0};
  std::atomic<bool> full_{false};
  std::atomic<uint64_t> spare_{0};  // free bytes over those that a store that is not full needs, at the last look
  absl::Mutex mutex_;               // one measurement at a time
  std::function<uint64_t()> owed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::store
