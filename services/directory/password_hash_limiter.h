// PasswordHashLimiter: runs password work on the blocking pool. At most `concurrent` run
// at a time, since the pool has other work, and at most `max_waiting` wait.
//
// Threads: any; a task resumes on its own executor.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"

namespace posthouse::directory {

class PasswordHashLimiter {
 public:
  // `pool` outlives the limiter, which outlives its Run()s.
  PasswordHashLimiter(Executor& pool, size_t concurrent, size_t max_waiting)
      : pool_(pool), concurrent_(concurrent), max_waiting_(max_waiting) {}

  // Returns what `work` returns; kResourceExhausted at once when too many wait.
  // `work` may capture by reference: it is done before this returns.
  template <typename Work, typename R = std::invoke_result_t<Work&>>
  Task<absl::StatusOr<R>> Run(Work work) {
    if (!co_await Enter())
      co_return absl::ResourceExhaustedError("too many password checks are waiting, try again later");
    R result = co_await RunOn(pool_, [&work] { return work(); });
    Leave();
    co_return std::move(result);
  }

  size_t waiting() const;

 private:
  Task<bool> Enter();
  void Leave();

  Executor& pool_;
  const size_t concurrent_;
  const size_t max_waiting_;
  mutable absl::Mutex mutex_;
  size_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<absl::AnyInvocable<void(bool)>> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::directory
