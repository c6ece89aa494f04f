#include "services/routing/dns/caching_resolver.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "absl/synchronization/notification.h"
#include "services/common/async/thread_pool.h"
#include "services/routing/dns/testing/fake_resolver.h"

namespace posthouse::routing::dns {
namespace {

using Outcome = Answer::Outcome;

class CachingResolverTest : public ::testing::Test {
 protected:
  CachingResolverTest() { Make(100); }
  void Make(size_t entries) {
    CachingOptions options;
    options.entries = entries;
    options.min_ttl = absl::Seconds(5);
    options.max_ttl = absl::Hours(1);
    options.stale_for = absl::Hours(24);
    resolver_ = std::make_unique<CachingResolver>(
        fake_, options, [this] { return now_; }, [this](QueryResult result, absl::Duration) { ++seen_[result]; });
  }
  absl::StatusOr<Answer> Query(const std::string& name, RecordType type = RecordType::kA) {
    return SyncWait(resolver_->Query(name, type));
  }

  FakeResolver fake_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  mutable std::map<QueryResult, int> seen_;
  std::unique_ptr<CachingResolver> resolver_;
};

TEST_F(CachingResolverTest, AnswersLiveForTheirTtl) {
  fake_.A("h.example", {"192.0.2.1"}, absl::Seconds(100));
  EXPECT_EQ(Query("h.example")->ttl, absl::Seconds(100));
  now_ += absl::Seconds(99);
  EXPECT_EQ(Query("H.Example.")->ttl, absl::Seconds(1));
  EXPECT_EQ(fake_.queries(), 1);
  now_ += absl::Seconds(1);
  EXPECT_TRUE(Query("h.example").ok());
  EXPECT_EQ(fake_.queries(), 2);
}

TEST_F(CachingResolverTest, TtlsAreBounded) {
  fake_.A("short.example", {"192.0.2.1"}, absl::ZeroDuration());
  fake_.A("long.example", {"192.0.2.1"}, absl::Hours(1000));
  EXPECT_EQ(Query("short.example")->ttl, absl::Seconds(5));
  EXPECT_EQ(Query("long.example")->ttl, absl::Hours(1));
}

TEST_F(CachingResolverTest, NegativeAnswersAreRemembered) {
  EXPECT_EQ(Query("no.example")->outcome, Outcome::kNoSuchName);
  EXPECT_EQ(Query("no.example")->outcome, Outcome::kNoSuchName);
  EXPECT_EQ(fake_.queries(), 1);
  EXPECT_EQ(seen_[QueryResult::kNegative], 1);
  EXPECT_EQ(seen_[QueryResult::kHit], 1);
}

TEST_F(CachingResolverTest, AnOldAnswerServesWhileTheServersFail) {
  fake_.A("h.example", {"192.0.2.1"}, absl::Seconds(60));
  ASSERT_TRUE(Query("h.example").ok());
  Query("no.example").IgnoreError();
  fake_.FailAll(absl::UnavailableError("down"));
  now_ += absl::Hours(2);
  EXPECT_EQ(Query("h.example")->addresses[0], "192.0.2.1");
  EXPECT_EQ(seen_[QueryResult::kStale], 1);
  EXPECT_FALSE(Query("no.example").ok());  // an old "no" may have become a "yes"
  now_ += absl::Hours(23);
  EXPECT_FALSE(Query("h.example").ok());
  fake_.FailAll(absl::OkStatus());
  now_ += absl::Seconds(2);
  EXPECT_TRUE(Query("h.example").ok());
}

TEST_F(CachingResolverTest, ADeadServerIsNotAskedByEveryMessage) {
  fake_.FailAll(absl::UnavailableError("down"));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(Query("h.example").ok());
  EXPECT_EQ(fake_.queries(), 1);
  now_ += absl::Seconds(2);
  EXPECT_FALSE(Query("h.example").ok());
  EXPECT_EQ(fake_.queries(), 2);
}

TEST_F(CachingResolverTest, CnamesThatServersLeaveAreFollowedLoopsAreTemporary) {
  const auto cname = [this](const std::string& from, const std::string& to) {
    Answer answer;
    answer.follow = to;
    answer.ttl = absl::Seconds(10);
    fake_.Put(from, RecordType::kA, answer);
  };
  cname("www.example", "a.example");
  cname("a.example", "b.example");
  fake_.A("b.example", {"192.0.2.1"}, absl::Seconds(100));
  const auto answer = Query("www.example");
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->addresses[0], "192.0.2.1");
  EXPECT_EQ(answer->ttl, absl::Seconds(10));
  cname("x.example", "y.example");
  cname("y.example", "x.example");
  EXPECT_TRUE(absl::IsUnavailable(Query("x.example").status()));
  for (int i = 0; i < 20; ++i) cname("c" + std::to_string(i) + ".example", "c" + std::to_string(i + 1) + ".example");
  EXPECT_TRUE(absl::IsUnavailable(Query("c0.example").status()));
}

TEST_F(CachingResolverTest, TheCacheIsBounded) {
  Make(10);
  for (int i = 0; i < 100; ++i) Query("h" + std::to_string(i) + ".example").IgnoreError();
  EXPECT_EQ(resolver_->size(), 10u);
}

// Holds every question until it is told to answer.
class SlowResolver final : public Resolver {
 public:
  Task<absl::StatusOr<Answer>> Query(std::string, RecordType) override {
    ++asked;
    co_return co_await AwaitCallback<absl::StatusOr<Answer>>(
        [this](absl::AnyInvocable<void(absl::StatusOr<Answer>)> d) { done = std::move(d); });
  }
  int asked = 0;
  absl::AnyInvocable<void(absl::StatusOr<Answer>)> done;
};

// Servers that say nothing for a long time: the old answer is given while it is of
// use, and the new one kept when it comes.
TEST(CachingResolverFlightTest, AnOldAnswerIsNotWaitedOutFor) {
  ThreadPool pool(1);
  SlowResolver slow;
  absl::Mutex mutex;
  absl::Time now = absl::FromUnixSeconds(1);
  const auto pass = [&](absl::Duration d) {
    absl::MutexLock lock(&mutex);
    now += d;
  };
  CachingResolver resolver(
      slow, {.patience = absl::Milliseconds(20)},
      [&] {
        absl::MutexLock lock(&mutex);
        return now;
      },
      [](QueryResult, absl::Duration) {});
  const auto ask = [&]() -> Task<absl::StatusOr<Answer>> {
    co_await SwitchTo(pool);
    co_return co_await resolver.Query("h.example", RecordType::kA);
  };
  const auto with = [](const std::string& address) {
    Answer answer;
    answer.outcome = Outcome::kRecords;
    answer.addresses = {address};
    answer.ttl = absl::Seconds(60);
    return answer;
  };
  SpawnHere([](CachingResolver& r) -> Task<void> {
    (co_await r.Query("h.example", RecordType::kA)).IgnoreError();
  }(resolver));
  std::exchange(slow.done, nullptr)(with("192.0.2.1"));
  pass(absl::Minutes(2));
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<Answer> old = SyncWait(ask());
    ASSERT_TRUE(old.ok()) << old.status();
    EXPECT_EQ(old->addresses[0], "192.0.2.1");
  }
  EXPECT_EQ(slow.asked, 2);  // once for the first answer, once since
  std::exchange(slow.done, nullptr)(with("192.0.2.2"));
  EXPECT_EQ(SyncWait(ask())->addresses[0], "192.0.2.2");
}

TEST(CachingResolverFlightTest, ManyWhoAskAtOnceAskOnce) {
  SlowResolver slow;
  CachingResolver resolver(slow, {}, [] { return absl::FromUnixSeconds(1); }, [](QueryResult, absl::Duration) {});
  int answered = 0;
  const auto ask = [&]() -> Task<void> {
    const auto answer = co_await resolver.Query("h.example", RecordType::kA);
    if (answer.ok() && answer->addresses.size() == 1) ++answered;
  };
  for (int i = 0; i < 5; ++i) SpawnHere(ask());
  EXPECT_EQ(slow.asked, 1);
  EXPECT_EQ(answered, 0);
  Answer answer;
  answer.outcome = Outcome::kRecords;
  answer.addresses = {"192.0.2.1"};
  answer.ttl = absl::Seconds(60);
  auto done = std::move(slow.done);
  done(answer);
  EXPECT_EQ(answered, 5);
  EXPECT_EQ(slow.asked, 1);
}

}  // namespace
}  // namespace posthouse::routing::dns
