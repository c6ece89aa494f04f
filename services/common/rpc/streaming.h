// gRPC's callback reactors as coroutines, for both sides. Include from .cc only.
//
// Server handlers run as tasks on one of the process's event loops; the reactor
// behind a call has one read and one write in flight and is deleted by OnDone.
// Client objects: destroy cancels what is still running; use from one task.
//
// Flow control is gRPC's: a Read() that is not awaited stops the peer, a Write()
// completes when the transport took it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/trace.h"

namespace posthouse::net {
class EventLoops;
}

namespace posthouse::rpc {

// Picks the loop for each call and counts it (grpc_server_handled_total,
// grpc_server_handling_seconds by method and code). One per service object.
class ServerRunner {
 public:
  ServerRunner(net::EventLoops& loops, metrics::Registry& registry);
  ~ServerRunner();
  Executor& NextExecutor();
  // Called by the adapters below with the method's full name.
  void Finished(const std::string& method, absl::StatusCode code, absl::Duration took);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

// What a handler knows of its caller.
struct CallInfo {
  TraceContext trace;    // the caller's, or a new one
  std::string peer;      // certificate name under mTLS, else "inproc" or the address
  absl::Time deadline = absl::InfiniteFuture();
};

// ---- server side; Handler: Task<absl::Status>(Call&)
//
//   UnaryCall<Req, Resp>   request(), response(), info()
//   ReaderCall<Req, Resp>  Task<absl::StatusOr<std::optional<Req>>> Read()   nullopt: the client is done
//                          response(), info(); an error from Read means the client went away
//   WriterCall<Req, Resp>  request(), info(), Task<absl::Status> Write(Resp), bool cancelled(),
//                          OnCancel(fn): called once, on any thread, when the client goes away
//
//   grpc::ServerUnaryReactor*       Unary(runner, context, request, response, handler)
//   grpc::ServerReadReactor<Req>*   ClientStreaming<Req>(runner, context, response, handler)
//   grpc::ServerWriteReactor<Resp>* ServerStreaming<Resp>(runner, context, request, handler)
//
// ---- client side
//
//   ClientWriter<Req, Resp> w(options, [&](auto* context, Resp* response, auto* reactor) {
//     stub->async()->Enqueue(context, response, reactor);
//   });
//   PH_CO_RETURN_IF_ERROR(co_await w.Write(std::move(piece)));   // error: the call ended; Finish() tells why
//   absl::StatusOr<Resp> response = co_await w.Finish();
//
//   ClientReader<Req, Resp> r(options, request, [&](auto* context, const Req* request, auto* reactor) {
//     stub->async()->Fetch(context, request, reactor);
//   });
//   while (true) {
//     absl::StatusOr<std::optional<Resp>> next = co_await r.Read();   // nullopt: ended OK
//   }
//   r.Cancel();   // any thread; the pending Read() ends with kCancelled

}  // namespace posthouse::rpc
