// The server side of streaming.h: ServerRunner, the call objects that handlers
// get, and the reactors behind them. A reactor belongs to gRPC and deletes itself
// in OnDone, after its handler has ended and its last operation is done.
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"
#include "services/common/rpc/arrival.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/trace.h"

namespace posthouse::net {
class EventLoops;
}

namespace posthouse::rpc {

struct InFlight;

// Picks the loop for each call and counts it (grpc_server_handled_total,
// grpc_server_handling_seconds by method and code). One per service object;
// outlives the RpcServer that serves the object.
class ServerRunner {
 public:
  ServerRunner(net::EventLoops& loops, metrics::Registry& registry);
  ~ServerRunner();
  Executor& NextExecutor();
  // Called by the adapters below; `method` is "package.Service/Method".
  void Finished(const std::string& method, absl::StatusCode code, absl::Duration took);
  // First step of App::Drain, before RpcServer::Shutdown(). Calls that registered an
  // OnCancel (change feeds, which would never end) are told to end, and so are
  // those that do later.
  void BeginDrain();
  // BeginDrain(), then waits up to `grace` until no handler runs.
  void Drain(absl::Duration grace);

  // Starts `task` on this thread; it resumes on one of the loops.
  void Launch(Task<void> task);

  // For the adapters: calls that can be told to end.
  class Drainable {
   public:
    virtual ~Drainable() = default;
    virtual void OnDrain() = 0;
  };
  void Register(const std::shared_ptr<Drainable>& call);
  // A handler that runs; given up after its status was handed to gRPC, when the
  // runner may be gone.
  class Running {
   public:
    explicit Running(ServerRunner& runner);
    ~Running();
    Running(const Running&) = delete;

   private:
    const std::shared_ptr<InFlight> in_flight_;
  };

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

// What a handler knows of its caller.
struct CallInfo {
  TraceContext trace;  // the caller's, or a new one
  std::string peer;    // certificate name under mTLS, else "inproc" or the address
  absl::Time deadline = absl::InfiniteFuture();
};

namespace internal {

CallInfo MakeCallInfo(const grpc::CallbackServerContext& context);
// "package.Service/Method" of the method that takes `request`; each method has its
// own request type. "unknown" when there is none in the request's file.
std::string MethodTaking(const google::protobuf::Descriptor& request);

template <typename Request>
const std::string& MethodName() {
  static const auto& name = *new std::string(MethodTaking(*Request::descriptor()));
  return name;
}

// What every call object offers. Used by its handler only, unless said otherwise.
class CallBase {
 public:
  explicit CallBase(grpc::CallbackServerContext* context) : context_(context) {}
  CallBase(const CallBase&) = delete;
  const CallInfo& info() {
    if (!info_.has_value()) info_ = MakeCallInfo(*context_);
    return *info_;
  }
  // True when nobody waits for the answer any more. Any thread.
  bool cancelled() const { return context_->IsCancelled(); }

 protected:
  ~CallBase() = default;
  grpc::CallbackServerContext* const context_;

 private:
  std::optional<CallInfo> info_;
};

// Reactors have nothing to do in OnDone but to go, so gRPC may call it (and
// OnCancel) on the thread it is on, instead of waking one of its executor's.
#define POSTHOUSE_RPC_INLINEABLE \
  bool InternalInlineable() override { return true; }

}  // namespace internal

// ---- unary

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

namespace internal {

template <typename Request, typename Response, typename Handler>
class UnaryReactor final : public grpc::ServerUnaryReactor {
 public:
  UnaryReactor(ServerRunner& runner, grpc::CallbackServerContext* context, const Request* request, Response* response,
               Handler handler)
      : runner_(runner), call_(context, request, response), handler_(std::move(handler)) {}
  void Start() { runner_.Launch(Run(this)); }

 private:
  static Task<void> Run(UnaryReactor* self) {
    const ServerRunner::Running running(self->runner_);
    const absl::Time start = absl::Now();
    const absl::Status status = co_await self->handler_(self->call_);
    self->runner_.Finished(MethodName<Request>(), status.code(), absl::Now() - start);
    self->Finish(ToGrpc(status));  // deletes self, soon or now
  }
  POSTHOUSE_RPC_INLINEABLE
  void OnDone() override { delete this; }

  ServerRunner& runner_;
  UnaryCall<Request, Response> call_;
  Handler handler_;  // may be a lambda that captures: kept while its task runs
};

}  // namespace internal

template <typename Request, typename Response, typename Handler>
grpc::ServerUnaryReactor* Unary(ServerRunner& runner, grpc::CallbackServerContext* context, const Request* request,
                                Response* response, Handler handler) {
  auto* reactor =
      new internal::UnaryReactor<Request, Response, Handler>(runner, context, request, response, std::move(handler));
  reactor->Start();  // not deleted before gRPC has it: Finish() waits until then
  return reactor;
}

// ---- client streaming

namespace internal {
template <typename Request, typename Response, typename Handler>
class ReadReactor;
}  // namespace internal

template <typename Request, typename Response>
class ReaderCall : public internal::CallBase {
 public:
  ReaderCall(grpc::CallbackServerContext* context, Response* response) : CallBase(context), response_(*response) {}
  virtual Task<absl::StatusOr<std::optional<Request>>> Read() = 0;
  Response& response() { return response_; }

 protected:
  ~ReaderCall() = default;

 private:
  Response& response_;
};

namespace internal {

// The handler starts when the first message is there, and one message is read ahead.
template <typename Request, typename Response, typename Handler>
class ReadReactor final : public grpc::ServerReadReactor<Request> {
 public:
  ReadReactor(ServerRunner& runner, grpc::CallbackServerContext* context, Response* response, Handler handler)
      : runner_(runner), call_(this, context, response), handler_(std::move(handler)) {
    this->StartRead(&next_);
  }

 private:
  class Call final : public ReaderCall<Request, Response> {
   public:
    Call(ReadReactor* reactor, grpc::CallbackServerContext* context, Response* response)
        : ReaderCall<Request, Response>(context, response), reactor_(reactor) {}
    Task<absl::StatusOr<std::optional<Request>>> Read() override {
      const bool ok = co_await AwaitCallback<bool>(
          [this](absl::AnyInvocable<void(bool)> done) { reactor_->arrival_.Wait(std::move(done)); });
      if (!ok) {
        if (this->cancelled()) co_return absl::CancelledError("the client went away");
        co_return std::optional<Request>();
      }
      std::optional<Request> message(std::move(reactor_->next_));
      reactor_->next_ = Request();
      reactor_->arrival_.Reset();
      reactor_->StartRead(&reactor_->next_);
      co_return message;
    }

   private:
    ReadReactor* const reactor_;
  };

  static Task<void> Run(ReadReactor* self) {
    const ServerRunner::Running running(self->runner_);
    const absl::Time start = absl::Now();
    const absl::Status status = co_await self->handler_(static_cast<ReaderCall<Request, Response>&>(self->call_));
    self->runner_.Finished(MethodName<Request>(), status.code(), absl::Now() - start);
    self->Finish(ToGrpc(status));
  }
  void OnReadDone(bool ok) override {
    arrival_.Set(ok);
    if (started_) return;
    started_ = true;
    runner_.Launch(Run(this));
  }
  POSTHOUSE_RPC_INLINEABLE
  void OnDone() override { delete this; }

  ServerRunner& runner_;
  Call call_;
  Handler handler_;
  Request next_;
  Arrival arrival_;
  bool started_ = false;  // OnReadDone only; the first one comes before any Read()
};

}  // namespace internal

template <typename Request, typename Response, typename Handler>
grpc::ServerReadReactor<Request>* ClientStreaming(ServerRunner& runner, grpc::CallbackServerContext* context,
                                                  Response* response, Handler handler) {
  return new internal::ReadReactor<Request, Response, Handler>(runner, context, response, std::move(handler));
}

// ---- server streaming

template <typename Request, typename Response>
class WriterCall : public internal::CallBase {
 public:
  WriterCall(grpc::CallbackServerContext* context, const Request* request) : CallBase(context), request_(*request) {}
  const Request& request() const { return request_; }
  // Sends one message; returns when the one before it is taken by the transport.
  // An error means the client went away.
  virtual Task<absl::Status> Write(Response message) = 0;
  // `fn` is called once, on any thread, when the client goes away or the server
  // drains (at once if that was before). It may run while the handler returns, so
  // it owns what it uses. Streams that end by themselves need none.
  virtual void OnCancel(absl::AnyInvocable<void()> fn) = 0;
  // As in every call; true also when the server drains and OnCancel was registered.
  virtual bool cancelled() const = 0;

 protected:
  ~WriterCall() = default;

 private:
  const Request& request_;
};

namespace internal {

// The OnCancel of a call; outlives it while a drain looks at it.
class CancelHook final : public ServerRunner::Drainable {
 public:
  void Set(absl::AnyInvocable<void()> fn);
  void Fire();    // client gone
  void Disarm();  // the handler ended
  bool fired() const;
  void OnDrain() override { Fire(); }

 private:
  mutable absl::Mutex mutex_;
  bool fired_ ABSL_GUARDED_BY(mutex_) = false;
  absl::AnyInvocable<void()> fn_ ABSL_GUARDED_BY(mutex_);
};

template <typename Request, typename Response, typename Handler>
class WriteReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  WriteReactor(ServerRunner& runner, grpc::CallbackServerContext* context, const Request* request, Handler handler)
      : runner_(runner), call_(this, context, request), handler_(std::move(handler)) {
    written_.Set(true);  // nothing is on the way
  }
  void Start() { runner_.Launch(Run(this)); }

 private:
  class Call final : public WriterCall<Request, Response> {
   public:
    Call(WriteReactor* reactor, grpc::CallbackServerContext* context, const Request* request)
        : WriterCall<Request, Response>(context, request), reactor_(reactor) {}
    Task<absl::Status> Write(Response message) override {
      if (!co_await reactor_->Idle()) co_return absl::CancelledError("the client went away");
      reactor_->message_ = std::move(message);
      reactor_->written_.Reset();
      reactor_->StartWrite(&reactor_->message_);
      co_return absl::OkStatus();
    }
    void OnCancel(absl::AnyInvocable<void()> fn) override {
      reactor_->hook_->Set(std::move(fn));
      reactor_->runner_.Register(reactor_->hook_);
    }
    bool cancelled() const override { return this->context_->IsCancelled() || reactor_->hook_->fired(); }

   private:
    WriteReactor* const reactor_;
  };

  // Waits until no message is on the way; false: the last one could not be sent.
  auto Idle() {
    return AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) { written_.Wait(std::move(done)); });
  }
  static Task<void> Run(WriteReactor* self) {
    const ServerRunner::Running running(self->runner_);
    const absl::Time start = absl::Now();
    const absl::Status status = co_await self->handler_(static_cast<WriterCall<Request, Response>&>(self->call_));
    self->hook_->Disarm();
    // No status while a message is on the way, nor in one step with the last one
    // (StartWriteAndFinish): the in-process transport of gRPC 1.51 may then drop it.
    co_await self->Idle();
    self->runner_.Finished(MethodName<Request>(), status.code(), absl::Now() - start);
    self->Finish(ToGrpc(status));
  }
  void OnWriteDone(bool ok) override { written_.Set(ok); }
  void OnCancel() override { hook_->Fire(); }
  POSTHOUSE_RPC_INLINEABLE
  void OnDone() override { delete this; }

  ServerRunner& runner_;
  Call call_;
  Handler handler_;
  const std::shared_ptr<CancelHook> hook_ = std::make_shared<CancelHook>();
  Response message_;
  Arrival written_;
};

}  // namespace internal

template <typename Response, typename Request, typename Handler>
grpc::ServerWriteReactor<Response>* ServerStreaming(ServerRunner& runner, grpc::CallbackServerContext* context,
                                                    const Request* request, Handler handler) {
  auto* reactor = new internal::WriteReactor<Request, Response, Handler>(runner, context, request, std::move(handler));
  reactor->Start();
  return reactor;
}

#undef POSTHOUSE_RPC_INLINEABLE

}  // namespace posthouse::rpc
