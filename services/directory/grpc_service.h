// The directory's gRPC services, DirectoryService and DirectoryAdminService, over
// Admin, Authenticator and Repository: requests to calls, answers to responses.
// Threads: any. Errors: the Status of the part that was called, code for code.
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
