#include "services/common/async/thread_pool.h"

#include <utility>

#include "absl/time/clock.h"

namespace posthouse {

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
