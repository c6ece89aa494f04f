// What coroutines wait on: a mutex, a wake-up, a pool of threads.
//
// Threads: every method may be called from any thread; a waiter resumes on the
// executor that was current when it began to wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"

namespace posthouse {

// A lock that may be held across a co_await. First come, first served.
//   const AsyncMutex::Guard guard = co_await mutex.Lock();
class AsyncMutex {
 public:
  class Guard {
   public:
    Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard();

   private:
    friend class AsyncMutex;
    explicit Guard(AsyncMutex* mutex) : mutex_(mutex) {}
    AsyncMutex* mutex_;
  };

  Task<Guard> Lock();

 private:
  void Unlock();
  absl::Mutex mutex_;
  bool locked_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<absl::AnyInvocable<void(bool)>> waiters_ ABSL_GUARDED_BY(mutex_);
};

// One waiter, many signallers. A signal with nobody waiting is kept for the next
// wait; several signals count as one.
class Wakeup {
 public:
  Wakeup();
  ~Wakeup();
  void Signal();
  // True: signalled. False: `timeout` passed (needs a current executor, unless infinite).
  Task<bool> WaitFor(absl::Duration timeout);

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

// Threads for work that blocks: RocksDB reads, password hashing. Stop() runs what
// was posted before it and joins; the destructor calls it.
class ThreadPool final : public Executor {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool() override;
  void Stop();
  void Post(absl::AnyInvocable<void()> work) override;
  uint64_t PostAfter(absl::Duration delay, absl::AnyInvocable<void()> work) override;
  bool CancelTimer(uint64_t id) override;
  // Work posted and not started: what a caller looks at to refuse more.
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
