// SpaceReturn: gives the space of removed blobs back to the file system while the
// process runs.
//
// RocksDB keeps a removed blob until a flush has written its tombstone and a compaction
// has met both. On a quiet or full store nothing causes either. SpaceReturn counts the
// bytes that were removed. When they are many, or some on a full store, and removals
// have paused, it flushes, and compacts the blobs in the background. First it only drops
// what is removed, which needs next to no space: blob files without a live blob go.
// Then, when a fifth of the blob bytes is still garbage, it rewrites the live blobs of
// old files as far as half of the free space allows.
//
// Threads: any; it has one of its own.
#pragma once

#include <cstdint>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/rocks/reopenable_db.h"
#include "services/common/store/rocks/space_watch.h"

namespace posthouse::store {

struct SpaceReturnOptions {
  uint64_t at_bytes = uint64_t{64} << 20;           // removed bytes that are worth a compaction...
  double at_share = 0.05;                           // ... and their share of the blob files
  absl::Duration pause = absl::Seconds(2);          // without removals, before it begins
  absl::Duration between = absl::Seconds(30);       // two runs
  absl::Duration at_most_waits = absl::Minutes(5);  // for the pause
};

class SpaceReturn {
 public:
  // `runs` counts the runs. All outlive this.
  SpaceReturn(const ReopenableDb& db, SpaceWatch& space, metrics::Counter& runs, SpaceReturnOptions options);
  ~SpaceReturn();  // Stop()
  // Cancels a compaction that runs, and joins.
  void Stop();

  // Blobs of `bytes` were removed.
  void Removed(uint64_t bytes);
  // Does it now, on the caller's thread.
  absl::Status Run();

 private:
  void Loop();
  bool Worthwhile(uint64_t removed) const;
  absl::Status Compact(const ReopenableDb::Handles& open, bool rewrite, double age_cutoff);

  const ReopenableDb& db_;
  SpaceWatch& space_;
  metrics::Counter& runs_;
  const SpaceReturnOptions options_;

  absl::Mutex mutex_;
  absl::CondVar wake_;
  uint64_t removed_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes since the last run
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace posthouse::store
