// The gRPC service of routing: requests to calls, answers to responses.
// Threads: any.
#pragma once

#include <memory>
#include <vector>

namespace grpc {
class Service;
}
namespace posthouse::rpc {
class ServerRunner;
}

namespace posthouse::routing {

class Metrics;
class MxLookup;
class RecipientResolver;

// All arguments outlive the services.
std::vector<std::shared_ptr<grpc::Service>> NewGrpcServices(rpc::ServerRunner& runner, RecipientResolver& recipients,
                                                            MxLookup& destinations, Metrics& metrics);

}  // namespace posthouse::routing
