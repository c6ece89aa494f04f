// The gRPC service SessionsService (protos/posthouse/sessions/v1/sessions.proto): lists and ends the sessions of all
// registries of a process. A process has one: gateway and ingress each of its own, standalone one for both.
#pragma once

#include <memory>
#include <vector>

namespace grpc {
class Service;
}

namespace posthouse {

class LiveSessions;
namespace rpc {
class ServerRunner;
}

// `runner` and `registries` outlive the service.
std::shared_ptr<grpc::Service> NewSessionsService(rpc::ServerRunner& runner, std::vector<LiveSessions*> registries);

}  // namespace posthouse
