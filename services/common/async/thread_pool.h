// ThreadPool: threads for work that blocks, such as RocksDB reads and password hashing.
//
// Threads: every method may be called from any thread, Stop() and the destructor
// from any thread but the pool's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"

namespace posthouse {

class ThreadPool final : public Executor {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool() override;  // Stop()
  // Runs everything that was posted before the call, then joins the threads. Timers
  // that are not due yet never run.
  void Stop();
  void Post(absl::AnyInvocable<void()> work) override;
  uint64_t PostAfter(absl::Duration delay, absl::AnyInvocable<void()> work) override;
  bool CancelTimer(uint64_t id) override;
  // Pieces of work that are posted and not started. Callers use it to refuse more.
  size_t Backlog() const;

 private:
  void Run();
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t last_timer_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<absl::AnyInvocable<void()>> work_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<absl::Time, uint64_t>, absl::AnyInvocable<void()>> timers_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, absl::Time> due_of_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace posthouse
