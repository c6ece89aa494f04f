// The client side of streaming.h: ClientWriter (client streaming) and ClientReader
// (server streaming). Destroying one cancels a call that is still running; each is
// used from one task at a time. The reactor outlives it until gRPC is done with it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/rpc/arrival.h"
#include "services/common/rpc/client.h"

namespace posthouse::rpc {

namespace internal {

// The end of a call: its status, kept for whoever asks, before or after.
class CallEnd {
 public:
  void Set(const grpc::Status& status) {
    {
      absl::MutexLock lock(&mutex_);
      status_ = FromGrpc(status);
    }
    arrival_.Set(true);
  }
  absl::Status status() const {
    absl::MutexLock lock(&mutex_);
    return status_;
  }
  void Wait(absl::AnyInvocable<void(bool)> done) { arrival_.Wait(std::move(done)); }

 private:
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  Arrival arrival_;
};

}  // namespace internal

// The last message is held back until Finish(), so that it travels with the end of
// the stream; a call of one message is one write on the wire.
template <typename Request, typename Response>
class ClientWriter {
 public:
  // `start(context, response, reactor)` is called here, once, and starts the stub's method.
  template <typename Start>
  ClientWriter(const CallOptions& options, Start start) : state_(std::make_shared<State>()) {
    Prepare(state_->context, options);
    state_->context.set_initial_metadata_corked(true);
    state_->self = state_;
    start(&state_->context, &state_->response, static_cast<grpc::ClientWriteReactor<Request>*>(state_.get()));
  }
  ClientWriter(ClientWriter&&) noexcept = default;
  ~ClientWriter() {
    if (state_ == nullptr || finished_) return;
    state_->context.TryCancel();
    // A call that was made and never started would never be freed.
    if (!started_) state_->StartCall();
    // The hold taken in Begin(); without it gRPC may already be done.
    if (started_) state_->RemoveHold();
  }

  // An error: the call has ended, Finish() tells why.
  Task<absl::Status> Write(Request message) {
    if (held_.has_value()) {
      Begin();
      if (!co_await state_->Idle()) co_return absl::UnavailableError("the call ended early");
      state_->message = *std::move(held_);
      state_->written.Reset();
      state_->StartWrite(&state_->message);
    }
    held_ = std::move(message);
    co_return absl::OkStatus();
  }

  // Sends what is held, ends the stream and waits for the answer. Once.
  Task<absl::StatusOr<Response>> Finish() {
    Begin();
    if (co_await state_->Idle()) {
      if (held_.has_value()) {
        state_->message = *std::move(held_);
        state_->StartWriteLast(&state_->message, grpc::WriteOptions());
      } else {
        state_->StartWritesDone();
      }
    }
    finished_ = true;
    state_->RemoveHold();
    co_await AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) { state_->end.Wait(std::move(done)); });
    const absl::Status status = state_->end.status();
    if (!status.ok()) co_return status;
    co_return std::move(state_->response);
  }

  // Any thread, while the object lives.
  void Cancel() { state_->context.TryCancel(); }

 private:
  struct State final : grpc::ClientWriteReactor<Request> {
    State() { written.Set(true); }
    void OnWriteDone(bool ok) override { written.Set(ok); }
    void OnDone(const grpc::Status& status) override {
      const std::shared_ptr<State> keep = std::move(self);
      end.Set(status);
    }
    auto Idle() {
      return AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) { written.Wait(std::move(done)); });
    }

    grpc::ClientContext context;
    Response response;
    Request message;  // on the way
    internal::Arrival written;
    internal::CallEnd end;
    std::shared_ptr<State> self;  // gRPC's reference, until OnDone
  };

  // The hold keeps the reactor alive for writes that start outside its callbacks.
  void Begin() {
    if (started_) return;
    started_ = true;
    state_->AddHold();
    state_->StartCall();
  }

  std::shared_ptr<State> state_;
  std::optional<Request> held_;
  bool started_ = false;
  bool finished_ = false;
};

template <typename Request, typename Response>
class ClientReader {
 public:
  // `start(context, request, reactor)` is called here, once, and starts the stub's method.
  template <typename Start>
  ClientReader(const CallOptions& options, Request request, Start start) : state_(std::make_shared<State>()) {
    Prepare(state_->context, options);
    state_->request = std::move(request);
    state_->self = state_;
    start(&state_->context, static_cast<const Request*>(&state_->request),
          static_cast<grpc::ClientReadReactor<Response>*>(state_.get()));
    // Reads start outside of the reactor's callbacks.
    state_->AddHold();
    state_->StartRead(&state_->next);
    state_->StartCall();
  }
  ClientReader(ClientReader&&) noexcept = default;
  ~ClientReader() {
    if (state_ == nullptr) return;
    if (!ended_) state_->context.TryCancel();
    state_->ReleaseHold();
  }

  // The next message; nullopt when the stream ended OK, else the call's error.
  Task<absl::StatusOr<std::optional<Response>>> Read() {
    const bool ok = !ended_ && co_await AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) {
      state_->arrival.Wait(std::move(done));
    });
    if (!ok) {
      ended_ = true;
      state_->ReleaseHold();
      co_await AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) { state_->end.Wait(std::move(done)); });
      const absl::Status status = state_->end.status();
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
  struct State final : grpc::ClientReadReactor<Response> {
    void OnReadDone(bool ok) override {
      // The end of the stream: give the hold back here, so that OnDone (which
      // follows on this thread) is the only wake-up of the reader.
      if (!ok) {
        ReleaseHold();
        return;
      }
      arrival.Set(true);
    }
    void OnDone(const grpc::Status& status) override {
      const std::shared_ptr<State> keep = std::move(self);
      end.Set(status);
      arrival.Set(false);
    }
    void ReleaseHold() {
      if (!released.exchange(true)) this->RemoveHold();
    }

    grpc::ClientContext context;
    Request request;
    Response next;
    internal::Arrival arrival;
    internal::CallEnd end;
    std::atomic<bool> released{false};
    std::shared_ptr<State> self;  // gRPC's reference, until OnDone
  };

  std::shared_ptr<State> state_;
  bool ended_ = false;
};

}  // namespace posthouse::rpc
