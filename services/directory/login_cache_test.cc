#include "services/directory/login_cache.h"
#include "services/common/testing/wait.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "services/common/async/thread_pool.h"
#include "services/directory/password_hash_limiter.h"

namespace posthouse::directory {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

TEST(LoginCacheTest, RemembersAProvenPasswordUntilItsTime) {
  LoginCache cache(absl::Minutes(10), 100);
  EXPECT_FALSE(cache.Contains(AccountId("id"), "pw", kNow));
  cache.Insert(AccountId("id"), "pw", cache.generation(), kNow);
  EXPECT_TRUE(cache.Contains(AccountId("id"), "pw", kNow + absl::Minutes(9)));
  EXPECT_FALSE(cache.Contains(AccountId("id"), "other", kNow));
  EXPECT_FALSE(cache.Contains(AccountId("other"), "pw", kNow));
  EXPECT_FALSE(cache.Contains(AccountId("id"), "pw", kNow + absl::Minutes(10)));
}

TEST(LoginCacheTest, ForgetsWhatChanged) {
  LoginCache cache(absl::Minutes(10), 100);
  const uint64_t before = cache.generation();
  cache.Insert(AccountId("id"), "pw", before, kNow);
  cache.Forget(AccountId("id"));
  EXPECT_FALSE(cache.Contains(AccountId("id"), "pw", kNow));
  // A check that began before the change proves nothing about now.
  cache.Insert(AccountId("id"), "pw", before, kNow);
  EXPECT_FALSE(cache.Contains(AccountId("id"), "pw", kNow));
}

TEST(LoginCacheTest, StaysWithinItsBound) {
  LoginCache cache(absl::Minutes(10), 10);
  for (int i = 0; i < 1000; ++i) cache.Insert(AccountId(std::to_string(i)), "pw", cache.generation(), kNow);
  EXPECT_LE(cache.size(), 10u);
  EXPECT_TRUE(cache.Contains(AccountId("999"), "pw", kNow));
}

TEST(LoginCacheTest, ZeroSwitchesItOff) {
  LoginCache cache(absl::ZeroDuration(), 10);
  cache.Insert(AccountId("id"), "pw", cache.generation(), kNow);
  EXPECT_FALSE(cache.Contains(AccountId("id"), "pw", kNow));
  EXPECT_EQ(cache.size(), 0u);
}

TEST(PasswordHashLimiterTest, SoManyRunSoManyWaitTheRestIsRefused) {
  ThreadPool callers(1);
  ThreadPool pool(4);
  PasswordHashLimiter gate(pool, 2, 3);
  absl::Notification go;
  std::atomic<int> running{0}, most{0}, ok{0}, refused{0};
  absl::Notification five;
  std::atomic<int> done{0};
  const auto work = [&] {
    const int now = ++running;
    int seen = most.load();
    while (seen < now && !most.compare_exchange_weak(seen, now)) {
    }
    WaitFor(go);
    --running;
    return 1;
  };
  const auto one = [&]() -> Task<void> {
    const absl::StatusOr<int> result = co_await gate.Run("192.0.2.1", work);
    if (result.ok()) {
      ++ok;
    } else if (absl::IsResourceExhausted(result.status())) {
      ++refused;
    }
    if (++done == 8) five.Notify();
  };
  // On one thread, so that all have entered or been refused before the gate opens.
  for (int i = 0; i < 8; ++i) Spawn(callers, one());
  absl::Notification entered;
  callers.Post([&] { entered.Notify(); });
  WaitFor(entered);
  EXPECT_EQ(gate.waiting(), 3u);
  go.Notify();
  WaitFor(five);
  EXPECT_EQ(ok.load(), 5);
  EXPECT_EQ(refused.load(), 3);
  EXPECT_LE(most.load(), 2);
  EXPECT_EQ(gate.waiting(), 0u);
}

}  // namespace
}  // namespace posthouse::directory
