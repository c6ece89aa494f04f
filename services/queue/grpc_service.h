// The queue's gRPC services: QueueService and QueueAdminService. Threads: any.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/queue/metrics.h"
#include "services/queue/schedule/dispatcher.h"
#include "services/queue/spool/spool.h"

namespace grpc {
class Service;
}
namespace posthouse::net {
class EventLoops;
}
namespace posthouse::rpc {
class ServerRunner;
}

namespace posthouse::queue {

// What the services call. All parts outlive them.
struct ServiceParts {
  net::EventLoops& loops;
  Spool& spool;
  std::shared_ptr<Dispatcher> dispatcher;
  Metrics& metrics;
  Clock clock;
  absl::Duration expire_after;
  absl::Duration delay_warning_after;
  // OK while the queue accepts messages; else Enqueue answers this.
  std::function<absl::Status()> accepting;
  std::function<absl::Duration()> oldest;
};

// What `parts` refers to outlives the services.
std::vector<std::shared_ptr<grpc::Service>> NewGrpcServices(rpc::ServerRunner& runner, const ServiceParts& parts);

}  // namespace posthouse::queue
