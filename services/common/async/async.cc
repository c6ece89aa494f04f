#include <utility>

#include "services/common/async/executor.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"

namespace posthouse {
namespace {
thread_local Executor* current_executor = nullptr;
}  // namespace

Executor* Executor::Current() { return current_executor; }
Executor::Scope::Scope(Executor* executor) : previous_(std::exchange(current_executor, executor)) {}
Executor::Scope::~Scope() { current_executor = previous_; }

namespace internal {
void ResumeOn(Executor* executor, std::coroutine_handle<> handle) {
  if (executor == nullptr) {
    handle.resume();
  } else {
    executor->Post([handle] { handle.resume(); });
  }
}
}  // namespace internal

void Spawn(Executor& executor, Task<void> task) {
  executor.Post([task = std::move(task)]() mutable { internal::RunDetached(std::move(task)); });
}

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
  next(true);  // ownership passes on; the waiter resumes on its own executor
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

// ---- ThreadPool

ThreadPool::ThreadPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  std::deque<absl::AnyInvocable<void()>> unrun;
  std::map<std::pair<absl::Time, uint64_t>, absl::AnyInvocable<void()>> untimed;
  absl::MutexLock lock(&mutex_);
  unrun.swap(work_);
  untimed.swap(timers_);
}

void ThreadPool::Post(absl::AnyInvocable<void()> work) {
  absl::MutexLock lock(&mutex_);
  if (!stopping_) work_.push_back(std::move(work));
}

uint64_t ThreadPool::PostAfter(absl::Duration delay, absl::AnyInvocable<void()> work) {
  absl::MutexLock lock(&mutex_);
  const uint64_t id = ++last_timer_;
  if (stopping_) return id;
  const absl::Time due = absl::Now() + delay;
  timers_.emplace(std::make_pair(due, id), std::move(work));
  due_of_[id] = due;
  ++changes_;
  return id;
}

bool ThreadPool::CancelTimer(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  const auto it = due_of_.find(id);
  if (it == due_of_.end()) return false;
  timers_.erase({it->second, id});
  due_of_.erase(it);
  return true;
}

size_t ThreadPool::Backlog() const {
  absl::MutexLock lock(&mutex_);
  return work_.size();
}

void ThreadPool::Run() {
  const Executor::Scope scope(this);
  const auto move_due_timers = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (!timers_.empty() && timers_.begin()->first.first <= absl::Now()) {
      work_.push_back(std::move(timers_.begin()->second));
      due_of_.erase(timers_.begin()->first.second);
      timers_.erase(timers_.begin());
    }
  };
  while (true) {
    absl::AnyInvocable<void()> work;
    {
      absl::MutexLock lock(&mutex_);
      move_due_timers();  // also while there is always other work
      while (work_.empty() && !stopping_) {
        const uint64_t seen = changes_;
        const auto woken = [this, seen]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          return !work_.empty() || stopping_ || changes_ != seen;
        };
        const absl::Time due = timers_.empty() ? absl::InfiniteFuture() : timers_.begin()->first.first;
        mutex_.AwaitWithDeadline(absl::Condition(&woken), due);
        move_due_timers();
      }
      if (work_.empty()) return;  // stopping, and everything posted before has run
      work = std::move(work_.front());
      work_.pop_front();
    }
    work();
  }
}

}  // namespace posthouse
