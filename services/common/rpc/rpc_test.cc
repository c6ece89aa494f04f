// Unary calls and both kinds of stream against real servers, over TCP and in-process.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/async/sync.h"
#include "services/common/async/when_all.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/server.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"
#include "services/common/testing/wait.h"

namespace posthouse::rpc {
namespace {

using ::testing::HasSubstr;

namespace dir = directory::v1;
namespace q = queue::v1;

using GetStatsCall = UnaryCall<q::GetStatsRequest, q::GetStatsResponse>;
using EnqueueCall = ReaderCall<q::EnqueueRequest, q::EnqueueResponse>;
using WatchCall = WriterCall<dir::WatchRequest, dir::WatchResponse>;

// Handlers are replaced by each test.
struct Handlers {
  std::function<Task<absl::Status>(GetStatsCall&)> get_stats;
  std::function<Task<absl::Status>(EnqueueCall&)> enqueue;
  std::function<Task<absl::Status>(WatchCall&)> watch;
};

class AdminRpc final : public q::QueueAdminService::CallbackService {
 public:
  AdminRpc(ServerRunner& runner, Handlers& handlers) : runner_(runner), handlers_(handlers) {}
  grpc::ServerUnaryReactor* GetStats(grpc::CallbackServerContext* context, const q::GetStatsRequest* request,
                                     q::GetStatsResponse* response) override {
    return Unary(runner_, context, request, response, [this](auto& call) { return handlers_.get_stats(call); });
  }

 private:
  ServerRunner& runner_;
  Handlers& handlers_;
};

class QueueRpc final : public q::QueueService::CallbackService {
 public:
  QueueRpc(ServerRunner& runner, Handlers& handlers) : runner_(runner), handlers_(handlers) {}
  grpc::ServerReadReactor<q::EnqueueRequest>* Enqueue(grpc::CallbackServerContext* context,
                                                      q::EnqueueResponse* response) override {
    return ClientStreaming<q::EnqueueRequest>(runner_, context, response,
                                              [this](auto& call) { return handlers_.enqueue(call); });
  }

 private:
  ServerRunner& runner_;
  Handlers& handlers_;
};

class DirectoryRpc final : public dir::DirectoryService::CallbackService {
 public:
  DirectoryRpc(ServerRunner& runner, Handlers& handlers) : runner_(runner), handlers_(handlers) {}
  grpc::ServerWriteReactor<dir::WatchResponse>* Watch(grpc::CallbackServerContext* context,
                                                      const dir::WatchRequest* request) override {
    return ServerStreaming<dir::WatchResponse>(runner_, context, request,
                                               [this](auto& call) { return handlers_.watch(call); });
  }

 private:
  ServerRunner& runner_;
  Handlers& handlers_;
};

// Coroutines below are functions with parameters: nothing they use dies before them.
Task<absl::Status> AnswerItems(GetStatsCall& call, uint64_t items) {
  call.response().set_items(items);
  co_return absl::OkStatus();
}

Task<absl::Status> Fail(GetStatsCall& call, absl::Status status) { co_return status; }

Task<absl::Status> CountBytes(EnqueueCall& call) {
  uint64_t bytes = 0;
  int messages = 0;
  while (true) {
    absl::StatusOr<std::optional<q::EnqueueRequest>> next = co_await call.Read();
    if (!next.ok()) co_return next.status();
    if (!next->has_value()) break;
    ++messages;
    bytes += (*next)->data().size();
  }
  call.response().set_queue_id(absl::StrCat(messages, "/", bytes));
  co_return absl::OkStatus();
}

Task<absl::Status> SendRevisions(WatchCall& call) {
  const uint64_t count = call.request().after_revision();
  for (uint64_t i = 1; i <= count; ++i) {
    dir::WatchResponse response;
    response.set_revision(i);
    response.add_changes()->set_name(std::string(1000, 'x'));
    PH_CO_RETURN_IF_ERROR(co_await call.Write(std::move(response)));
  }
  co_return absl::OkStatus();
}

// A change feed without changes: ends when the client goes away or the server drains.
Task<absl::Status> WatchForever(WatchCall& call, absl::Notification* started, absl::Notification* ended) {
  auto wakeup = std::make_shared<Wakeup>();
  call.OnCancel([wakeup] { wakeup->Signal(); });
  dir::WatchResponse response;
  response.set_revision(1);
  PH_CO_RETURN_IF_ERROR(co_await call.Write(std::move(response)));
  started->Notify();
  while (!call.cancelled()) co_await wakeup->WaitFor(absl::InfiniteDuration());
  ended->Notify();
  co_return absl::UnavailableError("no longer watched");
}

enum class Transport { kTcp, kInProcess };

class RpcTest : public ::testing::TestWithParam<Transport> {
 protected:
  RpcTest()
      : loops_(2),
        runner_(loops_, registry_),
        admin_(runner_, handlers_),
        queue_(runner_, handlers_),
        directory_(runner_, handlers_) {
    ServerOptions options;
    auto server = RpcServer::Start(options, {&admin_, &queue_, &directory_}, registry_);
    PH_CHECK(server.ok());
    server_ = *std::move(server);
    if (GetParam() == Transport::kTcp) {
      auto channel = Dial(absl::StrCat("127.0.0.1:", server_->port()), TlsFiles());
      PH_CHECK(channel.ok());
      channel_ = *std::move(channel);
    } else {
      channel_ = server_->InProcessChannel();
    }
    admin_stub_ = q::QueueAdminService::NewStub(channel_);
    queue_stub_ = q::QueueService::NewStub(channel_);
    directory_stub_ = dir::DirectoryService::NewStub(channel_);
  }
  ~RpcTest() override {
    // As an App does it: end the server before the loops that its handlers run on.
    server_.reset();
  }

  absl::StatusOr<q::GetStatsResponse> GetStats(const CallOptions& options = {}) {
    return SyncWait(Call<q::GetStatsResponse>(
        options, q::GetStatsRequest(), [this](auto* context, auto* request, auto* response, auto done) {
          admin_stub_->async()->GetStats(context, request, response, std::move(done));
        }));
  }
  ClientWriter<q::EnqueueRequest, q::EnqueueResponse> Enqueue(const CallOptions& options = {}) {
    return ClientWriter<q::EnqueueRequest, q::EnqueueResponse>(
        options, [this](auto* context, q::EnqueueResponse* response, auto* reactor) {
          queue_stub_->async()->Enqueue(context, response, reactor);
        });
  }
  ClientReader<dir::WatchRequest, dir::WatchResponse> Watch(uint64_t revisions, const CallOptions& options = {}) {
    dir::WatchRequest request;
    request.set_after_revision(revisions);
    return ClientReader<dir::WatchRequest, dir::WatchResponse>(
        options, request, [this](auto* context, const dir::WatchRequest* r, auto* reactor) {
          directory_stub_->async()->Watch(context, r, reactor);
        });
  }

  metrics::Registry registry_;
  net::EventLoops loops_;
  ServerRunner runner_;
  Handlers handlers_;
  AdminRpc admin_;
  QueueRpc queue_;
  DirectoryRpc directory_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<q::QueueAdminService::Stub> admin_stub_;
  std::unique_ptr<q::QueueService::Stub> queue_stub_;
  std::unique_ptr<dir::DirectoryService::Stub> directory_stub_;
};

q::EnqueueRequest Piece(size_t bytes) {
  q::EnqueueRequest request;
  request.set_data(std::string(bytes, 'x'));
  return request;
}

Task<absl::StatusOr<q::EnqueueResponse>> SendPieces(ClientWriter<q::EnqueueRequest, q::EnqueueResponse> writer,
                                                    int count, size_t bytes) {
  for (int i = 0; i < count; ++i) {
    const absl::Status status = co_await writer.Write(Piece(bytes));
    if (!status.ok()) break;
  }
  co_return co_await writer.Finish();
}

// Revisions read until the end, and the status at the end.
Task<std::pair<uint64_t, absl::Status>> ReadAll(ClientReader<dir::WatchRequest, dir::WatchResponse> reader) {
  uint64_t read = 0;
  while (true) {
    absl::StatusOr<std::optional<dir::WatchResponse>> next = co_await reader.Read();
    if (!next.ok()) co_return std::make_pair(read, next.status());
    if (!next->has_value()) co_return std::make_pair(read, absl::OkStatus());
    if ((*next)->revision() != read + 1) co_return std::make_pair(read, absl::DataLossError("out of order"));
    ++read;
  }
}

TEST_P(RpcTest, UnaryCallsAnswer) {
  handlers_.get_stats = [](GetStatsCall& call) { return AnswerItems(call, 42); };
  const auto response = GetStats();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->items(), 42u);
}

TEST_P(RpcTest, EveryStatusCodeAndItsMessageArrive) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status expected(static_cast<absl::StatusCode>(code), absl::StrCat("reason ", code));
    handlers_.get_stats = [expected](GetStatsCall& call) { return Fail(call, expected); };
    EXPECT_EQ(GetStats().status(), expected);
  }
}

TEST_P(RpcTest, HandlersGoOnOnAnEventLoopAfterTheyWaited) {
  std::atomic<Executor*> after{nullptr};
  static const auto handler = [](GetStatsCall& call, std::atomic<Executor*>* seen) -> Task<absl::Status> {
    co_await Sleep(absl::Milliseconds(1));
    seen->store(Executor::Current());
    co_return absl::OkStatus();
  };
  handlers_.get_stats = [&after](GetStatsCall& call) { return handler(call, &after); };
  ASSERT_TRUE(GetStats().ok());
  EXPECT_THAT(after.load(), ::testing::AnyOf(&loops_.at(0), &loops_.at(1)));
}

TEST_P(RpcTest, CallersResumeOnTheirExecutor) {
  handlers_.get_stats = [](GetStatsCall& call) { return AnswerItems(call, 1); };
  static const auto caller = [](net::EventLoop& loop, q::QueueAdminService::Stub* stub) -> Task<bool> {
    co_await SwitchTo(loop);
    const auto response = co_await Call<q::GetStatsResponse>(
        CallOptions(), q::GetStatsRequest(), [&](auto* context, auto* request, auto* resp, auto done) {
          stub->async()->GetStats(context, request, resp, std::move(done));
        });
    co_return response.ok() && Executor::Current() == &loop;
  };
  EXPECT_TRUE(SyncWait(caller(loops_.at(1), admin_stub_.get())));
}

TEST_P(RpcTest, DeadlinesEndCallsAndTheHandlerSeesIt) {
  absl::Notification cancelled;
  static const auto handler = [](GetStatsCall& call, absl::Notification* seen) -> Task<absl::Status> {
    while (!call.cancelled()) co_await Sleep(absl::Milliseconds(1));
    seen->Notify();
    co_return absl::OkStatus();
  };
  handlers_.get_stats = [&](GetStatsCall& call) { return handler(call, &cancelled); };
  CallOptions options;
  options.deadline = absl::Milliseconds(50);
  EXPECT_EQ(GetStats(options).status().code(), absl::StatusCode::kDeadlineExceeded);
  WaitFor(cancelled);
}

TEST_P(RpcTest, TheDeadlineTravels) {
  absl::Time deadline;
  handlers_.get_stats = [&](GetStatsCall& call) {
    deadline = call.info().deadline;
    return AnswerItems(call, 1);
  };
  CallOptions options;
  options.deadline = absl::Hours(1);
  const absl::Time before = absl::Now();
  ASSERT_TRUE(GetStats(options).ok());
  EXPECT_GT(deadline, before + absl::Minutes(59));
  EXPECT_LT(deadline, absl::Now() + absl::Minutes(61));
}

TEST_P(RpcTest, TheTraceTravels) {
  CallInfo info;
  handlers_.get_stats = [&](GetStatsCall& call) {
    info = call.info();
    return AnswerItems(call, 1);
  };
  CallOptions options;
  options.trace = TraceContext::New();
  ASSERT_TRUE(GetStats(options).ok());
  EXPECT_EQ(info.trace.trace_id, options.trace.trace_id);
  EXPECT_NE(info.trace.parent_id, options.trace.parent_id);
  // Without one, the server begins a trace.
  ASSERT_TRUE(GetStats().ok());
  EXPECT_EQ(info.trace.trace_id.size(), 32u);
  EXPECT_NE(info.trace.trace_id, options.trace.trace_id);
}

TEST_P(RpcTest, ClientStreamsAreReadToTheEnd) {
  handlers_.enqueue = [](EnqueueCall& call) { return CountBytes(call); };
  struct Case {
    int pieces;
    size_t bytes;
  };
  for (const Case& c : {Case{0, 0}, Case{1, 4096}, Case{2, 10}, Case{200, 65536}}) {
    const auto response = SyncWait(SendPieces(Enqueue(), c.pieces, c.bytes));
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->queue_id(), absl::StrCat(c.pieces, "/", c.pieces * c.bytes));
  }
}

TEST_P(RpcTest, AServerMayEndAClientStreamEarly) {
  static const auto handler = [](EnqueueCall& call) -> Task<absl::Status> {
    const auto first = co_await call.Read();
    if (!first.ok()) co_return first.status();
    co_return absl::ResourceExhaustedError("spool full");
  };
  handlers_.enqueue = [](EnqueueCall& call) { return handler(call); };
  // Far more than the transport buffers: the writer must notice, not wait for ever.
  const auto response = SyncWait(SendPieces(Enqueue(), 2000, 65536));
  EXPECT_EQ(response.status(), absl::ResourceExhaustedError("spool full"));
}

TEST_P(RpcTest, AWriterThatIsDroppedCancelsTheCall) {
  absl::Notification started;
  absl::Notification ended;
  absl::Status seen;
  static const auto handler = [](EnqueueCall& call, absl::Notification* here, absl::Status* out,
                                 absl::Notification* done) -> Task<absl::Status> {
    here->Notify();
    *out = co_await CountBytes(call);
    done->Notify();
    co_return *out;
  };
  handlers_.enqueue = [&](EnqueueCall& call) { return handler(call, &started, &seen, &ended); };
  static const auto write_two = [](auto& writer) -> Task<absl::Status> {
    PH_CO_RETURN_IF_ERROR(co_await writer.Write(Piece(10)));
    co_return co_await writer.Write(Piece(10));  // the first is on its way now
  };
  {
    auto writer = Enqueue();
    EXPECT_TRUE(SyncWait(write_two(writer)).ok());
    WaitFor(started);
  }
  WaitFor(ended);
  EXPECT_EQ(seen.code(), absl::StatusCode::kCancelled);
}

// Nothing leaks (the sanitizer builds see it) and no handler runs.
TEST_P(RpcTest, AWriterThatNeverWroteMayBeDropped) {
  std::atomic<int> ran{0};
  handlers_.enqueue = [&](EnqueueCall& call) {
    ++ran;
    return CountBytes(call);
  };
  {
    auto unused = Enqueue();
  }
  server_.reset();
  EXPECT_EQ(ran, 0);
}

TEST_P(RpcTest, ServerStreamsAreReadToTheEnd) {
  handlers_.watch = [](WatchCall& call) { return SendRevisions(call); };
  for (const uint64_t count : {0u, 1u, 2u, 3u, 2000u}) {
    const auto [read, status] = SyncWait(ReadAll(Watch(count)));
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(read, count);
  }
}

TEST_P(RpcTest, AnErrorAfterMessagesArrivesAfterThem) {
  static const auto handler = [](WatchCall& call) -> Task<absl::Status> {
    PH_CO_RETURN_IF_ERROR(co_await SendRevisions(call));
    co_return absl::OutOfRangeError("log too short");
  };
  handlers_.watch = [](WatchCall& call) { return handler(call); };
  const auto [read, status] = SyncWait(ReadAll(Watch(10)));
  EXPECT_EQ(read, 10u);
  EXPECT_EQ(status, absl::OutOfRangeError("log too short"));
}

TEST_P(RpcTest, CancelEndsAPendingRead) {
  absl::Notification started;
  absl::Notification ended;
  handlers_.watch = [&](WatchCall& call) { return WatchForever(call, &started, &ended); };
  CallOptions options;
  options.deadline = absl::InfiniteDuration();
  auto reader = Watch(0, options);
  absl::Notification read_one;
  std::thread canceller([&] {
    WaitFor(read_one);
    reader.Cancel();
  });
  static const auto read_twice = [](auto& r, absl::Notification* one) -> Task<absl::Status> {
    const auto first = co_await r.Read();
    if (!first.ok() || !first->has_value()) co_return absl::InternalError("no first message");
    one->Notify();
    co_return (co_await r.Read()).status();
  };
  EXPECT_EQ(SyncWait(read_twice(reader, &read_one)).code(), absl::StatusCode::kCancelled);
  canceller.join();
  WaitFor(ended);
  // A reader that ended stays ended.
  static const auto read_once = [](auto& r) -> Task<absl::Status> { co_return (co_await r.Read()).status(); };
  EXPECT_EQ(SyncWait(read_once(reader)).code(), absl::StatusCode::kCancelled);
}

TEST_P(RpcTest, AReaderThatIsDroppedCancelsTheCall) {
  absl::Notification started;
  absl::Notification ended;
  handlers_.watch = [&](WatchCall& call) { return WatchForever(call, &started, &ended); };
  {
    auto reader = Watch(0);
    ASSERT_TRUE(started.WaitForNotificationWithTimeout(absl::Seconds(30)));
  }
  EXPECT_TRUE(ended.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

TEST_P(RpcTest, DrainEndsChangeFeedsAndShutdownWaitsForTheRest) {
  absl::Notification started;
  absl::Notification ended;
  handlers_.watch = [&](WatchCall& call) { return WatchForever(call, &started, &ended); };
  absl::Notification running;
  absl::Notification go_on;
  static const auto handler = [](GetStatsCall& call, absl::Notification* here,
                                 absl::Notification* wait) -> Task<absl::Status> {
    here->Notify();
    while (!wait->HasBeenNotified()) co_await Sleep(absl::Milliseconds(1));
    co_return co_await AnswerItems(call, 7);
  };
  handlers_.get_stats = [&](GetStatsCall& call) { return handler(call, &running, &go_on); };
  absl::Status watch_status;
  std::thread watcher([&] { watch_status = SyncWait(ReadAll(Watch(0))).second; });
  absl::StatusOr<q::GetStatsResponse> stats;
  std::thread caller([&] { stats = GetStats(); });
  WaitFor(started);
  WaitFor(running);
  std::thread stopper([&] {
    runner_.BeginDrain();
    server_->Shutdown(absl::Minutes(1));
  });
  watcher.join();
  EXPECT_EQ(watch_status, absl::UnavailableError("no longer watched"));
  go_on.Notify();
  stopper.join();
  caller.join();
  ASSERT_TRUE(stats.ok()) << stats.status();  // what ran was finished
  EXPECT_EQ(stats->items(), 7u);
  if (GetParam() == Transport::kTcp) EXPECT_EQ(GetStats().status().code(), absl::StatusCode::kUnavailable);
}

TEST_P(RpcTest, ShutdownCancelsWhatDoesNotEndInTime) {
  absl::Notification started;
  absl::Notification ended;
  handlers_.watch = [&](WatchCall& call) { return WatchForever(call, &started, &ended); };
  absl::Status status;
  std::thread watcher([&] { status = SyncWait(ReadAll(Watch(0))).second; });
  WaitFor(started);
  server_->Shutdown(absl::Milliseconds(10));
  server_.reset();
  EXPECT_TRUE(ended.HasBeenNotified());  // a server is gone when its handlers are
  watcher.join();
  EXPECT_FALSE(status.ok());
}

TEST_P(RpcTest, CallsAreCountedByMethodAndCode) {
  handlers_.get_stats = [](GetStatsCall& call) { return AnswerItems(call, 42); };
  ASSERT_TRUE(GetStats().ok());
  ASSERT_TRUE(GetStats().ok());
  handlers_.get_stats = [](GetStatsCall& call) { return Fail(call, absl::NotFoundError("no")); };
  ASSERT_FALSE(GetStats().ok());
  handlers_.enqueue = [](EnqueueCall& call) { return CountBytes(call); };
  ASSERT_TRUE(SyncWait(SendPieces(Enqueue(), 2, 2)).ok());
  const std::string text = registry_.Serialize();
  const std::string get_stats = "grpc_method=\"GetStats\",grpc_service=\"posthouse.queue.v1.QueueAdminService\"";
  EXPECT_THAT(text, HasSubstr("grpc_server_handled_total{grpc_code=\"OK\"," + get_stats + "} 2\n"));
  EXPECT_THAT(text, HasSubstr("grpc_server_handled_total{grpc_code=\"NotFound\"," + get_stats + "} 1\n"));
  EXPECT_THAT(text, HasSubstr("grpc_server_handling_seconds_count{" + get_stats + "} 3\n"));
  EXPECT_THAT(
      text,
      HasSubstr("grpc_code=\"OK\",grpc_method=\"Enqueue\",grpc_service=\"posthouse.queue.v1.QueueService\"} 1\n"));
}

TEST_P(RpcTest, ManyCallsAtOnce) {
  static const auto handler = [](GetStatsCall& call) -> Task<absl::Status> {
    co_await Sleep(absl::Microseconds(100));
    co_return co_await AnswerItems(call, 3);
  };
  handlers_.get_stats = [](GetStatsCall& call) { return handler(call); };
  static const auto one = [](net::EventLoop& loop, q::QueueAdminService::Stub* stub) -> Task<bool> {
    co_await SwitchTo(loop);
    const auto response = co_await Call<q::GetStatsResponse>(
        CallOptions(), q::GetStatsRequest(), [&](auto* context, auto* request, auto* resp, auto done) {
          stub->async()->GetStats(context, request, resp, std::move(done));
        });
    co_return response.ok() && response->items() == 3;
  };
  std::vector<Task<bool>> calls;
  for (int i = 0; i < 500; ++i) calls.push_back(one(loops_.Next(), admin_stub_.get()));
  for (const bool ok : SyncWait(WhenAll(std::move(calls)))) EXPECT_TRUE(ok);
}

INSTANTIATE_TEST_SUITE_P(Transports, RpcTest, ::testing::Values(Transport::kTcp, Transport::kInProcess),
                         [](const auto& info) { return info.param == Transport::kTcp ? "Tcp" : "InProcess"; });

TEST(ClientTest, AServerThatIsNotThereIsUnavailable) {
  const auto channel = Dial("127.0.0.1:1", TlsFiles());
  ASSERT_TRUE(channel.ok());
  const auto stub = q::QueueAdminService::NewStub(*channel);
  const auto response = SyncWait(Call<q::GetStatsResponse>(
      CallOptions(), q::GetStatsRequest(), [&](auto* context, auto* request, auto* resp, auto done) {
        stub->async()->GetStats(context, request, resp, std::move(done));
      }));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace posthouse::rpc
