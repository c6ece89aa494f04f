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
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/rpc/trace.h"

namespace posthouse::rpc {

struct CallOptions {
  // From now. Infinite only for streams that never end (a change stream).
  absl::Duration deadline = absl::Seconds(5);
  TraceContext trace;  // empty trace_id: none is sent
};

// `trace_id`: 32 hex digits, or "" for none.
CallOptions OptionsFor(absl::Duration deadline, const std::string& trace_id);

// Code for code, but kUnavailable for a call that the server refused before it started (access.h).
absl::Status FromGrpc(const grpc::Status& status);
// Code for code, always: for programs that show the status to a person.
absl::Status FromGrpcVerbatim(const grpc::Status& status);
grpc::Status ToGrpc(const absl::Status& status);

// Deadline and metadata for one call. For the streaming helpers; else use Call().
void Prepare(grpc::ClientContext& context, const CallOptions& options);

template <typename Response, typename Request, typename Start>
Task<absl::StatusOr<Response>> Call(CallOptions options, Request request, Start start) {
  grpc::ClientContext context;
  Prepare(context, options);
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
  if (!status.ok()) co_return status;
  co_return std::move(response);
}

}  // namespace posthouse::rpc
