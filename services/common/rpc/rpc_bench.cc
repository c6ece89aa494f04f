// Measures a call: latency and CPU, per transport. Run by hand:
//   bazel run //services/common/rpc:rpc_bench
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/async/when_all.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/server.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {
namespace {

namespace q = queue::v1;

class Service final : public q::QueueAdminService::CallbackService {
 public:
  explicit Service(ServerRunner& runner) : runner_(runner) {}
  grpc::ServerUnaryReactor* GetStats(grpc::CallbackServerContext* context, const q::GetStatsRequest* request,
                                     q::GetStatsResponse* response) override {
    return Unary(runner_, context, request, response, [](auto& call) { return Answer(call); });
  }

 private:
  static Task<absl::Status> Answer(UnaryCall<q::GetStatsRequest, q::GetStatsResponse>& call) {
    call.response().set_items(1);
    co_return absl::OkStatus();
  }
  ServerRunner& runner_;
};

class Enqueuer final : public q::QueueService::CallbackService {
 public:
  explicit Enqueuer(ServerRunner& runner) : runner_(runner) {}
  grpc::ServerReadReactor<q::EnqueueRequest>* Enqueue(grpc::CallbackServerContext* context,
                                                      q::EnqueueResponse* response) override {
    return ClientStreaming<q::EnqueueRequest>(runner_, context, response, [](auto& call) { return Answer(call); });
  }

 private:
  static Task<absl::Status> Answer(ReaderCall<q::EnqueueRequest, q::EnqueueResponse>& call) {
    const auto first = co_await call.Read();
    co_return first.status();
  }
  ServerRunner& runner_;
};

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Task<int> Caller(net::EventLoop& loop, q::QueueAdminService::Stub* stub, int calls) {
  co_await SwitchTo(loop);
  for (int i = 0; i < calls; ++i) {
    const auto response = co_await Call<q::GetStatsResponse>(
        CallOptions(), q::GetStatsRequest(), [&](auto* context, auto* request, auto* resp, auto done) {
          stub->async()->GetStats(context, request, resp, std::move(done));
        });
    PH_CHECK(response.ok());
  }
  co_return calls;
}

Task<int> Sender(net::EventLoop& loop, q::QueueService::Stub* stub, int calls) {
  co_await SwitchTo(loop);
  for (int i = 0; i < calls; ++i) {
    ClientWriter<q::EnqueueRequest, q::EnqueueResponse> writer(
        CallOptions(), [&](auto* context, q::EnqueueResponse* response, auto* reactor) {
          stub->async()->Enqueue(context, response, reactor);
        });
    q::EnqueueRequest request;
    request.set_data(std::string(4096, 'x'));
    PH_CHECK((co_await writer.Write(std::move(request))).ok());
    PH_CHECK((co_await writer.Finish()).ok());
  }
  co_return calls;
}

template <typename Start>
void Measure(const std::string& name, int sessions, int calls, Start start) {
  std::vector<Task<int>> tasks;
  for (int i = 0; i < sessions; ++i) tasks.push_back(start(calls / sessions));
  const double cpu = CpuSeconds();
  const absl::Time began = absl::Now();
  int done = 0;
  for (const int n : SyncWait(WhenAll(std::move(tasks)))) done += n;
  const double wall = absl::ToDoubleSeconds(absl::Now() - began);
  std::printf("%-28s %3d sessions: %6.1f us latency, %6.1f us CPU, %8.0f calls/s\n", name.c_str(), sessions,
              1e6 * wall * sessions / done, 1e6 * (CpuSeconds() - cpu) / done, done / wall);
}

int Run() {
  metrics::Registry registry;
  net::EventLoops loops(2);
  ServerRunner runner(loops, registry);
  Service service(runner);
  Enqueuer enqueuer(runner);
  const auto server = RpcServer::Start(ServerOptions(), {&service, &enqueuer}, registry);
  PH_CHECK(server.ok());
  const std::vector<std::pair<std::string, std::shared_ptr<grpc::Channel>>> channels = {
      {"in-process", (*server)->InProcessChannel()},
      {"tcp", *Dial(absl::StrCat("127.0.0.1:", (*server)->port()), TlsFiles())}};
  for (const auto& [name, channel] : channels) {
    const auto admin = q::QueueAdminService::NewStub(channel);
    const auto queue = q::QueueService::NewStub(channel);
    for (const int sessions : {1, 20}) {
      Measure(name + " unary", sessions, 20000, [&](int n) { return Caller(loops.Next(), admin.get(), n); });
      Measure(name + " enqueue 4 KiB", sessions, 20000, [&](int n) { return Sender(loops.Next(), queue.get(), n); });
    }
  }
  (*server)->Shutdown(absl::Seconds(1));
  return 0;
}

}  // namespace
}  // namespace posthouse::rpc

int main() { return posthouse::rpc::Run(); }
