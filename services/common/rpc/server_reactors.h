// The reactors behind server_calls.h, which includes this. A reactor belongs to gRPC
// and deletes itself in OnDone, after its handler has ended and its last operation is done.
#pragma once

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
#include "services/common/rpc/arrival.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/method_name.h"
#include "services/common/rpc/server_calls.h"

namespace posthouse::rpc {

// OnDone only deletes the reactor, so gRPC may call it (and OnCancel) on the thread
// that it is on, instead of waking a thread of its executor.
#define POSTHOUSE_RPC_INLINEABLE \
  bool InternalInlineable() override { return true; }

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
    const absl::Time start = absl::Now();
    absl::Status status = self->runner_.Admit(self->call_.context(), MethodName<Request>());
    if (status.ok()) status = co_await self->handler_(self->call_);
    self->runner_.Finished(MethodName<Request>(), status, start, self->call_);
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

namespace internal {

// Starts the handler when the first message is there; reads one message ahead.
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
    const absl::Time start = absl::Now();
    absl::Status status = self->runner_.Admit(self->call_.context(), MethodName<Request>());
    if (status.ok()) status = co_await self->handler_(static_cast<ReaderCall<Request, Response>&>(self->call_));
    self->runner_.Finished(MethodName<Request>(), status, start, self->call_);
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
    const absl::Time start = absl::Now();
    absl::Status status = self->runner_.Admit(self->call_.context(), MethodName<Request>());
    if (status.ok()) status = co_await self->handler_(static_cast<WriterCall<Request, Response>&>(self->call_));
    self->hook_->Disarm();
    // No status while a message is on the way, nor in one step with the last one
    // (StartWriteAndFinish): the in-process transport of gRPC 1.51 may then drop it.
    co_await self->Idle();
    self->runner_.Finished(MethodName<Request>(), status, start, self->call_);
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
