// The directory as other services see it: awaitable calls, and the change stream
// as callbacks. No gRPC in this header.
//
// Threads: any. Errors are the service's (protos/posthouse/directory/v1), and
// kUnavailable or kDeadlineExceeded when it cannot be reached.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"

namespace grpc {
class Channel;
}

namespace posthouse::directory {

class Client {
 public:
  explicit Client(std::shared_ptr<grpc::Channel> channel);
  ~Client();

  // `trace_id`: 32 hex digits or "".
  Task<absl::StatusOr<v1::LookupAddressResponse>> LookupAddress(std::string address, absl::Duration deadline,
                                                                std::string trace_id = "");
  Task<absl::StatusOr<v1::AuthenticateResponse>> Authenticate(v1::AuthenticateRequest request, absl::Duration deadline,
                                                              std::string trace_id = "");
  Task<absl::StatusOr<v1::GetAccountResponse>> GetAccount(v1::GetAccountRequest request, absl::Duration deadline);

 private:
  friend class ChangeWatcher;
  struct Impl;
  const std::shared_ptr<Impl> impl_;
};

// Follows the change stream for as long as it lives, through disconnections:
// resumes where it was, and says so when changes may have been missed.
class ChangeWatcher {
 public:
  struct Callbacks {
    // Changes, in order. `revision` is that of the response they came in.
    std::function<void(uint64_t revision, const v1::WatchResponse& response)> changed;
    // Changes were missed, or may have been: drop what is cached.
    std::function<void()> lost;
    // Connected and up to date at `revision`; also called for each heartbeat.
    std::function<void(uint64_t revision)> alive;
  };
  // `executor` and what the callbacks use outlive Stop(). Callbacks come one at a time.
  ChangeWatcher(Client& client, Executor& executor, Callbacks callbacks);
  ~ChangeWatcher();  // Stop()s
  // Ends the stream and waits until no callback runs any more. Not on `executor`.
  void Stop();

 private:
  struct State;
  static Task<void> Run(std::shared_ptr<State> state);
  static Task<absl::Status> Follow(std::shared_ptr<State> state);
  const std::shared_ptr<State> state_;
};

}  // namespace posthouse::directory
