#include "services/ingress/enqueue.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/async/executor.h"
#include "services/common/log/log.h"
#include "services/common/rpc/admission.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"
#include "services/common/time/calm_clock.h"

namespace posthouse::ingress {
namespace {

namespace v1 = ::posthouse::queue::v1;
using Stub = v1::QueueService::Stub;
using Writer = rpc::ClientWriter<v1::EnqueueRequest, v1::EnqueueResponse>;

constexpr size_t kSmallBytes = 64 * 1024;
constexpr size_t kPieceBytes = 256 * 1024;  // queue.proto: at most this in a piece
constexpr int64_t kMostToldAge = 60'000;    // milliseconds; older answers are of no use to the queue
constexpr size_t kReplayBytes = 1024 * 1024;
constexpr int kTries = 2;  // while no shard can have taken the message
constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(5);

struct Shard {
  std::shared_ptr<Stub> stub;
  size_t number = 0;  // in peers.queue
};

// queue.proto: two bytes name the shard, 16 are random.
std::string NewKey(size_t shard) {
  thread_local absl::BitGen generator;
  std::string key(18, '\0');
  for (char& c : key) c = static_cast<char>(absl::Uniform<int>(generator, 0, 256));
  key[0] = static_cast<char>(shard >> 8);
  key[1] = static_cast<char>(shard);
  return key;
}

// Whether a call that has ended was given to a connection. gRPC then knows the address of
// its peer; before, it names the target, or nothing.
bool WasSent(const grpc::ClientContext& context) {
  const std::string peer = context.peer();
  for (const char* transport : {"ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "inproc"}) {
    if (absl::StartsWith(peer, transport)) return true;
  }
  return false;
}

// Cancels a call after `timeout`, unless the watchdog is destroyed first.
class Watchdog {
 public:
  Watchdog(Writer& writer, absl::Duration timeout)
      : executor_(Executor::Current()), alive_(std::make_shared<bool>(true)) {
    timer_ = executor_->PostAfter(timeout, [alive = alive_, call = &writer] {
      if (*alive) call->Cancel();
    });
  }
  ~Watchdog() {
    *alive_ = false;
    executor_->CancelTimer(timer_);
  }
  Watchdog(const Watchdog&) = delete;

 private:
  Executor* const executor_;  // the session's loop: timer and session never run at once
  const std::shared_ptr<bool> alive_;
  uint64_t timer_ = 0;
};

class ShardedEnqueueCall final : public EnqueueCall {
 public:
  // `shards`: in the order to try; not empty.
  ShardedEnqueueCall(std::vector<Shard> shards, const std::atomic<bool>& stopped, const EnqueueTimeouts& timeouts,
                     std::shared_ptr<MemoryBudget> memory, rpc::TraceContext trace, v1::Envelope&& envelope,
                     absl::Time resolved)
      : shards_(std::move(shards)),
        stopped_(stopped),
        timeouts_(timeouts),
        trace_(std::move(trace)),
        resolved_(resolved),
        key_(NewKey(shards_[0].number)),
        memory_(std::move(memory)),
        held_(memory_) {
    envelope_.Swap(&envelope);
  }

  Task<void> Write(std::string piece) override {
    size_ += piece.size();
    if (!failure_.ok()) co_return;
    // Copies of what the queue has go first; then the queue gets what was collected.
    if (!memory_->HasRoomForCopies()) DropCopy();
    if (!memory_->HasRoom(piece.size())) co_await Push();
    if (!failure_.ok()) co_return;
    if (!memory_->HasRoom(piece.size())) {
      out_of_memory_ = true;
      writer_.reset();
      Fail(absl::ResourceExhaustedError("memory for messages in transit is used up (ingress.message_memory_bytes)"));
      co_return;
    }
    if (kept_.empty()) {
      kept_ = std::move(piece);
    } else {
      kept_ += piece;
    }
    held_.Set(kept_.capacity());
    if (kept_.size() - sent_ < kSmallBytes) co_return;
    co_await Push();
  }

  bool out_of_memory() const override { return out_of_memory_; }

  Task<absl::StatusOr<std::string>> Commit() override {
    while (failure_.ok() && MayStart()) {
      absl::StatusOr<v1::EnqueueResponse> response = absl::UnknownError("not asked");
      if (!writer_.has_value() && kept_.size() <= kPieceBytes) {
        response = co_await CommitWhole();
      } else {
        co_await Push();
        if (!failure_.ok()) break;
        response = co_await CommitStream();
      }
      if (response.ok()) co_return response->queue_id();
      co_await Failed(response.status());
    }
    co_return failure_;
  }

 private:
  v1::EnqueueRequest Header() {
    v1::EnqueueRequest request;
    v1::EnqueueRequest::Header& header = *request.mutable_header();
    header.set_idempotency_key(key_);
    *header.mutable_envelope() = envelope_;
    const int64_t age = absl::ToInt64Milliseconds(MonotonicNow() - resolved_);
    if (age >= 0 && age <= kMostToldAge) header.set_resolved_ms_ago(static_cast<uint32_t>(age));
    return request;
  }

  void Start(absl::Duration deadline) {
    rpc::CallOptions options;
    options.deadline = deadline;
    options.trace = trace_;
    const std::shared_ptr<Stub> stub = shards_[at_].stub;
    commit_sent_ = false;
    writer_.emplace(options, [this, stub](auto* context, v1::EnqueueResponse* response, auto* reactor) {
      context_ = context;
      stub->async()->Enqueue(context, response, reactor);
    });
  }

  // The whole message in one write: header, data and commit.
  Task<absl::StatusOr<v1::EnqueueResponse>> CommitWhole() {
    v1::EnqueueRequest request = Header();
    request.mutable_header()->set_data(kept_);  // a copy: a second try may need it
    request.mutable_header()->set_commit(true);
    Start(timeouts_.small);
    commit_sent_ = true;
    // If the call has ended, Finish() returns why.
    (co_await writer_->Write(std::move(request))).IgnoreError();
    co_return co_await writer_->Finish();
  }

  Task<absl::StatusOr<v1::EnqueueResponse>> CommitStream() {
    const Watchdog watchdog(*writer_, timeouts_.step);
    v1::EnqueueRequest request;
    request.mutable_commit()->set_size_bytes(size_);
    commit_sent_ = true;
    // If the call has ended, Finish() returns why.
    (co_await writer_->Write(std::move(request))).IgnoreError();
    co_return co_await writer_->Finish();
  }

  // The next piece for the stream. A copy only while a second try may need it again.
  std::string NextPiece(size_t bytes) {
    return replayable_ || bytes < kept_.size() ? kept_.substr(sent_, bytes) : std::exchange(kept_, std::string());
  }

  // Sends the bytes of kept_ that the stream does not have yet. Starts the stream, also
  // for a second try.
  Task<void> Push() {
    while (failure_.ok() && MayStart() && sent_ < kept_.size()) {
      v1::EnqueueRequest request;
      const size_t bytes = std::min(kPieceBytes, kept_.size() - sent_);
      if (!writer_.has_value()) {
        request = Header();
        request.mutable_header()->set_data(NextPiece(bytes));
        Start(timeouts_.stream);
      } else {
        request.set_data(NextPiece(bytes));
      }
      absl::Status status;
      {
        const Watchdog watchdog(*writer_, timeouts_.step);
        status = co_await writer_->Write(std::move(request));
        if (!status.ok()) status = (co_await writer_->Finish()).status();
      }
      if (status.ok()) {
        sent_ = std::min(sent_ + bytes, kept_.size());
        continue;
      }
      co_await Failed(status);
    }
    if (kept_.size() > kReplayBytes || !memory_->HasRoomForCopies()) DropCopy();
    if (!replayable_) FreeSent();
  }

  // No second try from now on.
  void DropCopy() {
    // A stream that has not begun has nothing that could be sent twice.
    if (!writer_.has_value()) return;
    replayable_ = false;
    FreeSent();
  }

  // Frees the bytes that the stream has.
  void FreeSent() {
    if (sent_ == 0 && !kept_.empty()) return;
    kept_ = sent_ < kept_.size() ? kept_.substr(sent_) : std::string();
    sent_ = 0;
    held_.Set(kept_.capacity());
  }

  void Fail(absl::Status status) {
    failure_ = std::move(status);
    kept_ = std::string();
    held_.Set(0);
  }

  // False when a stream would have to be started after Stop(); sets failure_.
  bool MayStart() {
    if (writer_.has_value() || !stopped_) return true;
    Fail(absl::UnavailableError("shutting down"));
    return false;
  }

  // After a call that failed with `status`: prepares the next one if there may be one, else sets failure_.
  Task<void> Failed(absl::Status status) {
    // A refused call is one at the wrong shard, or one that this process may not make: its method did not run.
    const bool refused = status.GetPayload(rpc::kWasRefusedPayload).has_value();
    const bool surely_not_taken = refused || !commit_sent_ || !WasSent(*context_) ||
                                  context_->GetServerTrailingMetadata().count("not_accepted") > 0;
    context_ = nullptr;
    writer_.reset();
    sent_ = 0;
    if (!surely_not_taken && doubt_ends_ == absl::InfiniteFuture()) {
      doubt_ends_ = MonotonicNow() + timeouts_.doubt;
    }
    if (!replayable_) {
      Fail(std::move(status));
    } else if (doubt_ends_ != absl::InfiniteFuture()) {
      if (absl::IsUnavailable(status) && MonotonicNow() + pause_ < doubt_ends_) {
        LOG_EVENT(kInfo, "enqueue_asked_again").Int("shard", static_cast<int64_t>(shards_[at_].number)).Err(status);
        co_await Sleep(pause_);
        pause_ = std::min(pause_ * 2, kLongestPause);
      } else {
        Fail(std::move(status));
      }
    } else if (++tries_ < kTries && (absl::IsUnavailable(status) || MayHaveRoom(status))) {
      if (shards_.size() > 1) {
        at_ = (at_ + 1) % shards_.size();
        key_ = NewKey(shards_[at_].number);
      }
    } else {
      Fail(std::move(status));
    }
  }

  // The queue is full: another shard may not be.
  bool MayHaveRoom(const absl::Status& status) const { return shards_.size() > 1 && absl::IsResourceExhausted(status); }

  const std::vector<Shard> shards_;
  const std::atomic<bool>& stopped_;
  const EnqueueTimeouts timeouts_;
  const rpc::TraceContext trace_;
  const absl::Time resolved_;
  size_t at_ = 0;    // in shards_
  std::string key_;  // at that shard
  const std::shared_ptr<MemoryBudget> memory_;
  MemoryBudget::Share held_;  // the size of kept_
  v1::Envelope envelope_;
  std::optional<Writer> writer_;
  const grpc::ClientContext* context_ = nullptr;  // of writer_
  bool commit_sent_ = false;                      // by writer_, perhaps
  std::string kept_;                              // while replayable_: the whole message; then what is not sent
  size_t sent_ = 0;                               // bytes of kept_ that the stream has
  uint64_t size_ = 0;
  bool replayable_ = true;  // the message is short enough for a second try
  int tries_ = 0;
  bool out_of_memory_ = false;
  // A shard may have taken the message. Until when it is asked (MonotonicNow()); infinite: no shard can have.
  absl::Time doubt_ends_ = absl::InfiniteFuture();
  absl::Duration pause_ = kFirstPause;
  absl::Status failure_;
};

class NoQueue final : public EnqueueCall {
  Task<void> Write(std::string) override { co_return; }
  Task<absl::StatusOr<std::string>> Commit() override { co_return absl::UnavailableError("no queue is configured"); }
};

class ShardedEnqueuer final : public Enqueuer {
 public:
  ShardedEnqueuer(const std::vector<std::shared_ptr<grpc::Channel>>& queues, std::shared_ptr<MemoryBudget> memory,
                  EnqueueTimeouts timeouts)
      : memory_(std::move(memory)), timeouts_(timeouts) {
    ShardedEnqueuer::SetQueues(queues);
  }

  void SetQueues(const std::vector<std::shared_ptr<grpc::Channel>>& queues) override {
    Stubs stubs;
    for (const auto& channel : queues) stubs.push_back(v1::QueueService::NewStub(channel));
    absl::MutexLock lock(&mutex_);
    stubs_ = std::make_shared<const Stubs>(std::move(stubs));
  }

  std::unique_ptr<EnqueueCall> Begin(rpc::TraceContext trace, v1::Envelope&& envelope, absl::Time resolved) override {
    std::shared_ptr<const Stubs> stubs;
    {
      absl::MutexLock lock(&mutex_);
      stubs = stubs_;
    }
    if (stubs->empty()) return std::make_unique<NoQueue>();
    // Every shard accepts every message: round robin shares the load.
    const size_t first = next_.fetch_add(1, std::memory_order_relaxed);
    std::vector<Shard> order;
    for (size_t i = 0; i < stubs->size(); ++i) {
      const size_t number = (first + i) % stubs->size();
      order.push_back({(*stubs)[number], number});
    }
    return std::make_unique<ShardedEnqueueCall>(std::move(order), stopped_, timeouts_, memory_, std::move(trace),
                                                std::move(envelope), resolved);
  }

  void Stop() override { stopped_ = true; }

 private:
  const std::shared_ptr<MemoryBudget> memory_;
  const EnqueueTimeouts timeouts_;
  std::atomic<bool> stopped_{false};
  using Stubs = std::vector<std::shared_ptr<Stub>>;
  absl::Mutex mutex_;
  std::shared_ptr<const Stubs> stubs_ ABSL_GUARDED_BY(mutex_);
  std::atomic<size_t> next_{0};
};

}  // namespace

std::unique_ptr<Enqueuer> Enqueuer::Create(const std::vector<std::shared_ptr<grpc::Channel>>& queues,
                                           std::shared_ptr<MemoryBudget> memory, EnqueueTimeouts timeouts) {
  return std::make_unique<ShardedEnqueuer>(queues, std::move(memory), timeouts);
}

}  // namespace posthouse::ingress
