// What coroutines wait for: a mutex and a wake-up.
//
// Threads: every method may be called from any thread; a waiter resumes on the
// executor that was current when it began to wait.
#pragma once

#include <deque>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
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

// One waiter, many signallers. A signal that comes while nothing waits is kept for
// the next wait; several signals count as one.
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

}  // namespace posthouse
