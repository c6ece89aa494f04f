#include "services/common/tracing/testing/fake_collector.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"

namespace posthouse::tracing {

namespace collector = opentelemetry::proto::collector::trace::v1;

class FakeCollector::Service final : public collector::TraceService::Service {
 public:
  grpc::Status Export(grpc::ServerContext*, const collector::ExportTraceServiceRequest* request,
                      collector::ExportTraceServiceResponse* response) override {
    absl::MutexLock lock(&mutex);
    if (const int code = std::exchange(fail_next, 0); code != 0) {
      return grpc::Status(static_cast<grpc::StatusCode>(code), "told to fail");
    }
    response->mutable_partial_success()->set_rejected_spans(std::exchange(reject_next, 0));
    for (const auto& resource_spans : request->resource_spans()) {
      resource.clear();
      for (const auto& attribute : resource_spans.resource().attributes()) {
        resource.push_back(absl::StrCat(attribute.key(), "=", attribute.value().string_value()));
      }
      for (const auto& scope : resource_spans.scope_spans()) {
        spans.insert(spans.end(), scope.spans().begin(), scope.spans().end());
      }
    }
    return grpc::Status::OK;
  }

  absl::Mutex mutex;
  Spans spans ABSL_GUARDED_BY(mutex);
  std::vector<std::string> resource ABSL_GUARDED_BY(mutex);
  int fail_next ABSL_GUARDED_BY(mutex) = 0;
  int reject_next ABSL_GUARDED_BY(mutex) = 0;
};

struct FakeCollector::State {
  Service service;
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

FakeCollector::FakeCollector() : state_(std::make_unique<State>()) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &state_->port);
  builder.RegisterService(&state_->service);
  state_->server = builder.BuildAndStart();
}

FakeCollector::~FakeCollector() { state_->server->Shutdown(); }

std::string FakeCollector::endpoint() const { return absl::StrCat("127.0.0.1:", state_->port); }

void FakeCollector::FailNext(int code) {
  absl::MutexLock lock(&state_->service.mutex);
  state_->service.fail_next = code;
}

void FakeCollector::RejectNext(int spans) {
  absl::MutexLock lock(&state_->service.mutex);
  state_->service.reject_next = spans;
}

FakeCollector::Spans FakeCollector::spans() const {
  absl::MutexLock lock(&state_->service.mutex);
  return state_->service.spans;
}

std::vector<std::string> FakeCollector::resource() const {
  absl::MutexLock lock(&state_->service.mutex);
  return state_->service.resource;
}

bool FakeCollector::WaitFor(const std::function<bool(const Spans&)>& enough, absl::Duration patience) const {
  Service& service = state_->service;
  const auto there = [&]() ABSL_SHARED_LOCKS_REQUIRED(service.mutex) { return enough(service.spans); };
  absl::MutexLock lock(&service.mutex);
  return service.mutex.AwaitWithTimeout(absl::Condition(&there), patience);
}

}  // namespace posthouse::tracing
