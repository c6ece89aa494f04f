#include "services/routing/client.h"

#include <utility>

#include "posthouse/routing/v1/routing.grpc.pb.h"
#include "services/common/rpc/client.h"

namespace posthouse::routing {
namespace {

rpc::CallOptions Options(absl::Duration deadline, const std::string& trace_id) {
  rpc::CallOptions options;
  options.deadline = deadline;
  if (!trace_id.empty()) {
    options.trace = rpc::TraceContext::New();
    options.trace.trace_id = trace_id;
  }
  return options;
}

}  // namespace

struct Client::Impl {
  explicit Impl(const std::shared_ptr<grpc::Channel>& channel) : stub(v1::RoutingService::NewStub(channel)) {}
  const std::unique_ptr<v1::RoutingService::Stub> stub;
};

Client::Client(std::shared_ptr<grpc::Channel> channel) : impl_(std::make_shared<Impl>(channel)) {}
Client::~Client() = default;

Task<absl::StatusOr<v1::ResolveRecipientResponse>> Client::ResolveRecipient(std::string address, bool may_relay,
                                                                            absl::Duration deadline,
                                                                            std::string trace_id) {
  v1::ResolveRecipientRequest request;
  request.set_address(std::move(address));
  request.set_may_relay(may_relay);
  const std::shared_ptr<Impl> impl = impl_;
  co_return co_await rpc::Call<v1::ResolveRecipientResponse>(
      Options(deadline, trace_id), std::move(request), [&impl](auto* context, auto* req, auto* resp, auto done) {
        impl->stub->async()->ResolveRecipient(context, req, resp, std::move(done));
      });
}

Task<absl::StatusOr<v1::ResolveDestinationResponse>> Client::ResolveDestination(std::string domain,
                                                                                absl::Duration deadline,
                                                                                std::string trace_id) {
  v1::ResolveDestinationRequest request;
  request.set_domain(std::move(domain));
  const std::shared_ptr<Impl> impl = impl_;
  co_return co_await rpc::Call<v1::ResolveDestinationResponse>(
      Options(deadline, trace_id), std::move(request), [&impl](auto* context, auto* req, auto* resp, auto done) {
        impl->stub->async()->ResolveDestination(context, req, resp, std::move(done));
      });
}

}  // namespace posthouse::routing
