#include "services/common/rpc/directory_changes.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/async/sync.h"
#include "services/common/log/log.h"
#include "services/common/rpc/streaming.h"

namespace posthouse::rpc {
namespace {

namespace v1 = directory::v1;
using Reader = ClientReader<v1::WatchRequest, v1::WatchResponse>;

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(50);
constexpr absl::Duration kMaxBackoff = absl::Seconds(3);
// A stream over a connection that was lost unnoticed ends at the latest after this time.
constexpr absl::Duration kStreamLife = absl::Hours(1);

}  // namespace

struct ChangeWatcher::State {
  State(const std::shared_ptr<grpc::Channel>& directory, Callbacks c)
      : stub(v1::DirectoryService::NewStub(directory)), callbacks(std::move(c)) {}

  bool stopped() {
    absl::MutexLock lock(&mutex);
    return stopping;
  }
  static Task<void> Run(std::shared_ptr<State> state);
  Task<absl::Status> Follow();

  const std::unique_ptr<v1::DirectoryService::Stub> stub;
  const Callbacks callbacks;
  Wakeup wakeup;
  absl::Notification ended;
  absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  Reader* reader ABSL_GUARDED_BY(mutex) = nullptr;
  // For Run() and Follow() only.
  uint64_t revision = 0;
  bool known = false;  // the stream can be resumed after `revision`
};

ChangeWatcher::ChangeWatcher(const std::shared_ptr<grpc::Channel>& directory, Executor& executor, Callbacks callbacks)
    : state_(std::make_shared<State>(directory, std::move(callbacks))) {
  Spawn(executor, State::Run(state_));
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

Task<void> ChangeWatcher::State::Run(std::shared_ptr<State> state) {
  absl::Duration backoff = kFirstBackoff;
  while (!state->stopped()) {
    const absl::Time start = absl::Now();
    const absl::Status status = co_await state->Follow();
    if (state->stopped()) break;
    state->callbacks.interrupted();
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

// Reads one stream to its end; returns its status.
Task<absl::Status> ChangeWatcher::State::Follow() {
  v1::WatchRequest request;
  request.set_after_revision(revision);
  request.set_only_new(!known);
  Reader stream(OptionsFor(kStreamLife), request, [this](auto* context, const v1::WatchRequest* req, auto* reactor) {
    stub->async()->Watch(context, req, reactor);
  });
  {
    absl::MutexLock lock(&mutex);
    reader = &stream;
    if (stopping) stream.Cancel();
  }
  absl::Status result;
  while (true) {
    const absl::StatusOr<std::optional<v1::WatchResponse>> next = co_await stream.Read();
    if (!next.ok() || !next->has_value()) {
      result = next.status();
      break;
    }
    const v1::WatchResponse& response = **next;
    if (!known) {
      // Entries cached before this moment may be older than this stream's first change.
      known = true;
      callbacks.lost();
    }
    revision = response.revision();
    if (!response.changes().empty()) callbacks.changed(response.revision(), response);
    callbacks.alive(response.revision());
  }
  absl::MutexLock lock(&mutex);
  reader = nullptr;
  co_return result;
}

}  // namespace posthouse::rpc
