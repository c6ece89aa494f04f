// RunUntil: waits for a task no longer than until a deadline.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"

namespace posthouse {

namespace internal {

template <typename T>
struct DeadlineRace {
  Executor* timers = nullptr;
  uint64_t timer = 0;
  std::atomic<bool> decided{false};
  absl::AnyInvocable<void(std::optional<T>)> done;
};

template <typename T>
Task<void> RunToTheEnd(Task<T> task, std::shared_ptr<DeadlineRace<T>> race) {
  T result = co_await std::move(task);
  if (race->decided.exchange(true)) co_return;
  race->timers->CancelTimer(race->timer);
  race->done(std::move(result));
}

}  // namespace internal

// The result of `task`, or nothing when `deadline` passed first. A task that is late
// goes on to its end, and its result is dropped, so it must own everything it uses.
// It starts here, but with no current executor: a late task must not depend on the
// caller's. `timers` runs the timer. An infinite deadline costs nothing.
template <typename T>
Task<std::optional<T>> RunUntil(Executor& timers, absl::Time deadline, Task<T> task) {
  if (deadline == absl::InfiniteFuture()) co_return co_await std::move(task);
  const absl::Duration left = deadline - absl::Now();
  if (left <= absl::ZeroDuration()) co_return std::nullopt;
  co_return co_await AwaitCallback<std::optional<T>>([&](absl::AnyInvocable<void(std::optional<T>)> done) {
    auto race = std::make_shared<internal::DeadlineRace<T>>();
    race->timers = &timers;
    race->done = std::move(done);
    race->timer = timers.PostAfter(left, [race] {
      if (!race->decided.exchange(true)) race->done(std::nullopt);
    });
    const Executor::Scope none(nullptr);
    SpawnHere(internal::RunToTheEnd(std::move(task), std::move(race)));
  });
}

}  // namespace posthouse
