#include "tests/conformance/failing_calls.h"

#include <grpcpp/support/client_interceptor.h>

#include <utility>

namespace posthouse::conformance {
namespace {

using grpc::experimental::InterceptionHookPoints;

// Of one call. The call is cancelled at the right moment; its status is exchanged on the way back.
class Failing final : public grpc::experimental::Interceptor {
 public:
  Failing(grpc::experimental::ClientRpcInfo* info, FailingCalls::Rule rule) : info_(info), rule_(std::move(rule)) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    const bool client_streams = info_->type() == grpc::experimental::ClientRpcInfo::Type::CLIENT_STREAMING;
    const bool begins = methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA);
    const bool passes = methods->QueryInterceptionHookPoint(client_streams ? InterceptionHookPoints::POST_SEND_MESSAGE
                                                                           : InterceptionHookPoints::POST_RECV_MESSAGE);
    if (passes) ++passed_;
    if (!rule_.answer_lost && (begins || passes) && passed_ == rule_.messages) info_->client_context()->TryCancel();
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_STATUS)) {
      *methods->GetRecvStatus() = grpc::Status(rule_.code, "failed by the test");
    }
    methods->Proceed();
  }

 private:
  grpc::experimental::ClientRpcInfo* const info_;
  const FailingCalls::Rule rule_;
  int passed_ = 0;
};

class Factory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit Factory(FailingCalls& calls) : calls_(calls) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo* info) override {
    const std::string path = info->method();  // "/posthouse.mailbox.v1.MailboxService/Fetch"
    std::optional<FailingCalls::Rule> rule = calls_.Next(path.substr(path.rfind('/') + 1));
    return rule.has_value() ? new Failing(info, *std::move(rule)) : nullptr;
  }

 private:
  FailingCalls& calls_;
};

}  // namespace

std::shared_ptr<grpc::Channel> FailingCalls::ChannelTo(grpc::Server& server) {
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<Factory>(*this));
  return server.experimental().InProcessChannelWithInterceptors({}, std::move(factories));
}

void FailingCalls::Fail(Rule rule) {
  absl::MutexLock lock(&mutex_);
  rules_.push_back(std::move(rule));
}

std::optional<FailingCalls::Rule> FailingCalls::Next(const std::string& method) {
  absl::MutexLock lock(&mutex_);
  for (auto rule = rules_.begin(); rule != rules_.end(); ++rule) {
    if (rule->method != method) continue;
    Rule found = *rule;
    if (--rule->times == 0) rules_.erase(rule);
    return found;
  }
  return std::nullopt;
}

}  // namespace posthouse::conformance
