#include "services/routing/grpc_service.h"

#include "posthouse/routing/v1/routing.grpc.pb.h"
#include "services/common/log/log.h"
#include "services/common/rpc/server_calls.h"
#include "services/routing/metrics.h"
#include "services/routing/mx_lookup.h"
#include "services/routing/recipient_resolver.h"

namespace posthouse::routing {
namespace {

class RoutingRpc final : public v1::RoutingService::CallbackService {
 public:
  RoutingRpc(rpc::ServerRunner& runner, RecipientResolver& recipients, MxLookup& destinations, Metrics& metrics)
      : runner_(runner), recipients_(recipients), destinations_(destinations), metrics_(metrics) {}

  grpc::ServerUnaryReactor* ResolveRecipient(grpc::CallbackServerContext* context,
                                             const v1::ResolveRecipientRequest* request,
                                             v1::ResolveRecipientResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return DoRecipient(call); });
  }
  grpc::ServerUnaryReactor* ResolveDestination(grpc::CallbackServerContext* context,
                                               const v1::ResolveDestinationRequest* request,
                                               v1::ResolveDestinationResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return DoDestination(call); });
  }

 private:
  Task<absl::Status> DoRecipient(rpc::UnaryCall<v1::ResolveRecipientRequest, v1::ResolveRecipientResponse>& call) {
    call.response() = co_await recipients_.Resolve(call.request(), call.info().trace.ToHeader());
    metrics_.Recipient(call.response().outcome());
    co_return absl::OkStatus();
  }
  Task<absl::Status> DoDestination(
      rpc::UnaryCall<v1::ResolveDestinationRequest, v1::ResolveDestinationResponse>& call) {
    call.response() = co_await destinations_.Resolve(call.request().domain());
    metrics_.Destination(call.response().outcome());
    if (call.response().outcome() == v1::ResolveDestinationResponse::OUTCOME_TEMPORARY) {
      LOG_EVENT(kInfo, "destination_unknown")
          .Str("domain", call.request().domain())
          .Str("detail", call.response().detail())
          .Trace(call.info().trace.trace_id);
    }
    if (call.response().outcome() == v1::ResolveDestinationResponse::OUTCOME_PRIVATE) {
      LOG_EVENT(kWarning, "destination_private")
          .Str("domain", call.request().domain())
          .Str("detail", call.response().detail())
          .Trace(call.info().trace.trace_id);
    }
    co_return absl::OkStatus();
  }

  rpc::ServerRunner& runner_;
  RecipientResolver& recipients_;
  MxLookup& destinations_;
  Metrics& metrics_;
};

}  // namespace

std::vector<std::shared_ptr<grpc::Service>> NewGrpcServices(rpc::ServerRunner& runner, RecipientResolver& recipients,
                                                            MxLookup& destinations, Metrics& metrics) {
  std::vector<std::shared_ptr<grpc::Service>> services;
  services.push_back(std::make_shared<RoutingRpc>(runner, recipients, destinations, metrics));
  return services;
}

}  // namespace posthouse::routing
