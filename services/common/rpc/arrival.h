// Arrival: a bool that one thread sets and one coroutine waits for. Reusable: Reset()
// comes before the operation that sets the next value.
#pragma once

#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace posthouse::rpc::internal {

class Arrival {
 public:
  // Resumes the waiter at once, which may free this object.
  void Set(bool ok) {
    absl::AnyInvocable<void(bool)> waiter;
    {
      absl::MutexLock lock(&mutex_);
      value_ = ok;
      waiter = std::move(waiter_);
      waiter_ = nullptr;
    }
    if (waiter) waiter(ok);
  }
  // Calls `done` with the value: at once when it is set, else in Set().
  void Wait(absl::AnyInvocable<void(bool)> done) {
    bool ok;
    {
      absl::MutexLock lock(&mutex_);
      if (!value_.has_value()) {
        waiter_ = std::move(done);
        return;
      }
      ok = *value_;
    }
    done(ok);
  }
  void Reset() {
    absl::MutexLock lock(&mutex_);
    value_.reset();
  }

 private:
  absl::Mutex mutex_;
  std::optional<bool> value_ ABSL_GUARDED_BY(mutex_);
  absl::AnyInvocable<void(bool)> waiter_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::rpc::internal
