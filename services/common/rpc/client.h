// Awaitable gRPC client calls. The only maker of grpc::ClientContext: every call
// has a deadline, carries `traceparent`, resumes on the caller's executor, and
// converts status code for code (message kept).
//
//   auto response = co_await rpc::Call<v1::GetItemResponse>(
//       options, request, [&](auto* context, auto* req, auto* resp, auto done) {
//         stub->async()->GetItem(context, req, resp, std::move(done));
//       });
//
// This header pulls in gRPC: include it from .cc files only.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/rpc/method_name.h"
#include "services/common/rpc/trace.h"

namespace posthouse::tracing {
struct Span;
}

namespace posthouse::rpc {

struct CallOptions {
  // From now. Infinite only for streams that never end (a change stream).
  absl::Duration deadline = absl::Seconds(5);
  TraceContext trace;  // empty trace_id: none is sent
};

// A call without a trace.
CallOptions OptionsFor(absl::Duration deadline);
// A call in the trace of `traceparent` (W3C Trace Context); without one, when it is not valid.
CallOptions OptionsFor(absl::Duration deadline, const std::string& traceparent);

// Code for code, but kUnavailable for a call that the server refused before it started (access.h).
absl::Status FromGrpc(const grpc::Status& status);
// Code for code, always: for programs that show the status to a person.
absl::Status FromGrpcVerbatim(const grpc::Status& status);
grpc::Status ToGrpc(const absl::Status& status);

// The span of a call that this process makes (tracing/span.h). Empty: nobody wants it.
class ClientSpan {
 public:
  ClientSpan();
  ClientSpan(ClientSpan&&) noexcept;
  ClientSpan& operator=(ClientSpan&&) noexcept;
  ~ClientSpan();
  // Once, when the call has ended.
  void End(const absl::Status& status);

 private:
  friend ClientSpan Prepare(grpc::ClientContext&, const CallOptions&, const std::string& (*)());
  std::unique_ptr<tracing::Span> span_;
};

// Deadline and metadata for one call. For the streaming helpers; else use Call(). `method` names it; null: no span.
ClientSpan Prepare(grpc::ClientContext& context, const CallOptions& options, const std::string& (*method)() = nullptr);

template <typename Response, typename Request, typename Start>
Task<absl::StatusOr<Response>> Call(CallOptions options, Request request, Start start) {
  grpc::ClientContext context;
  ClientSpan span = Prepare(context, options, internal::MethodName<Request>);
  Response response;
  absl::AnyInvocable<void(absl::Status)> finish;
  const absl::Status status = co_await AwaitCallback<absl::Status>([&](absl::AnyInvocable<void(absl::Status)> done) {
    // std::function must be copyable, so `done` waits in the coroutine's frame,
    // and is moved out before it is called: the call may free the frame.
    finish = std::move(done);
    start(&context, &request, &response, std::function<void(grpc::Status)>([&finish](const grpc::Status& s) {
      auto now = std::move(finish);
      now(FromGrpc(s));
    }));
  });
  span.End(status);
  if (!status.ok()) co_return status;
  co_return std::move(response);
}

}  // namespace posthouse::rpc
