// Calls whose two directions stream, for both sides. Include from .cc files only.
//
// ---- server side; Handler: Task<absl::Status>(StreamCall<Req, Resp>&)
//
//   grpc::ServerBidiReactor<Req, Resp>* BidiStreaming<Req, Resp>(runner, context, handler)
//
// ---- client side
//
//   ClientStream<Req, Resp> s(options, [&](auto* context, auto* reactor) { stub->async()->Watch(context, reactor); });
//   co_await s.Write(request);                                      // error: the call has ended, Read() tells why
//   absl::StatusOr<std::optional<Resp>> next = co_await s.Read();   // nullopt: the server ended the call with OK
//   s.Cancel();                                                     // any thread; a pending Read() ends with
//   kCancelled
//
// On both sides one coroutine reads while another one writes, and neither direction waits for
// the other. The object must outlive both coroutines. Flow control as in streaming.h.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/rpc/streaming.h"

namespace posthouse::rpc {

// ---- server side

template <typename Request, typename Response>
class StreamCall : public internal::CallBase {
 public:
  explicit StreamCall(grpc::CallbackServerContext* context) : CallBase(context) {}
  // The next message; nullopt when the client has sent its last one. kCancelled: the client went
  // away, or Cancel() was called.
  virtual Task<absl::StatusOr<std::optional<Request>>> Read() = 0;
  // Sends one message; returns when the transport has taken the one before it. kCancelled: as for Read().
  virtual Task<absl::Status> Write(Response message) = 0;
  // `fn` is called once, on any thread, when the client goes away or the server drains (at once
  // if that was before). It may run while the handler returns, so it owns what it uses.
  virtual void OnCancel(absl::AnyInvocable<void()> fn) = 0;
  // As in every call; true also when the server drains and OnCancel was called.
  virtual bool cancelled() const = 0;
  // Ends the call from this side; pending and later reads and writes fail. Any thread.
  void Cancel() { context_->TryCancel(); }

 protected:
  ~StreamCall() = default;
};

namespace internal {

template <typename Request, typename Response, typename Handler>
class BidiReactor final : public grpc::ServerBidiReactor<Request, Response> {
 public:
  BidiReactor(ServerRunner& runner, grpc::CallbackServerContext* context, Handler handler)
      : runner_(runner), call_(this, context), handler_(std::move(handler)) {
    written_.Set(true);  // nothing is on the way
  }
  void Start() {
    this->StartRead(&next_);
    runner_.Launch(Run(this));
  }

 private:
  class Call final : public StreamCall<Request, Response> {
   public:
    Call(BidiReactor* reactor, grpc::CallbackServerContext* context)
        : StreamCall<Request, Response>(context), reactor_(reactor) {}
    Task<absl::StatusOr<std::optional<Request>>> Read() override {
      const bool ok = co_await AwaitCallback<bool>(
          [this](absl::AnyInvocable<void(bool)> done) { reactor_->arrival_.Wait(std::move(done)); });
      if (!ok) {
        if (this->context_->IsCancelled()) co_return absl::CancelledError("the client went away");
        co_return std::optional<Request>();
      }
      std::optional<Request> message(std::move(reactor_->next_));
      reactor_->next_ = Request();
      reactor_->arrival_.Reset();
      reactor_->StartRead(&reactor_->next_);
      co_return message;
    }
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
    BidiReactor* const reactor_;
  };

  // Waits until no message is on the way; false: the last one could not be sent.
  auto Idle() {
    return AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) { written_.Wait(std::move(done)); });
  }
  static Task<void> Run(BidiReactor* self) {
    const absl::Time start = absl::Now();
    absl::Status status = self->runner_.Admit(self->call_.context(), MethodName<Request>());
    if (status.ok()) status = co_await self->handler_(static_cast<StreamCall<Request, Response>&>(self->call_));
    self->hook_->Disarm();
    co_await self->Idle();  // as for WriteReactor
    self->runner_.Finished(MethodName<Request>(), status, start, self->call_);
    self->Finish(ToGrpc(status));
  }
  void OnReadDone(bool ok) override { arrival_.Set(ok); }
  void OnWriteDone(bool ok) override { written_.Set(ok); }
  void OnCancel() override { hook_->Fire(); }
  void OnDone() override { delete this; }

  ServerRunner& runner_;
  Call call_;
  Handler handler_;
  const std::shared_ptr<CancelHook> hook_ = std::make_shared<CancelHook>();
  Request next_;
  Arrival arrival_;
  Response message_;
  Arrival written_;
};

}  // namespace internal

// The handler starts at once, before the first message is there. It returns only when no Read()
// is pending: end one with Cancel().
template <typename Request, typename Response, typename Handler>
grpc::ServerBidiReactor<Request, Response>* BidiStreaming(ServerRunner& runner, grpc::CallbackServerContext* context,
                                                          Handler handler) {
  auto* reactor = new internal::BidiReactor<Request, Response, Handler>(runner, context, std::move(handler));
  reactor->Start();
  return reactor;
}

// ---- client side

// Destroying one cancels a call that is still running.
template <typename Request, typename Response>
class ClientStream {
 public:
  // `start(context, reactor)` is called here, once, and starts the stub's method.
  template <typename Start>
  ClientStream(const CallOptions& options, Start start) : state_(std::make_shared<State>()) {
    state_->end.Begin(Prepare(state_->context, options, internal::MethodName<Request>));
    state_->self = state_;
    start(&state_->context, static_cast<grpc::ClientBidiReactor<Request, Response>*>(state_.get()));
    state_->AddHold();  // operations start outside of the reactor's callbacks
    state_->StartRead(&state_->next);
    state_->StartCall();
  }
  ClientStream(ClientStream&&) noexcept = default;
  ~ClientStream() {
    if (state_ == nullptr) return;
    state_->context.TryCancel();
    state_->ReleaseHold();
  }

  // Sends one message; returns when the transport has taken the one before it.
  Task<absl::Status> Write(Request message) {
    const bool idle = co_await AwaitCallback<bool>(
        [this](absl::AnyInvocable<void(bool)> done) { state_->written.Wait(std::move(done)); });
    if (!idle || !state_->Hold()) co_return absl::UnavailableError("the call ended early");
    state_->message = std::move(message);
    state_->written.Reset();
    state_->StartWrite(&state_->message);
    state_->RemoveHold();
    co_return absl::OkStatus();
  }

  // The next message; nullopt when the call ended OK, else the call's error.
  Task<absl::StatusOr<std::optional<Response>>> Read() {
    const bool ok = co_await AwaitCallback<bool>(
        [this](absl::AnyInvocable<void(bool)> done) { state_->arrival.Wait(std::move(done)); });
    if (!ok) {
      const absl::Status status = co_await state_->end.Wait();
      if (!status.ok()) co_return status;
      co_return std::optional<Response>();
    }
    std::optional<Response> message(std::move(state_->next));
    state_->next = Response();
    state_->arrival.Reset();
    state_->StartRead(&state_->next);
    co_return message;
  }

  // Any thread, while the object lives.
  void Cancel() { state_->context.TryCancel(); }

 private:
  struct State final : grpc::ClientBidiReactor<Request, Response> {
    State() { written.Set(true); }
    // The first read that fails is the end of the call: OnDone follows when no hold is left.
    void OnReadDone(bool ok) override {
      if (ok) {
        arrival.Set(true);
      } else {
        ReleaseHold();
      }
    }
    void OnWriteDone(bool ok) override { written.Set(ok); }
    void OnDone(const grpc::Status& status) override {
      const std::shared_ptr<State> keep = std::move(self);
      end.Set(status);
      arrival.Set(false);
    }
    // Another hold, for the time of one StartWrite; false: the call has ended.
    bool Hold() {
      absl::MutexLock lock(&mutex);
      if (released) return false;
      this->AddHold();
      return true;
    }
    void ReleaseHold() {
      {
        absl::MutexLock lock(&mutex);
        if (std::exchange(released, true)) return;
      }
      this->RemoveHold();
    }

    grpc::ClientContext context;
    Response next;
    internal::Arrival arrival;
    Request message;  // on the way
    internal::Arrival written;
    internal::CallEnd end;
    absl::Mutex mutex;
    bool released ABSL_GUARDED_BY(mutex) = false;
    std::shared_ptr<State> self;  // gRPC's reference, until OnDone
  };

  std::shared_ptr<State> state_;
};

}  // namespace posthouse::rpc
