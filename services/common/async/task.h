// Task<T>: a lazily started coroutine, and the few ways to start one (when_all.h
// joins several).
//
//   Task<absl::StatusOr<int>> Answer(Store& store) {
//     auto row = co_await store.Read(...);     // may suspend
//     co_return Parse(row);
//   }
//   Spawn(executor, Serve(connection));        // detached
//   int n = SyncWait(Answer(store));           // tests and main() only
//
// Ownership: a Task owns its coroutine frame; `co_await` consumes the Task. A
// coroutine takes its parameters by value, or by reference to something that the
// caller keeps until the await returns. A lambda that captures must outlive its
// coroutine: pass state as parameters, or keep the lambda in a named variable across
// the co_await.
//
// Threads: a task runs on one executor at a time. When another thread (a pool,
// gRPC, a timer) completes what a task awaits, the task resumes on the executor
// that was current at the await, or, without one, on the completing thread. Never hold a mutex, a RocksDB iterator or a
// view into a shared buffer across a co_await.
//
// Errors: absl::Status values. An exception that leaves a coroutine is a broken
// invariant and ends the process.
#pragma once

#include <atomic>
#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/base/config.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"

namespace posthouse {

template <typename T>
class Task;

namespace internal {

// Resumes the awaiting coroutine on the same thread (symmetric transfer).
struct FinalAwaiter {
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
    return self.promise().continuation_;
  }
  void await_resume() const noexcept {}
};

class PromiseBase {
 public:
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  std::coroutine_handle<> continuation_ = std::noop_coroutine();
};

template <typename T>
class Promise : public PromiseBase {
 public:
  Task<T> get_return_object();
  template <typename U>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  T Take() { return *std::move(value_); }

 private:
  std::optional<T> value_;
};

template <>
class Promise<void> : public PromiseBase {
 public:
  Task<void> get_return_object();
  void return_void() const noexcept {}
  void Take() const noexcept {}
};

}  // namespace internal

template <typename T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = internal::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      Reset();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  ~Task() { Reset(); }

  struct Awaiter {
    Handle handle;
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) const noexcept {
      handle.promise().continuation_ = caller;
      return handle;
    }
    T await_resume() const { return handle.promise().Take(); }
  };
  Awaiter operator co_await() && noexcept { return Awaiter{handle_}; }

 private:
  void Reset() {
    if (handle_) handle_.destroy();
    handle_ = {};
  }
  Handle handle_;
};

namespace internal {

template <typename T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

// A coroutine that owns itself: frees its frame when it ends.
struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };
};

inline Detached RunDetached(Task<void> task) { co_await std::move(task); }

template <typename T>
Task<void> StoreAndNotify(Task<T> task, std::optional<T>* result, absl::Notification* done) {
  result->emplace(co_await std::move(task));
  done->Notify();
}
inline Task<void> AwaitAndNotify(Task<void> task, absl::Notification* done) {
  co_await std::move(task);
  done->Notify();
}

// Resumes `handle` on `executor`, or here when there is none.
void ResumeOn(Executor* executor, std::coroutine_handle<> handle);

}  // namespace internal

// Starts `task` on `executor` and lets it run to its end on its own.
void Spawn(Executor& executor, Task<void> task);

// Starts `task` now, on this thread. After its first suspension it goes on as a
// task of Spawn() does.
inline void SpawnHere(Task<void> task) { internal::RunDetached(std::move(task)); }

// Blocks this thread until `task` is done: main(), tests and the CLI only, never
// an event loop. The task starts on this thread.
template <typename T>
T SyncWait(Task<T> task) {
  std::optional<T> result;
  absl::Notification done;
  internal::RunDetached(internal::StoreAndNotify(std::move(task), &result, &done));
  done.WaitForNotification();
  return *std::move(result);
}
inline void SyncWait(Task<void> task) {
  absl::Notification done;
  internal::RunDetached(internal::AwaitAndNotify(std::move(task), &done));
  done.WaitForNotification();
}

namespace internal {

// Debug and sanitizer builds end the process when a callback is destroyed uncalled.
#if defined(NDEBUG) && !defined(ABSL_HAVE_ADDRESS_SANITIZER) && !defined(ABSL_HAVE_THREAD_SANITIZER)
inline constexpr bool kAbandonedCallbackAborts = false;
#else
inline constexpr bool kAbandonedCallbackAborts = true;
#endif
void OnAbandonedCallback();

// The one-shot `done` of AwaitCallback(): moves, and notices its end without a call.
template <typename T, typename Awaiter>
class Done {
 public:
  explicit Done(Awaiter* awaiter) : awaiter_(awaiter) {}
  Done(Done&& other) noexcept : awaiter_(std::exchange(other.awaiter_, nullptr)) {}
  Done& operator=(Done&&) = delete;
  ~Done() {
    if (awaiter_ != nullptr) OnAbandonedCallback();
  }
  void operator()(T result) { std::exchange(awaiter_, nullptr)->Complete(std::move(result)); }

 private:
  Awaiter* awaiter_;
};

}  // namespace internal

// Turns a callback API into an await. `start` is called once with a `done` that
// must be called exactly once, from any thread, even inside `start`:
//   absl::Status s = co_await AwaitCallback<absl::Status>([&](auto done) {
//     client.Start(request, std::move(done));
//   });
//
// A `done` that is destroyed uncalled (its executor stopped, its owner went away)
// would leave the coroutine suspended for ever, with everything that its frame
// holds. That is a defect of whoever owns the `done`: stop executors after the work
// that they run. Debug and sanitizer builds end the process there; other builds
// leak the frame, since resuming it could touch what is being destroyed.
template <typename T, typename Start>
auto AwaitCallback(Start start) {
  struct Awaiter {
    Start start;
    std::optional<T> value;
    Executor* executor = nullptr;
    std::coroutine_handle<> handle;
    // 0: neither side arrived; the second to arrive resumes.
    std::atomic<int> arrived{0};

    explicit Awaiter(Start s) : start(std::move(s)) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> h) {
      executor = Executor::Current();
      handle = h;
      start(absl::AnyInvocable<void(T)>(internal::Done<T, Awaiter>(this)));
      // False: `done` was called already, so continue without suspending.
      return arrived.exchange(1, std::memory_order_acq_rel) == 0;
    }
    void Complete(T result) {
      value.emplace(std::move(result));
      if (arrived.exchange(1, std::memory_order_acq_rel) == 1) internal::ResumeOn(executor, handle);
    }
    T await_resume() { return *std::move(value); }
  };
  return Awaiter(std::move(start));
}

// Moves the coroutine to `executor`.
inline auto SwitchTo(Executor& executor) {
  struct Awaiter {
    Executor& target;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) const {
      target.Post([h] { h.resume(); });
    }
    void await_resume() const noexcept {}
  };
  return Awaiter{executor};
}

// Suspends for about `delay`; needs a current executor.
inline auto Sleep(absl::Duration delay) {
  struct Awaiter {
    absl::Duration delay;
    bool await_ready() const noexcept { return delay <= absl::ZeroDuration(); }
    void await_suspend(std::coroutine_handle<> h) const {
      Executor::Current()->PostAfter(delay, [h] { h.resume(); });
    }
    void await_resume() const noexcept {}
  };
  return Awaiter{delay};
}

// Runs `work` (which may block) on `pool` and resumes on the caller's executor
// with its result. `work` may capture by reference: it is done before this returns.
template <typename Work, typename R = std::invoke_result_t<Work&>>
Task<R> RunOn(Executor& pool, Work work) {
  if constexpr (std::is_void_v<R>) {
    co_await AwaitCallback<bool>([&](absl::AnyInvocable<void(bool)> done) {
      pool.Post([&work, done = std::move(done)]() mutable {
        work();
        done(true);
      });
    });
  } else {
    co_return co_await AwaitCallback<R>([&](absl::AnyInvocable<void(R)> done) {
      pool.Post([&work, done = std::move(done)]() mutable { done(work()); });
    });
  }
}

}  // namespace posthouse
