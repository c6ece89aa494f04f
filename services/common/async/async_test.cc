#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "services/common/async/executor.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"

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
  done.WaitForNotification();
  EXPECT_TRUE(rang);
}

TEST(ThreadPoolTest, StopRunsWhatWasPosted) {
  int ran = 0;
  ThreadPool pool(1);
  for (int i = 0; i < 100; ++i) pool.Post([&] { ++ran; });
  pool.Stop();
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace posthouse
