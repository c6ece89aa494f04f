#include "services/directory/client.h"

#include <algorithm>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/async/sync.h"
#include "services/common/log/log.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/streaming.h"

namespace posthouse::directory {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(50);
constexpr absl::Duration kMaxBackoff = absl::Seconds(3);
// Streams are renewed now and then, so that none outlives a lost connection by long.
constexpr absl::Duration kStreamLife = absl::Hours(1);

rpc::CallOptions Options(absl::Duration deadline, const std::string& trace_id) {
  rpc::CallOptions options;
  options.deadline = deadline;
  if (!trace_id.empty()) {
    options.trace = rpc::TraceContext::New();
    options.trace.trace_id = trace_id;
  }
  return options;
}

}  // namespace

struct Client::Impl {
  explicit Impl(const std::shared_ptr<grpc::Channel>& channel) : stub(v1::DirectoryService::NewStub(channel)) {}
  const std::unique_ptr<v1::DirectoryService::Stub> stub;
};

Client::Client(std::shared_ptr<grpc::Channel> channel) : impl_(std::make_shared<Impl>(channel)) {}
Client::~Client() = default;

Task<absl::StatusOr<v1::LookupAddressResponse>> Client::LookupAddress(std::string address, absl::Duration deadline,
                                                                      std::string trace_id) {
  v1::LookupAddressRequest request;
  request.set_address(std::move(address));
  const std::shared_ptr<Impl> impl = impl_;
  co_return co_await rpc::Call<v1::LookupAddressResponse>(
      Options(deadline, trace_id), std::move(request), [&impl](auto* context, auto* req, auto* resp, auto done) {
        impl->stub->async()->LookupAddress(context, req, resp, std::move(done));
      });
}

Task<absl::StatusOr<v1::AuthenticateResponse>> Client::Authenticate(v1::AuthenticateRequest request,
                                                                    absl::Duration deadline, std::string trace_id) {
  const std::shared_ptr<Impl> impl = impl_;
  co_return co_await rpc::Call<v1::AuthenticateResponse>(
      Options(deadline, trace_id), std::move(request), [&impl](auto* context, auto* req, auto* resp, auto done) {
        impl->stub->async()->Authenticate(context, req, resp, std::move(done));
      });
}

Task<absl::StatusOr<v1::GetAccountResponse>> Client::GetAccount(v1::GetAccountRequest request,
                                                                absl::Duration deadline) {
  const std::shared_ptr<Impl> impl = impl_;
  co_return co_await rpc::Call<v1::GetAccountResponse>(
      Options(deadline, ""), std::move(request), [&impl](auto* context, auto* req, auto* resp, auto done) {
        impl->stub->async()->GetAccount(context, req, resp, std::move(done));
      });
}

struct ChangeWatcher::State {
  std::shared_ptr<Client::Impl> client;
  Callbacks callbacks;
  Wakeup wakeup;
  absl::Notification ended;
  absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  rpc::ClientReader<v1::WatchRequest, v1::WatchResponse>* reader ABSL_GUARDED_BY(mutex) = nullptr;
  // Of the task only.
  uint64_t revision = 0;
  bool known = false;  // `revision` can be resumed from
  bool stopped() {
    absl::MutexLock lock(&mutex);
    return stopping;
  }
};

ChangeWatcher::ChangeWatcher(Client& client, Executor& executor, Callbacks callbacks)
    : state_(std::make_shared<State>()) {
  state_->client = client.impl_;
  state_->callbacks = std::move(callbacks);
  Spawn(executor, Run(state_));
}

ChangeWatcher::~ChangeWatcher() { Stop(); }

void ChangeWatcher::Stop() {
  {
    absl::MutexLock lock(&state_->mutex);
    state_->stopping = true;
    if (state_->reader != nullptr) state_->reader->Cancel();
  }
  state_->wakeup.Signal();
  state_->ended.WaitForNotification();
}

Task<void> ChangeWatcher::Run(std::shared_ptr<State> state) {
  absl::Duration backoff = kFirstBackoff;
  while (!state->stopped()) {
    const absl::Time start = absl::Now();
    const absl::Status status = co_await Follow(state);
    if (state->stopped()) break;
    if (absl::IsOutOfRange(status)) {
      state->known = false;
      state->callbacks.lost();
      continue;
    }
    LOG_EVENT(kInfo, "directory_watch_ended").Err(status);
    if (absl::Now() - start > kMaxBackoff) backoff = kFirstBackoff;
    co_await state->wakeup.WaitFor(backoff);
    backoff = std::min(backoff * 2, kMaxBackoff);
  }
  state->ended.Notify();
}

Task<absl::Status> ChangeWatcher::Follow(std::shared_ptr<State> state) {
  v1::WatchRequest request;
  request.set_after_revision(state->revision);
  request.set_only_new(!state->known);
  rpc::CallOptions options;
  options.deadline = kStreamLife;
  rpc::ClientReader<v1::WatchRequest, v1::WatchResponse> reader(
      options, request, [&state](auto* context, const v1::WatchRequest* req, auto* reactor) {
        state->client->stub->async()->Watch(context, req, reactor);
      });
  {
    absl::MutexLock lock(&state->mutex);
    state->reader = &reader;
    if (state->stopping) reader.Cancel();
  }
  absl::Status result;
  while (true) {
    absl::StatusOr<std::optional<v1::WatchResponse>> next = co_await reader.Read();
    if (!next.ok() || !next->has_value()) {
      result = next.status();
      break;
    }
    const v1::WatchResponse& response = **next;
    if (!state->known) {
      // What was cached before this moment may be older than what this stream tells.
      state->known = true;
      state->callbacks.lost();
    }
    state->revision = response.revision();
    if (!response.changes().empty()) state->callbacks.changed(response.revision(), response);
    state->callbacks.alive(response.revision());
  }
  absl::MutexLock lock(&state->mutex);
  state->reader = nullptr;
  co_return result;
}

}  // namespace posthouse::directory
