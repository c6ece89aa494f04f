// Maintenance: background work on a spool. It removes done marks after their retention and
// blobs that no item names, checks that the rows fit together (the table in key_schema.h),
// measures the age of the oldest message, and counts the messages by state.
//
// Every step reads a bounded page and submits bounded changes, so it may run beside the
// traffic and be killed anywhere. Threads: any.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/queue/spool/spool.h"

namespace posthouse::queue {

class Metrics;

// Each returns how many rows, items or blobs it removed or repaired.
Task<absl::StatusOr<uint64_t>> PurgeDone(Spool& spool, absl::Duration retention);
Task<absl::StatusOr<uint64_t>> SweepBlobs(Spool& spool);
Task<absl::StatusOr<uint64_t>> Audit(Spool& spool, absl::Duration delay_warning_after);

// The messages of the queue by state, as the due index has them.
struct QueueCounts {
  // Closed: also a metric label. kActive: being delivered, in line, or due. kDeferred: waits for its next attempt.
  // kHeld: waits for an operator (hold.h).
  enum State { kActive, kDeferred, kHeld, kStates };
  std::array<uint64_t, kStates> messages{};
  std::array<uint64_t, kStates> bytes{};
};
Task<absl::StatusOr<QueueCounts>> CountByState(Spool& spool);

struct MaintenanceOptions {
  absl::Duration done_retention = absl::Hours(72);
  absl::Duration delay_warning_after = absl::Hours(4);
  absl::Duration first_audit = absl::Seconds(10);  // after the start; finds the leftovers of a crash
  absl::Duration audit_interval = absl::Hours(1);
  absl::Duration purge_interval = absl::Minutes(5);
  absl::Duration oldest_interval = absl::Seconds(5);  // also of counting by state, while that is quick
};

class Maintenance {
 public:
  // All of them outlive it; the loop runs on `executor`.
  Maintenance(Spool& spool, Metrics& metrics, Executor& executor, MaintenanceOptions options);
  void Start();
  void Stop();  // blocks until the running step is done; not on an event loop
  // Age of the oldest message; zero when the queue is empty.
  absl::Duration oldest() const;

 private:
  Task<void> Run();
  Task<void> FindOldest();
  // Sets the metrics; returns when to count again.
  Task<absl::Time> Count();

  Spool& spool_;
  Metrics& metrics_;
  Executor& executor_;
  const MaintenanceOptions options_;
  Wakeup wakeup_;
  mutable absl::Mutex mutex_;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  QueueId oldest_id_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::queue
