#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/deadline.h"
#include "services/common/async/executor.h"
#include "services/common/async/fair_gate.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/common/async/thread_pool.h"
#include "services/common/async/when_all.h"
#include "services/common/testing/wait.h"

namespace posthouse {
namespace {

Task<int> Add(int a, int b) { co_return a + b; }
Task<std::unique_ptr<int>> Boxed(int a) {
  auto box = std::make_unique<int>(co_await Add(a, 1));
  co_return box;
}
Task<int> Deep(int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) sum += co_await Add(1, 0);
  co_return sum;
}
Task<absl::StatusOr<std::string>> Fails() { co_return absl::NotFoundError("none"); }

TEST(TaskTest, ReturnsValuesAndMoveOnlyTypes) {
  EXPECT_EQ(SyncWait(Add(1, 2)), 3);
  EXPECT_EQ(*SyncWait(Boxed(4)), 5);
  EXPECT_EQ(SyncWait(Fails()).status(), absl::NotFoundError("none"));
}

TEST(TaskTest, AMillionAwaitsUseNoStack) { EXPECT_EQ(SyncWait(Deep(1000000)), 1000000); }

Task<std::pair<Executor*, Executor*>> AcrossPool(Executor& home, Executor& pool) {
  co_await SwitchTo(home);
  Executor* const there = co_await RunOn(pool, [] { return Executor::Current(); });
  co_return std::make_pair(there, Executor::Current());
}

TEST(TaskTest, RunOnComesBackToTheCallersExecutor) {
  ThreadPool home(1), pool(2);
  const std::pair<Executor*, Executor*> seen = SyncWait(AcrossPool(home, pool));
  EXPECT_EQ(seen.first, &pool);
  EXPECT_EQ(seen.second, &home);
}

Task<std::vector<int>> Many(Executor& pool) {
  std::vector<Task<int>> tasks;
  for (int i = 0; i < 100; ++i) {
    tasks.push_back([](Executor& p, int n) -> Task<int> {
      co_await SwitchTo(p);
      co_return n* n;
    }(pool, i));
  }
  co_return co_await WhenAll(std::move(tasks));
}

TEST(TaskTest, WhenAllKeepsOrder) {
  ThreadPool pool(3);
  const std::vector<int> results = SyncWait(Many(pool));
  ASSERT_EQ(results.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(results[i], i * i);
}

// A result that comes when the test says so.
struct Later {
  absl::AnyInvocable<void(int)> done;
  Task<int> Get() {
    co_return co_await AwaitCallback<int>([this](absl::AnyInvocable<void(int)> d) { done = std::move(d); });
  }
};

Task<void> Note(Task<int> task, bool* resumed) {
  (void)co_await std::move(task);
  *resumed = true;
}

// The contract of `done`: called once. Release builds leak the coroutine instead.
TEST(TaskTest, ACallbackThatIsDestroyedUncalledNeverResumes) {
  static bool resumed = false;
  const auto drop = [] {
    static Later& later = *new Later;
    SpawnHere(Note(later.Get(), &resumed));
    later.done = nullptr;
  };
  if (internal::kAbandonedCallbackAborts) {
    EXPECT_DEATH(drop(), "destroyed and never called");
  } else {
    drop();
  }
  EXPECT_FALSE(resumed);
}

TEST(RunUntilTest, ATaskInTimeGivesItsResult) {
  ThreadPool pool(1);
  EXPECT_EQ(SyncWait(RunUntil(pool, absl::InfiniteFuture(), Add(1, 2))), 3);
  EXPECT_EQ(SyncWait(RunUntil(pool, absl::Now() + absl::Hours(1), Add(1, 2))), 3);
  // Also when it ends on another thread.
  ThreadPool other(1);
  EXPECT_EQ(SyncWait(RunUntil(pool, absl::Now() + absl::Hours(1), RunOn(other, [] { return 7; }))), 7);
}

// Timers that the test fires.
class ManualTimers final : public Executor {
 public:
  void Post(absl::AnyInvocable<void()> work) override { work(); }
  uint64_t PostAfter(absl::Duration, absl::AnyInvocable<void()> work) override {
    timer_ = std::move(work);
    return 1;
  }
  bool CancelTimer(uint64_t) override { return std::exchange(timer_, nullptr) != nullptr; }
  void Fire() { std::exchange(timer_, nullptr)(); }

 private:
  absl::AnyInvocable<void()> timer_;
};

Task<void> Keep(Task<std::optional<int>> task, std::optional<std::optional<int>>* result) {
  *result = co_await std::move(task);
}

TEST(RunUntilTest, ALateTaskIsLeftBehindAndGoesOn) {
  ManualTimers timers;
  Later later;
  bool ended = false;
  std::optional<std::optional<int>> result;
  struct Work {
    static Task<int> Then(Task<int> first, bool* ended) {
      const int result = co_await std::move(first);
      *ended = true;
      co_return result;
    }
  };
  SpawnHere(Keep(RunUntil(timers, absl::Now() + absl::Hours(1), Work::Then(later.Get(), &ended)), &result));
  EXPECT_FALSE(result.has_value());
  timers.Fire();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(*result, std::nullopt);
  EXPECT_FALSE(ended);
  later.done(7);
  EXPECT_TRUE(ended);
  EXPECT_EQ(*result, std::nullopt);
}

TEST(RunUntilTest, AfterTheDeadlineNothingStarts) {
  ThreadPool pool(1);
  Later later;
  EXPECT_EQ(SyncWait(RunUntil(pool, absl::Now() - absl::Seconds(1), later.Get())), std::nullopt);
  EXPECT_FALSE(later.done);
}

Task<int> Increment(Executor& pool, AsyncMutex& mutex, int& counter, int times) {
  co_await SwitchTo(pool);
  for (int i = 0; i < times; ++i) {
    const AsyncMutex::Guard guard = co_await mutex.Lock();
    const int seen = counter;
    co_await SwitchTo(pool);  // another thread, still inside
    counter = seen + 1;
  }
  co_return 0;
}

TEST(AsyncMutexTest, ExcludesAcrossSuspensions) {
  ThreadPool pool(4);
  AsyncMutex mutex;
  int counter = 0;
  std::vector<Task<int>> tasks;
  for (int i = 0; i < 8; ++i) tasks.push_back(Increment(pool, mutex, counter, 500));
  SyncWait(WhenAll(std::move(tasks)));
  EXPECT_EQ(counter, 4000);
}

Task<bool> WaitOn(Executor& pool, Wakeup& wakeup, absl::Duration timeout) {
  co_await SwitchTo(pool);
  co_return co_await wakeup.WaitFor(timeout);
}

TEST(WakeupTest, ASignalBeforeTheWaitIsKeptOnce) {
  ThreadPool pool(1);
  Wakeup wakeup;
  wakeup.Signal();
  wakeup.Signal();
  EXPECT_TRUE(SyncWait(WaitOn(pool, wakeup, absl::Hours(1))));
  EXPECT_FALSE(SyncWait(WaitOn(pool, wakeup, absl::Milliseconds(1))));
}

TEST(WakeupTest, ASignalFromAnotherThreadWakes) {
  ThreadPool pool(1);
  Wakeup wakeup;
  std::thread other([&] { wakeup.Signal(); });
  EXPECT_TRUE(SyncWait(WaitOn(pool, wakeup, absl::InfiniteDuration())));
  other.join();
}

TEST(ThreadPoolTest, ACancelledTimerNeverRuns) {
  bool ran = false;
  {
    ThreadPool pool(1);
    const uint64_t id = pool.PostAfter(absl::Hours(1), [&] { ran = true; });
    EXPECT_TRUE(pool.CancelTimer(id));
    EXPECT_FALSE(pool.CancelTimer(id));
  }
  EXPECT_FALSE(ran);
}

// Deadlines hold on a pool that is never idle.
TEST(ThreadPoolTest, TimersRunWhileThereIsAlwaysOtherWork) {
  std::atomic<bool> rang{false}, give_up{false};
  absl::Notification done;
  ThreadPool pool(1);
  std::function<void()> busy = [&] {
    if (rang || give_up) {
      done.Notify();
    } else {
      pool.Post([&] { busy(); });
    }
  };
  pool.PostAfter(absl::Milliseconds(5), [&] { rang = true; });
  pool.Post([&] { busy(); });
  if (!done.WaitForNotificationWithTimeout(absl::Seconds(20))) give_up = true;
  WaitFor(done);
  EXPECT_TRUE(rang);
}

TEST(ThreadPoolTest, StopRunsWhatWasPosted) {
  int ran = 0;
  ThreadPool pool(1);
  for (int i = 0; i < 100; ++i) pool.Post([&] { ++ran; });
  pool.Stop();
  EXPECT_EQ(ran, 100);
}

// ---- FairGate

Task<void> Pass(FairGate* gate, std::string key, std::vector<std::string>* passed) {
  const bool entered = co_await gate->Enter(key);
  passed->push_back(entered ? key : "!" + key);
}

TEST(FairGateTest, TheLinesTakeTurns) {
  FairGate gate(1, 100);
  std::vector<std::string> passed;
  for (int i = 0; i < 4; ++i) SpawnHere(Pass(&gate, "a", &passed));
  SpawnHere(Pass(&gate, "b", &passed));
  SpawnHere(Pass(&gate, "c", &passed));
  EXPECT_EQ(gate.waiting(), 5u);
  for (int i = 0; i < 5; ++i) gate.Leave();
  EXPECT_EQ(passed, (std::vector<std::string>{"a", "a", "b", "c", "a", "a"}));
  EXPECT_EQ(gate.waiting(), 0u);
  gate.Leave();
  SpawnHere(Pass(&gate, "d", &passed));
  EXPECT_EQ(passed.back(), "d");
}

TEST(FairGateTest, OneKeyDoesNotUseUpTheRoomOfAll) {
  FairGate gate(1, 4);
  std::vector<std::string> passed;
  for (int i = 0; i < 6; ++i) SpawnHere(Pass(&gate, "a", &passed));
  EXPECT_EQ(passed, (std::vector<std::string>{"a", "!a"}));  // one is inside, four wait
  SpawnHere(Pass(&gate, "b", &passed));                      // takes the place of an a
  EXPECT_EQ(passed, (std::vector<std::string>{"a", "!a", "!a"}));
  EXPECT_EQ(gate.waiting(), 4u);
  for (int i = 0; i < 4; ++i) gate.Leave();
  EXPECT_EQ(passed, (std::vector<std::string>{"a", "!a", "!a", "a", "b", "a", "a"}));
}

}  // namespace
}  // namespace posthouse
