// The directory's gRPC services, DirectoryService and DirectoryAdminService, over
// Admin, Authenticator and Repository: requests to calls, answers to responses.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace grpc {
class Service;
}
namespace posthouse::rpc {
class ServerRunner;
}

namespace posthouse::directory {

class Admin;
class Authenticator;
class Repository;
struct Metrics;

// All arguments outlive the services.
std::vector<std::shared_ptr<grpc::Service>> NewGrpcServices(rpc::ServerRunner& runner, Repository& repository,
                                                            Admin& admin, Authenticator& authenticator,
                                                            Metrics& metrics, std::string hostname);

}  // namespace posthouse::directory
