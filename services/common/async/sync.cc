#include "services/common/async/sync.h"

#include <memory>
#include <utility>

namespace posthouse {

// ---- AsyncMutex

AsyncMutex::Guard::~Guard() {
  if (mutex_ != nullptr) mutex_->Unlock();
}

Task<AsyncMutex::Guard> AsyncMutex::Lock() {
  co_await AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) {
    {
      absl::MutexLock lock(&mutex_);
      if (locked_) {
        waiters_.push_back(std::move(done));
        return;
      }
      locked_ = true;
    }
    done(true);
  });
  co_return Guard(this);
}

void AsyncMutex::Unlock() {
  absl::AnyInvocable<void(bool)> next;
  {
    absl::MutexLock lock(&mutex_);
    if (waiters_.empty()) {
      locked_ = false;
      return;
    }
    next = std::move(waiters_.front());
    waiters_.pop_front();
  }
  next(true);  // the lock passes to the waiter, which resumes on its own executor
}

// ---- Wakeup

struct Wakeup::State {
  absl::Mutex mutex;
  bool signalled ABSL_GUARDED_BY(mutex) = false;
  uint64_t waiting ABSL_GUARDED_BY(mutex) = 0;  // number of the wait in progress; 0: none
  uint64_t waits ABSL_GUARDED_BY(mutex) = 0;
  absl::AnyInvocable<void(bool)> waiter ABSL_GUARDED_BY(mutex);
};

Wakeup::Wakeup() : state_(std::make_shared<State>()) {}
Wakeup::~Wakeup() = default;

void Wakeup::Signal() {
  absl::AnyInvocable<void(bool)> waiter;
  {
    absl::MutexLock lock(&state_->mutex);
    if (state_->waiting == 0) {
      state_->signalled = true;
      return;
    }
    state_->waiting = 0;
    waiter = std::move(state_->waiter);
  }
  waiter(true);
}

Task<bool> Wakeup::WaitFor(absl::Duration timeout) {
  const std::shared_ptr<State> state = state_;
  Executor* const executor = Executor::Current();
  uint64_t timer = 0;
  const bool signalled = co_await AwaitCallback<bool>([&](absl::AnyInvocable<void(bool)> done) {
    uint64_t number;
    {
      absl::MutexLock lock(&state->mutex);
      if (!state->signalled) {
        number = ++state->waits;
        state->waiting = number;
        state->waiter = std::move(done);
      } else {
        state->signalled = false;
        number = 0;
      }
    }
    if (number == 0) {
      done(true);
      return;
    }
    if (timeout == absl::InfiniteDuration()) return;
    timer = executor->PostAfter(timeout, [state, number] {
      absl::AnyInvocable<void(bool)> waiter;
      {
        absl::MutexLock lock(&state->mutex);
        if (state->waiting != number) return;
        state->waiting = 0;
        waiter = std::move(state->waiter);
      }
      waiter(false);
    });
  });
  if (signalled && timer != 0) executor->CancelTimer(timer);
  co_return signalled;
}

}  // namespace posthouse
