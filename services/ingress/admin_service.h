// The gRPC service IngressAdminService (protos/posthouse/ingress/v1/ingress.proto).
// Threads: any.
#pragma once

#include <memory>

#include "services/ingress/refusals.h"

namespace grpc {
class Service;
}
namespace posthouse::rpc {
class ServerRunner;
}

namespace posthouse::ingress {

// `runner` outlives the service.
std::shared_ptr<grpc::Service> NewAdminService(rpc::ServerRunner& runner, std::shared_ptr<const Refusals> refusals);

}  // namespace posthouse::ingress
