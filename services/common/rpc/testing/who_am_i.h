// WhoAmI: a service for tests of who may call. Its GetItem answers with the caller's name.
#pragma once

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/async/task.h"
#include "services/common/rpc/streaming.h"

namespace posthouse::rpc {

class WhoAmI final : public queue::v1::QueueAdminService::CallbackService {
 public:
  explicit WhoAmI(ServerRunner& runner) : runner_(runner) {}
  grpc::ServerUnaryReactor* GetItem(grpc::CallbackServerContext* context, const queue::v1::GetItemRequest* request,
                                    queue::v1::GetItemResponse* response) override {
    return Unary(runner_, context, request, response, [](auto& call) { return Answer(call); });
  }

 private:
  static Task<absl::Status> Answer(UnaryCall<queue::v1::GetItemRequest, queue::v1::GetItemResponse>& call) {
    call.response().set_header(call.info().peer);
    co_return absl::OkStatus();
  }
  ServerRunner& runner_;
};

}  // namespace posthouse::rpc
