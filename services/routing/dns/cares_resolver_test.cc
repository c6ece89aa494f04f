#include "services/routing/dns/cares_resolver.h"
#include "services/common/testing/wait.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/async/thread_pool.h"
#include "services/common/async/when_all.h"
#include "services/routing/dns/testing/dns_server.h"

namespace posthouse::routing::dns {
namespace {

using Code = absl::StatusCode;
using Outcome = Answer::Outcome;

class CaresResolverTest : public ::testing::Test {
 protected:
  CaresResolverTest() { Start({server_.address()}); }
  void Start(std::vector<std::string> servers, size_t max_pending = 10000) {
    CaresOptions options;
    options.servers = std::move(servers);
    options.timeout = absl::Milliseconds(200);
    options.tries = 2;
    options.max_pending = max_pending;
    auto resolver = CaresResolver::Create(options);
    ASSERT_TRUE(resolver.ok()) << resolver.status();
    resolver_ = *std::move(resolver);
  }
  absl::StatusOr<Answer> Query(const std::string& name, RecordType type) {
    return SyncWait(resolver_->Query(name, type));
  }

  DnsServer server_;
  std::unique_ptr<CaresResolver> resolver_;
};

TEST_F(CaresResolverTest, AsksARealServer) {
  server_.Mx("example.org", 10, "mx.example.org", 77);
  server_.A("mx.example.org", "192.0.2.1");
  const auto mx = Query("example.org", RecordType::kMx);
  ASSERT_TRUE(mx.ok()) << mx.status();
  EXPECT_EQ(mx->mx, (std::vector<MxRecord>{{10, "mx.example.org"}}));
  EXPECT_EQ(mx->ttl, absl::Seconds(77));
  EXPECT_EQ(Query("mx.example.org", RecordType::kA)->addresses[0], "192.0.2.1");
  EXPECT_EQ(Query("mx.example.org", RecordType::kMx)->outcome, Outcome::kNoData);
  EXPECT_EQ(Query("nowhere.example", RecordType::kMx)->outcome, Outcome::kNoSuchName);
  EXPECT_EQ(Query("nowhere.example", RecordType::kMx)->ttl, absl::Seconds(30));
}

TEST_F(CaresResolverTest, TruncatedAnswersComeOverTcp) {
  for (int i = 0; i < 60; ++i) server_.Mx("big.example", 10, absl::StrCat("host", i, ".big.example"));
  const auto mx = Query("big.example", RecordType::kMx);
  ASSERT_TRUE(mx.ok()) << mx.status();
  EXPECT_EQ(mx->mx.size(), 60u);
  EXPECT_EQ(server_.tcp_queries(), 1);
}

TEST_F(CaresResolverTest, TroubleIsTemporary) {
  server_.Rcode("broken.example", 2);
  server_.Rcode("refused.example", 5);
  server_.Drop("silent.example");
  server_.Garbage("noise.example", std::string(10, '\x80') + "noise");
  EXPECT_EQ(Query("broken.example", RecordType::kMx).status().code(), Code::kUnavailable);
  EXPECT_NE(Query("broken.example", RecordType::kMx).status().message().find("SERVFAIL"), absl::string_view::npos);
  EXPECT_EQ(Query("refused.example", RecordType::kMx).status().code(), Code::kUnavailable);
  EXPECT_EQ(Query("silent.example", RecordType::kMx).status().code(), Code::kDeadlineExceeded);
  EXPECT_FALSE(Query("noise.example", RecordType::kMx).ok());
  EXPECT_EQ(Query("fine.example", RecordType::kMx)->outcome, Outcome::kNoSuchName);
}

TEST_F(CaresResolverTest, ASecondServerTakesOver) {
  DnsServer second;
  second.A("h.example", "192.0.2.9");
  server_.Rcode("h.example", 2);
  Start({server_.address(), second.address()});
  const auto answer = Query("h.example", RecordType::kA);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->addresses[0], "192.0.2.9");
}

TEST_F(CaresResolverTest, ManyQueriesAtOnce) {
  for (int i = 0; i < 200; ++i) server_.A(absl::StrCat("h", i, ".example"), absl::StrCat("192.0.2.", i));
  ThreadPool pool(2);
  const auto all = [](CaresResolver* resolver, ThreadPool* on) -> Task<int> {
    co_await SwitchTo(*on);
    std::vector<Task<absl::StatusOr<Answer>>> tasks;
    for (int i = 0; i < 200; ++i) tasks.push_back(resolver->Query(absl::StrCat("h", i, ".example"), RecordType::kA));
    const auto answers = co_await WhenAll(std::move(tasks));
    int good = 0;
    for (int i = 0; i < 200; ++i) {
      if (answers[i].ok() && answers[i]->addresses.size() == 1 &&
          answers[i]->addresses[0] == absl::StrCat("192.0.2.", i)) {
        ++good;
      }
    }
    co_return good;
  };
  EXPECT_EQ(SyncWait(all(resolver_.get(), &pool)), 200);
}

// A burst that overflows a server's socket costs a time-out for each lost query.
TEST_F(CaresResolverTest, NoMoreQueriesGoOutThanTheServerAnswers) {
  CaresOptions options;
  options.servers = {server_.address()};
  options.timeout = absl::Hours(1);
  options.max_burst = 3;
  options.burst_time = absl::Hours(1);
  server_.Drop("silent.example");
  auto resolver = CaresResolver::Create(options);
  ASSERT_TRUE(resolver.ok()) << resolver.status();
  ThreadPool pool(1);
  const auto ask = [](CaresResolver* from, std::string name) -> Task<bool> {
    co_return (co_await from->Query(std::move(name), RecordType::kA)).ok();
  };
  absl::Notification ended[3];
  for (absl::Notification& end : ended) {
    Spawn(pool, [](CaresResolver* from, absl::Notification* done) -> Task<void> {
      (co_await from->Query("silent.example", RecordType::kA)).IgnoreError();
      done->Notify();
    }(resolver->get(), &end));
    // One place less for the others each time, but they have their turn.
    if (&end != &ended[2]) {
      for (int i = 0; i < 20; ++i) {
        EXPECT_TRUE(SyncWait(ask(resolver->get(), absl::StrCat("h", i, ".example"))));
      }
    }
  }
  // All places are taken by queries without an answer.
  absl::Notification fourth;
  bool answered = true;
  Spawn(pool, [](CaresResolver* from, bool* ok, absl::Notification* done) -> Task<void> {
    *ok = (co_await from->Query("late.example", RecordType::kA)).ok();
    done->Notify();
  }(resolver->get(), &answered, &fourth));
  (*resolver)->Stop();
  WaitFor(fourth);
  EXPECT_FALSE(answered);
  for (absl::Notification& end : ended) WaitFor(end);
  EXPECT_LE(server_.udp_queries(), 43);
}

TEST_F(CaresResolverTest, AQueryWithoutAnAnswerGivesItsPlaceBackAfterAWhile) {
  CaresOptions options;
  options.servers = {server_.address()};
  options.timeout = absl::Hours(1);
  options.max_burst = 1;
  options.burst_time = absl::Milliseconds(1);
  server_.Drop("silent.example");
  auto resolver = CaresResolver::Create(options);
  ASSERT_TRUE(resolver.ok()) << resolver.status();
  ThreadPool pool(1);
  absl::Notification ended;
  Spawn(pool, [](CaresResolver* from, absl::Notification* done) -> Task<void> {
    (co_await from->Query("silent.example", RecordType::kA)).IgnoreError();
    done->Notify();
  }(resolver->get(), &ended));
  EXPECT_TRUE(SyncWait((*resolver)->Query("other.example", RecordType::kA)).ok());
  EXPECT_FALSE(ended.HasBeenNotified());
  (*resolver)->Stop();
  WaitFor(ended);
}

TEST_F(CaresResolverTest, TooManyPendingAreRefusedAndAnEndAnswersAll) {
  server_.Drop("silent.example");
  Start({server_.address()}, 1);
  absl::Notification first_done;
  absl::Status first;
  SpawnHere([](CaresResolver* resolver, absl::Status* out, absl::Notification* done) -> Task<void> {
    *out = (co_await resolver->Query("silent.example", RecordType::kA)).status();
    done->Notify();
  }(resolver_.get(), &first, &first_done));
  EXPECT_EQ(Query("other.example", RecordType::kA).status().code(), Code::kUnavailable);
  resolver_.reset();
  WaitFor(first_done);
  EXPECT_FALSE(first.ok());
}

TEST(CaresResolverOptionsTest, AServerThatCannotBeReadStopsTheStart) {
  CaresOptions options;
  options.servers = {"not an address"};
  EXPECT_EQ(CaresResolver::Create(options).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace posthouse::routing::dns
