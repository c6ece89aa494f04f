// The client side of streaming.h: ClientWriter (a stream of requests) and
// ClientReader (a stream of responses). client_reactors.h has what connects them
// to gRPC.
//
// Destroying one cancels its call when the call still runs. Each is used from one
// task at a time.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/common/rpc/client.h"

namespace posthouse::rpc {

// Holds the last message back until Finish(), so that it travels with the end of the
// stream: a call with one message is one write on the wire.
template <typename Request, typename Response>
class ClientWriter {
 public:
  // Calls `start(context, response, reactor)` once, here; it starts the stub's method.
  template <typename Start>
  ClientWriter(const CallOptions& options, Start start);
  ClientWriter(ClientWriter&&) noexcept = default;
  ~ClientWriter();

  // An error: the call has ended, and Finish() returns the reason.
  Task<absl::Status> Write(Request message);
  // Sends what is held back, ends the stream and returns the response. Once.
  Task<absl::StatusOr<Response>> Finish();
  // Any thread, while the object lives.
  void Cancel();

 private:
  struct State;
  void Begin();

  std::shared_ptr<State> state_;
  std::optional<Request> held_;
  bool started_ = false;
  bool finished_ = false;
};

// Has the next message fetched while the caller works on the last one.
template <typename Request, typename Response>
class ClientReader {
 public:
  // Calls `start(context, request, reactor)` once, here; it starts the stub's method.
  template <typename Start>
  ClientReader(const CallOptions& options, Request request, Start start);
  ClientReader(ClientReader&&) noexcept = default;
  ~ClientReader();

  // The next message; nullopt: the stream ended OK; else the call's error.
  Task<absl::StatusOr<std::optional<Response>>> Read();
  // Any thread, while the object lives. A Read() that waits returns kCancelled.
  void Cancel();

 private:
  struct State;

  std::shared_ptr<State> state_;
  bool ended_ = false;
};

}  // namespace posthouse::rpc

#include "services/common/rpc/client_reactors.h"  // the definitions of these templates
