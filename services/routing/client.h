// Routing as other services see it. No gRPC in this header.
//
// Threads: any. Errors: kUnavailable and kDeadlineExceeded when it cannot be
// reached; every other answer, also "temporary", is an outcome in the response.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/async/task.h"

namespace grpc {
class Channel;
}

namespace posthouse::routing {

class Client {
 public:
  explicit Client(std::shared_ptr<grpc::Channel> channel);
  ~Client();

  // `trace_id`: 32 hex digits or "".
  Task<absl::StatusOr<v1::ResolveRecipientResponse>> ResolveRecipient(std::string address, bool may_relay,
                                                                      absl::Duration deadline,
                                                                      std::string trace_id = "");
  Task<absl::StatusOr<v1::ResolveDestinationResponse>> ResolveDestination(std::string domain, absl::Duration deadline,
                                                                          std::string trace_id = "");

 private:
  struct Impl;
  const std::shared_ptr<Impl> impl_;
};

}  // namespace posthouse::routing
