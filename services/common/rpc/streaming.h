// gRPC's callback reactors as coroutines, for both sides. Include from .cc only.
//
// ---- server side (server_calls.h); Handler: Task<absl::Status>(Call&)
//
//   UnaryCall<Req, Resp>   request(), response()
//   ReaderCall<Req, Resp>  response(), Task<absl::StatusOr<std::optional<Req>>> Read()
//   WriterCall<Req, Resp>  request(), Task<absl::Status> Write(Resp), OnCancel(fn)
//   all of them            info(), cancelled()
//
//   grpc::ServerUnaryReactor*       Unary(runner, context, request, response, handler)
//   grpc::ServerReadReactor<Req>*   ClientStreaming<Req>(runner, context, response, handler)
//   grpc::ServerWriteReactor<Resp>* ServerStreaming<Resp>(runner, context, request, handler)
//
// Where a handler runs: it starts on the gRPC thread that took the call, which saves a
// wake-up when it needs no await. After its first suspension it runs on the event loop
// that ServerRunner picked. It must not block. Before it touches what belongs to one
// event loop's thread, it needs a `co_await SwitchTo(loop)`.
//
// ---- client side (client_streams.h)
//
//   ClientWriter<Req, Resp> w(options, [&](auto* context, Resp* response, auto* reactor) {
//     stub->async()->Enqueue(context, response, reactor);
//   });
//   PH_CO_RETURN_IF_ERROR(co_await w.Write(std::move(piece)));   // error: the call ended; Finish() returns why
//   absl::StatusOr<Resp> response = co_await w.Finish();
//
//   ClientReader<Req, Resp> r(options, request, [&](auto* context, const Req* request, auto* reactor) {
//     stub->async()->Fetch(context, request, reactor);
//   });
//   while (true) {
//     absl::StatusOr<std::optional<Resp>> next = co_await r.Read();   // nullopt: ended OK
//   }
//   r.Cancel();   // any thread; the pending Read() ends with kCancelled
//
// Flow control is gRPC's, with one message of look-ahead in each direction: the next
// message is fetched while a reader works on the last one, and Write() returns while
// its message is on the way. Nothing else is buffered here.
#pragma once

#include "services/common/rpc/client_streams.h"
#include "services/common/rpc/server_calls.h"
