// Executor: where a coroutine's next step runs.
//
// Two kinds implement it: the event loops of common/net (one thread each) and
// ThreadPool (many threads, for work that blocks). Code above common/net sees only
// this interface, never Asio. docs/adr/0002-own-task-type.md says why.
//
// Threads: every method may be called from any thread.
#pragma once

#include <cstdint>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

namespace posthouse {

class Executor {
 public:
  virtual ~Executor() = default;

  // Runs `work` later on this executor, never inside the call. Work posted after
  // the executor stopped is destroyed without running.
  virtual void Post(absl::AnyInvocable<void()> work) = 0;

  // Runs `work` once, about `delay` from now, unless the executor stops before.
  // Returns an id for CancelTimer().
  virtual uint64_t PostAfter(absl::Duration delay, absl::AnyInvocable<void()> work) = 0;

  // True: the timer's work will never run. False: it ran, it runs now, or no such
  // timer is known.
  virtual bool CancelTimer(uint64_t id) = 0;

  // The executor whose work this thread is running now; null outside of one.
  static Executor* Current();

  // Marks this thread as running `executor`'s work while the object lives.
  class Scope {
   public:
    explicit Scope(Executor* executor);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Executor* const previous_;
  };
};

}  // namespace posthouse
