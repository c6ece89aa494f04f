#include "services/ingress/admin_service.h"

#include <algorithm>
#include <utility>

#include "posthouse/ingress/v1/ingress.grpc.pb.h"
#include "services/common/rpc/streaming.h"
#include "services/common/time/proto_time.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::ingress {
namespace {

constexpr size_t kDefaultLimit = 20, kMaxLimit = 1000;

void ToProto(const Refusal& from, v1::Refusal* to) {
  posthouse::ToProto(from.at, to->mutable_at());
  to->set_stage(StageName(from.stage));
  to->set_reason(ReasonName(from.reason));
  to->set_port(from.port);
  to->set_client_address(from.client);
  to->set_helo(from.helo);
  to->set_reverse_path(from.from);
  for (const std::string& address : from.to) to->add_recipients(address);
  to->set_login(from.login);
  to->set_reply(from.reply);
  to->set_error(ReplaceInvalidUtf8(from.error));
  to->set_trace_id(from.trace_id);
}

class AdminService final : public v1::IngressAdminService::CallbackService {
 public:
  AdminService(rpc::ServerRunner& runner, std::shared_ptr<const Refusals> refusals)
      : runner_(runner), refusals_(std::move(refusals)) {}

  grpc::ServerUnaryReactor* FindRefusals(grpc::CallbackServerContext* context, const v1::FindRefusalsRequest* request,
                                         v1::FindRefusalsResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return Find(call); });
  }

 private:
  Task<absl::Status> Find(rpc::UnaryCall<v1::FindRefusalsRequest, v1::FindRefusalsResponse>& call) {
    const v1::FindRefusalsRequest& request = call.request();
    RefusalQuery query;
    query.limit = request.limit() == 0 ? kDefaultLimit : std::min<size_t>(request.limit(), kMaxLimit);
    switch (request.by_case()) {
      case v1::FindRefusalsRequest::kAddress:
        query.text = request.address();
        break;
      case v1::FindRefusalsRequest::kTraceId:
        query.by = RefusalQuery::By::kTraceId;
        query.text = request.trace_id();
        break;
      case v1::FindRefusalsRequest::kClientAddress:
        query.by = RefusalQuery::By::kClient;
        query.text = request.client_address();
        break;
      case v1::FindRefusalsRequest::BY_NOT_SET:
        co_return absl::InvalidArgumentError("by: one of address, trace_id, client_address");
    }
    for (const Refusal& refusal : refusals_->Find(query)) ToProto(refusal, call.response().add_refusals());
    call.response().set_remembered(refusals_->remembered());
    posthouse::ToProto(refusals_->started(), call.response().mutable_started());
    co_return absl::OkStatus();
  }

  rpc::ServerRunner& runner_;
  const std::shared_ptr<const Refusals> refusals_;
};

}  // namespace

std::shared_ptr<grpc::Service> NewAdminService(rpc::ServerRunner& runner, std::shared_ptr<const Refusals> refusals) {
  return std::make_shared<AdminService>(runner, std::move(refusals));
}

}  // namespace posthouse::ingress
