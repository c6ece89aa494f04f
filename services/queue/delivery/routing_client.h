// Routing: the queue's view of RoutingService, with its answers about destinations
// cached for as long as they may be. Threads: any.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/queue/spool/spool.h"

namespace grpc {
class Channel;
}
namespace posthouse::routing::v1 {
class ResolveDestinationResponse;
class ResolveRecipientResponse;
}  // namespace posthouse::routing::v1

namespace posthouse::queue {

class Routing {
 public:
  virtual ~Routing() = default;
  // Hosts of a domain. An error is temporary.
  virtual Task<absl::StatusOr<std::shared_ptr<const routing::v1::ResolveDestinationResponse>>> ResolveDestination(
      std::string domain) = 0;
  // Where an address of ours to write to goes (a bounce's sender, a redirect): mail
  // that this system sends itself may go anywhere.
  virtual Task<absl::StatusOr<routing::v1::ResolveRecipientResponse>> ResolveRecipient(std::string address) = 0;
};

std::unique_ptr<Routing> NewRouting(std::shared_ptr<grpc::Channel> channel, Clock clock);

}  // namespace posthouse::queue
