// Enqueuer against queues on loopback that refuse, vanish or take a message without an answer.
#include "services/ingress/enqueue.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/memory_budget/memory_budget.h"
#include "services/common/net/event_loop.h"

namespace posthouse::ingress {
namespace {

namespace v1 = ::posthouse::queue::v1;

class FakeQueue final : public v1::QueueService::Service {
 public:
  enum class Then { kTake, kTakeWithoutAnAnswer, kRefuse, kBreakTheStream };

  FakeQueue() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeQueue() override { server_->Shutdown(); }

  // What becomes of the next `times` calls.
  void Next(Then then, int times) {
    absl::MutexLock lock(&mutex_);
    then_ = then;
    times_ = times;
  }
  std::shared_ptr<grpc::Channel> Channel() const {
    return grpc::CreateChannel(absl::StrCat("127.0.0.1:", port_), grpc::InsecureChannelCredentials());
  }
  std::vector<std::string> keys() {
    absl::MutexLock lock(&mutex_);
    return keys_;
  }
  size_t taken() {
    absl::MutexLock lock(&mutex_);
    return taken_.size();
  }

  grpc::Status Enqueue(grpc::ServerContext* context, grpc::ServerReader<v1::EnqueueRequest>* reader,
                       v1::EnqueueResponse* response) override {
    v1::EnqueueRequest request;
    if (!reader->Read(&request)) return grpc::Status(grpc::StatusCode::CANCELLED, "");
    const std::string key = request.header().idempotency_key();
    Then then = Then::kTake;
    {
      absl::MutexLock lock(&mutex_);
      keys_.push_back(key);
      if (times_ > 0) {
        --times_;
        then = then_;
      }
    }
    if (then == Then::kBreakTheStream) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken");
    bool commit = request.header().commit();
    while (!commit && reader->Read(&request)) commit = request.has_commit();
    if (then == Then::kRefuse || !commit) {
      context->AddTrailingMetadata("not_accepted", "1");
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping");
    }
    absl::MutexLock lock(&mutex_);
    response->set_duplicate(!taken_.insert(key).second);
    response->set_queue_id(absl::StrCat("Q", port_));
    if (then == Then::kTakeWithoutAnAnswer) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection reset");
    return grpc::Status::OK;
  }
  std::string id() const { return absl::StrCat("Q", port_); }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  absl::Mutex mutex_;
  Then then_ ABSL_GUARDED_BY(mutex_) = Then::kTake;
  int times_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> keys_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> taken_ ABSL_GUARDED_BY(mutex_);
};

class EnqueueTest : public ::testing::Test {
 protected:
  using Then = FakeQueue::Then;

  // gRPC 1.51 aborts now and then when the last channel that has made a call goes away and another one comes: the
  // thread of its callback queue ends too late. A channel that lives on keeps that queue. (Posthouse keeps its
  // channels.)
  static void SetUpTestSuite() {
    static FakeQueue* const queue = new FakeQueue;
    static Enqueuer* const kept =
        Enqueuer::Create({queue->Channel()}, std::make_shared<MemoryBudget>(64 << 20), {}).release();
    net::EventLoops loops{1};
    EXPECT_TRUE(SyncWait(SendOn(loops.at(0), *kept, 10)).ok());
  }

  absl::StatusOr<std::string> Send(Enqueuer& enqueuer, size_t bytes = 1000) {
    return SyncWait(SendOn(loops_.at(0), enqueuer, bytes));
  }
  absl::StatusOr<std::string> Send(size_t bytes = 1000) {
    const auto enqueuer = Enqueuer::Create({first_.Channel(), second_.Channel()}, memory_, timeouts_);
    return Send(*enqueuer, bytes);
  }
  static Task<absl::StatusOr<std::string>> SendOn(net::EventLoop& loop, Enqueuer& enqueuer, size_t bytes) {
    co_await SwitchTo(loop);
    v1::Envelope envelope;
    envelope.add_recipients()->set_address("user@example.org");
    const std::unique_ptr<EnqueueCall> call =
        enqueuer.Begin(rpc::TraceContext(), std::move(envelope), absl::InfinitePast());
    for (size_t sent = 0; sent < bytes; sent += 50000) {
      std::string piece(std::min<size_t>(50000, bytes - sent), 'x');
      co_await call->Write(std::move(piece));
    }
    co_return co_await call->Commit();
  }

  net::EventLoops loops_{1};
  EnqueueTimeouts timeouts_;
  std::shared_ptr<MemoryBudget> memory_ = std::make_shared<MemoryBudget>(64 << 20);
  FakeQueue first_, second_;
};

// The two bytes in which the key names the shard.
std::string ShardOf(const std::string& key) { return key.substr(0, 2); }

TEST_F(EnqueueTest, AShardThatMayHaveTakenTheMessageIsAskedAgain) {
  for (const size_t bytes : {1000, 500000}) {
    first_.Next(Then::kTakeWithoutAnAnswer, 2);
    const absl::StatusOr<std::string> id = Send(bytes);
    ASSERT_TRUE(id.ok()) << id.status();
    EXPECT_EQ(*id, first_.id());
    EXPECT_TRUE(second_.keys().empty());
  }
  const std::vector<std::string> keys = first_.keys();
  ASSERT_EQ(keys.size(), 6u);
  EXPECT_EQ(keys[0], keys[2]);
  EXPECT_EQ(keys[0].size(), 18u);
  EXPECT_EQ(first_.taken(), 2u);
}

TEST_F(EnqueueTest, NoOtherShardIsAskedWhileTheFirstMayHaveTheMessage) {
  timeouts_.doubt = absl::Milliseconds(400);
  first_.Next(Then::kTakeWithoutAnAnswer, 1000);
  EXPECT_EQ(Send().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(first_.taken(), 1u);
  EXPECT_TRUE(second_.keys().empty());
}

// The shard stops between the lost answer and the second question.
TEST_F(EnqueueTest, ALaterRefusalDoesNotEndTheDoubt) {
  timeouts_.doubt = absl::Milliseconds(400);
  first_.Next(Then::kTakeWithoutAnAnswer, 1);
  const auto enqueuer = Enqueuer::Create({first_.Channel(), second_.Channel()}, memory_, timeouts_);
  ASSERT_TRUE(Send(*enqueuer).ok());
  EXPECT_EQ(first_.keys().size(), 2u);
  EXPECT_TRUE(second_.keys().empty());
}

TEST_F(EnqueueTest, AShardThatRefusesLeavesTheMessageToTheNext) {
  first_.Next(Then::kRefuse, 1);
  EXPECT_EQ(*Send(), second_.id());
  EXPECT_EQ(ShardOf(first_.keys()[0]), std::string("\0\0", 2));
  EXPECT_EQ(ShardOf(second_.keys()[0]), std::string("\0\1", 2));
  EXPECT_NE(first_.keys()[0].substr(2), second_.keys()[0].substr(2));
}

// A message that is under way ends where it began; the next one goes to the queues of the new configuration.
TEST_F(EnqueueTest, NewQueuesTakeTheMessagesThatBeginFromThenOn) {
  const auto enqueuer = Enqueuer::Create({first_.Channel()}, memory_, timeouts_);
  const auto send = [this](net::EventLoop& loop, Enqueuer& with) -> Task<absl::StatusOr<std::string>> {
    co_await SwitchTo(loop);
    const std::unique_ptr<EnqueueCall> call = with.Begin(rpc::TraceContext(), v1::Envelope(), absl::InfinitePast());
    with.SetQueues({second_.Channel()});
    co_await call->Write(std::string(100000, 'x'));
    co_return co_await call->Commit();
  };
  EXPECT_EQ(*SyncWait(send(loops_.at(0), *enqueuer)), first_.id());
  EXPECT_EQ(*Send(*enqueuer), second_.id());
  enqueuer->SetQueues({});
  EXPECT_EQ(Send(*enqueuer).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(EnqueueTest, AShardThatIsNotReachedLeavesTheMessageToTheNext) {
  auto gone = std::make_unique<FakeQueue>();
  const std::shared_ptr<grpc::Channel> channel = gone->Channel();
  gone = nullptr;
  const auto enqueuer = Enqueuer::Create({channel, second_.Channel()}, memory_, timeouts_);
  EXPECT_EQ(*Send(*enqueuer), second_.id());
}

// A stream without its commit part stores nothing. The sender ends the message only after the break has reached it:
// before that the commit part may be on its way, and the first shard is asked again, rightly.
TEST_F(EnqueueTest, AStreamThatBreaksBeforeItsEndGoesToTheNextShard) {
  first_.Next(Then::kBreakTheStream, 1);
  const auto enqueuer = Enqueuer::Create({first_.Channel(), second_.Channel()}, memory_, timeouts_);
  const auto send = [this](net::EventLoop& loop, Enqueuer& enqueuer) -> Task<absl::StatusOr<std::string>> {
    co_await SwitchTo(loop);
    const std::unique_ptr<EnqueueCall> call = enqueuer.Begin(rpc::TraceContext(), v1::Envelope(), absl::InfinitePast());
    for (int piece = 0; piece < 12; ++piece) {
      co_await call->Write(std::string(70000, 'x'));
      if (!second_.keys().empty()) break;
      co_await Sleep(absl::Milliseconds(50));  // gives the break time to arrive; only a failing test sleeps to the end
    }
    co_return co_await call->Commit();
  };
  EXPECT_EQ(*SyncWait(send(loops_.at(0), *enqueuer)), second_.id());
  EXPECT_EQ(first_.taken(), 0u);
}

TEST_F(EnqueueTest, AMessageTooLongToKeepFails) {
  first_.Next(Then::kTakeWithoutAnAnswer, 1);
  EXPECT_FALSE(Send(2000000).ok());
  EXPECT_TRUE(second_.keys().empty());
}

}  // namespace
}  // namespace posthouse::ingress
