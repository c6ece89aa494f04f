// The reactors behind client_streams.h, which includes this. A reactor is a State: the
// stream object and gRPC (until OnDone) own it together.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_callback.h>

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/rpc/arrival.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/client_streams.h"
#include "services/common/rpc/method_name.h"

namespace posthouse::rpc {

namespace internal {

// The end of a call: its status, for a task that waits for it before or after, and its span.
class CallEnd {
 public:
  // Before the call starts.
  void Begin(ClientSpan span) { span_ = std::move(span); }
  void Set(const grpc::Status& status) {
    span_.End(FromGrpcVerbatim(status));
    {
      absl::MutexLock lock(&mutex_);
      status_ = FromGrpc(status);
    }
    arrival_.Set(true);
  }
  // The call's status, once it has ended.
  Task<absl::Status> Wait() {
    co_await AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) { arrival_.Wait(std::move(done)); });
    absl::MutexLock lock(&mutex_);
    co_return status_;
  }

 private:
  absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  Arrival arrival_;
  ClientSpan span_;
};

}  // namespace internal

// ---- ClientWriter

template <typename Request, typename Response>
struct ClientWriter<Request, Response>::State final : grpc::ClientWriteReactor<Request> {
  State() { written.Set(true); }
  void OnWriteDone(bool ok) override { written.Set(ok); }
  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<State> keep = std::move(self);
    end.Set(status);
  }
  // Waits until no message is on the way; false: the call has ended.
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

template <typename Request, typename Response>
template <typename Start>
ClientWriter<Request, Response>::ClientWriter(const CallOptions& options, Start start)
    : state_(std::make_shared<State>()) {
  state_->end.Begin(Prepare(state_->context, options, internal::MethodName<Request>));
  state_->context.set_initial_metadata_corked(true);
  state_->self = state_;
  start(&state_->context, &state_->response, static_cast<grpc::ClientWriteReactor<Request>*>(state_.get()));
}

template <typename Request, typename Response>
ClientWriter<Request, Response>::~ClientWriter() {
  if (state_ == nullptr || finished_) return;
  state_->context.TryCancel();
  // A call that was made and never started would never be freed.
  if (!started_) state_->StartCall();
  // The hold taken in Begin(); without it gRPC may already be done.
  if (started_) state_->RemoveHold();
}

// Starts the call. The hold keeps the reactor alive for writes that start outside its callbacks.
template <typename Request, typename Response>
void ClientWriter<Request, Response>::Begin() {
  if (started_) return;
  started_ = true;
  state_->AddHold();
  state_->StartCall();
}

template <typename Request, typename Response>
Task<absl::Status> ClientWriter<Request, Response>::Write(Request message) {
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

template <typename Request, typename Response>
Task<absl::StatusOr<Response>> ClientWriter<Request, Response>::Finish() {
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
  const absl::Status status = co_await state_->end.Wait();
  if (!status.ok()) co_return status;
  co_return std::move(state_->response);
}

template <typename Request, typename Response>
void ClientWriter<Request, Response>::Cancel() {
  state_->context.TryCancel();
}

// ---- ClientReader

template <typename Request, typename Response>
struct ClientReader<Request, Response>::State final : grpc::ClientReadReactor<Response> {
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

template <typename Request, typename Response>
template <typename Start>
ClientReader<Request, Response>::ClientReader(const CallOptions& options, Request request, Start start)
    : state_(std::make_shared<State>()) {
  state_->end.Begin(Prepare(state_->context, options, internal::MethodName<Request>));
  state_->request = std::move(request);
  state_->self = state_;
  start(&state_->context, static_cast<const Request*>(&state_->request),
        static_cast<grpc::ClientReadReactor<Response>*>(state_.get()));
  // Reads start outside of the reactor's callbacks.
  state_->AddHold();
  state_->StartRead(&state_->next);
  state_->StartCall();
}

template <typename Request, typename Response>
ClientReader<Request, Response>::~ClientReader() {
  if (state_ == nullptr) return;
  if (!ended_) state_->context.TryCancel();
  state_->ReleaseHold();
}

template <typename Request, typename Response>
Task<absl::StatusOr<std::optional<Response>>> ClientReader<Request, Response>::Read() {
  const bool ok = !ended_ && co_await AwaitCallback<bool>([this](absl::AnyInvocable<void(bool)> done) {
    state_->arrival.Wait(std::move(done));
  });
  if (!ok) {
    ended_ = true;
    state_->ReleaseHold();
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

template <typename Request, typename Response>
void ClientReader<Request, Response>::Cancel() {
  state_->context.TryCancel();
}

}  // namespace posthouse::rpc
