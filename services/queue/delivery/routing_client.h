// Routing: asks RoutingService, and caches its answers about destinations for the time that
// they allow, at most five minutes. It keeps an answer without hosts, and an error, for a few
// seconds: the scheduler asks for a domain's site, and the attempt then for its hosts. Threads: any.
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

// `traceparent`: of the message that the question is for (W3C Trace Context); "": of none.
class Routing {
 public:
  virtual ~Routing() = default;
  // The hosts of a domain. An error is temporary.
  virtual Task<absl::StatusOr<std::shared_ptr<const routing::v1::ResolveDestinationResponse>>> ResolveDestination(
      std::string domain, std::string traceparent) = 0;
  // The destination of an address that this system itself sends to (the sender of a failed
  // message); so routing may relay to any domain.
  virtual Task<absl::StatusOr<routing::v1::ResolveRecipientResponse>> ResolveRecipient(std::string address,
                                                                                       std::string traceparent) = 0;
  // The recipients of an address that was one of ours when its message was accepted. It is not relayed: when
  // its domain is no longer ours, the answer is OUTCOME_RELAY_DENIED.
  virtual Task<absl::StatusOr<routing::v1::ResolveRecipientResponse>> ResolveLocal(std::string address,
                                                                                   std::string traceparent) = 0;
};

// `clock` never steps.
std::unique_ptr<Routing> NewRouting(std::shared_ptr<grpc::Channel> channel, Clock clock);

}  // namespace posthouse::queue
