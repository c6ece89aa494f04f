// The directory's two gRPC services over Admin, Authenticator and Records. Maps
// requests to calls and answers to responses; decides nothing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "services/common/metrics/metrics.h"

namespace grpc {
class Service;
}
namespace posthouse::net {
class EventLoops;
}

namespace posthouse::directory {

class Admin;
class Authenticator;
class Records;
struct Metrics;

class GrpcService {
 public:
  virtual ~GrpcService() = default;
  // DirectoryService and DirectoryAdminService.
  virtual std::vector<grpc::Service*> services() = 0;
  // Ends change streams, so that a drain does not wait for them.
  virtual void BeginDrain() = 0;

  // All outlive the service.
  static std::unique_ptr<GrpcService> Create(net::EventLoops& loops, metrics::Registry& registry, Records& records,
                                             Admin& admin, Authenticator& authenticator, Metrics& metrics,
                                             std::string hostname);
};

}  // namespace posthouse::directory
