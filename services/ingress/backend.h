// Backend: what SMTP sessions ask of routing and directory, without gRPC.
//
// Nothing is retried here: what fails for now is told to the client, who retries.
// Threads: any; a call resumes on its caller's executor. Outlives its calls.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/common/rpc/channels.h"
#include "services/common/rpc/trace.h"
#include "services/ingress/envelope.h"

namespace posthouse::ingress {

struct LoginRequest {
  std::string username, password;
  std::string client_address;
  bool tls = false;
};

class Backend {
 public:
  // `cache_entries`: recipients remembered for as long as routing allows.
  static std::unique_ptr<Backend> Create(const rpc::Channels& channels, size_t cache_entries);
  virtual ~Backend() = default;

  // Never an error: what cannot be asked is Outcome::kTemporary.
  virtual Task<Resolution> Resolve(rpc::TraceContext trace, std::string address, bool may_relay) = 0;
  virtual Task<absl::StatusOr<Login>> Authenticate(rpc::TraceContext trace, LoginRequest request) = 0;
  // The other services may go from now on: nothing new is asked. Any thread.
  virtual void Stop() = 0;
};

}  // namespace posthouse::ingress
