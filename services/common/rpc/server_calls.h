// The server side of streaming.h: ServerRunner, and the call objects that handlers get.
//
// A handler is a callable Task<absl::Status>(Call&). Its status ends the call. The
// call object and the handler live until then. server_reactors.h has what connects
// them to gRPC.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"
#include "services/common/rpc/access_options.h"
#include "services/common/rpc/trace.h"

namespace posthouse::net {
class EventLoops;
}

namespace posthouse::rpc {

namespace internal {
class CallBase;
}

// Runs handlers on the event loops and counts calls (grpc_server_handled_total,
// grpc_server_handling_seconds, by method and code). A call that its caller may not make ends
// before its handler starts (access.h). Outlives the RpcServer whose services use it. Threads: any.
class ServerRunner {
 public:
  ServerRunner(net::EventLoops& loops, metrics::Registry& registry, AccessOptions access);
  // Every caller may call every method: for tests.
  ServerRunner(net::EventLoops& loops, metrics::Registry& registry);
  ~ServerRunner();
  // The first step of a drain, before RpcServer::Shutdown(): ends the calls that registered
  // an OnCancel (change streams, which have no end of their own), now and from now on.
  void BeginDrain();

  // For the reactors.

  // Starts `task` on this thread; after its first suspension it runs on one of the loops.
  void Launch(Task<void> task);
  // Whether the call of `method` ("package.Service/Method") may start; else its status.
  absl::Status Admit(const grpc::CallbackServerContext& context, const std::string& method) const;
  // Counts a call of `method` that began at `start` and ends, and makes its span.
  void Finished(const std::string& method, const absl::Status& status, absl::Time start, internal::CallBase& call);
  class Drainable {
   public:
    virtual ~Drainable() = default;
    virtual void OnDrain() = 0;
  };
  void Register(const std::shared_ptr<Drainable>& call);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

// What a handler knows of its caller.
struct CallInfo {
  TraceContext trace;       // of this call, in the caller's trace or a new one: what the handler passes on
  std::string parent_span;  // of the caller; "": the caller sent no trace
  std::string peer;         // certificate name under mTLS, else "inproc", "socket" or the address
  absl::Time deadline = absl::InfiniteFuture();
};

namespace internal {

CallInfo MakeCallInfo(const grpc::CallbackServerContext& context);
// What every call object offers. For its handler only, unless said otherwise.
class CallBase {
 public:
  explicit CallBase(grpc::CallbackServerContext* context) : context_(context) {}
  CallBase(const CallBase&) = delete;
  const CallInfo& info() {
    if (!info_.has_value()) info_ = MakeCallInfo(*context_);
    return *info_;
  }
  // The client went away, or its deadline passed. Any thread.
  bool cancelled() const { return context_->IsCancelled(); }
  // For the reactors.
  const grpc::CallbackServerContext& context() const { return *context_; }

 protected:
  ~CallBase() = default;
  grpc::CallbackServerContext* const context_;

 private:
  std::optional<CallInfo> info_;
};

}  // namespace internal

// ---- one request, one response

// A call with one request and one response, as its handler sees it.
template <typename Request, typename Response>
class UnaryCall : public internal::CallBase {
 public:
  UnaryCall(grpc::CallbackServerContext* context, const Request* request, Response* response)
      : CallBase(context), request_(*request), response_(*response) {}
  const Request& request() const { return request_; }
  Response& response() { return response_; }

 private:
  const Request& request_;
  Response& response_;
};

template <typename Request, typename Response, typename Handler>
grpc::ServerUnaryReactor* Unary(ServerRunner& runner, grpc::CallbackServerContext* context, const Request* request,
                                Response* response, Handler handler);

// ---- a stream of requests, one response

// A call whose client streams, as its handler sees it.
template <typename Request, typename Response>
class ReaderCall : public internal::CallBase {
 public:
  ReaderCall(grpc::CallbackServerContext* context, Response* response) : CallBase(context), response_(*response) {}
  // The next request; nullopt: the client has sent its last. kCancelled: the client went away.
  virtual Task<absl::StatusOr<std::optional<Request>>> Read() = 0;
  Response& response() { return response_; }

 protected:
  ~ReaderCall() = default;

 private:
  Response& response_;
};

template <typename Request, typename Response, typename Handler>
grpc::ServerReadReactor<Request>* ClientStreaming(ServerRunner& runner, grpc::CallbackServerContext* context,
                                                  Response* response, Handler handler);

// ---- one request, a stream of responses

// A call whose server streams, as its handler sees it.
template <typename Request, typename Response>
class WriterCall : public internal::CallBase {
 public:
  WriterCall(grpc::CallbackServerContext* context, const Request* request) : CallBase(context), request_(*request) {}
  const Request& request() const { return request_; }
  // Sends `message`; returns when the transport has taken the one before it.
  // kCancelled: the client went away.
  virtual Task<absl::Status> Write(Response message) = 0;
  // Calls `fn` once, on any thread, when the client goes away or the server drains;
  // at once when that has happened already. `fn` may run while the handler returns, so
  // it owns what it uses. A stream that ends by itself needs none.
  virtual void OnCancel(absl::AnyInvocable<void()> fn) = 0;
  // Also true when the server drains, after OnCancel().
  virtual bool cancelled() const = 0;

 protected:
  ~WriterCall() = default;

 private:
  const Request& request_;
};

template <typename Response, typename Request, typename Handler>
grpc::ServerWriteReactor<Response>* ServerStreaming(ServerRunner& runner, grpc::CallbackServerContext* context,
                                                    const Request* request, Handler handler);

}  // namespace posthouse::rpc

#include "services/common/rpc/server_reactors.h"  // the definitions of these templates
