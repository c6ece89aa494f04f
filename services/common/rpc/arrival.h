// Arrival: a yes or no that one thread brings and one coroutine waits for.
// Reusable: Reset() before the next one is asked for.
#pragma once

#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace posthouse::rpc::internal {

class Arrival {
 public:
  // May free the object that holds this one: the waiter goes on at once.
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
  // Calls `done` when the value is there; at once if it is.
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
