#include "services/ingress/enqueue.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "absl/random/random.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/async/executor.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"

namespace posthouse::ingress {
namespace {

namespace v1 = ::posthouse::queue::v1;
using Stub = v1::QueueService::Stub;
using Writer = rpc::ClientWriter<v1::EnqueueRequest, v1::EnqueueResponse>;

constexpr size_t kSmallBytes = 64 * 1024;
constexpr size_t kPieceBytes = 256 * 1024;  // queue.proto: at most this in a piece
constexpr size_t kReplayBytes = 1024 * 1024;
constexpr int kTries = 2;

std::string NewKey() {
  thread_local absl::BitGen generator;
  std::string key(16, '\0');
  for (char& c : key) c = static_cast<char>(absl::Uniform<int>(generator, 0, 256));
  return key;
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

class EnqueueCallImpl final : public EnqueueCall {
 public:
  // `stubs`: in the order to try; not empty.
  EnqueueCallImpl(std::vector<Stub*> stubs, const std::atomic<bool>& stopped, const EnqueueTimeouts& timeouts,
                  std::shared_ptr<MessageMemory> memory, rpc::TraceContext trace, v1::Envelope&& envelope)
      : stubs_(std::move(stubs)),
        stopped_(stopped),
        timeouts_(timeouts),
        trace_(std::move(trace)),
        key_(NewKey()),
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
      writer_.reset();
      Failed(response.status());
    }
    co_return failure_;
  }

 private:
  v1::EnqueueRequest Header() {
    v1::EnqueueRequest request;
    v1::EnqueueRequest::Header& header = *request.mutable_header();
    header.set_idempotency_key(key_);
    *header.mutable_envelope() = envelope_;
    return request;
  }

  void Start(absl::Duration deadline) {
    rpc::CallOptions options;
    options.deadline = deadline;
    options.trace = trace_;
    Stub* const stub = stubs_[static_cast<size_t>(tries_) % stubs_.size()];
    ++tries_;
    writer_.emplace(options, [stub](auto* context, v1::EnqueueResponse* response, auto* reactor) {
      stub->async()->Enqueue(context, response, reactor);
    });
  }

  // The whole message in one write: header, data and commit.
  Task<absl::StatusOr<v1::EnqueueResponse>> CommitWhole() {
    v1::EnqueueRequest request = Header();
    request.mutable_header()->set_data(kept_);  // a copy: a second try may need it
    request.mutable_header()->set_commit(true);
    Start(timeouts_.small);
    PH_CO_RETURN_IF_ERROR(co_await writer_->Write(std::move(request)));
    co_return co_await writer_->Finish();
  }

  Task<absl::StatusOr<v1::EnqueueResponse>> CommitStream() {
    const Watchdog watchdog(*writer_, timeouts_.step);
    v1::EnqueueRequest request;
    request.mutable_commit()->set_size_bytes(size_);
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
      writer_.reset();
      Failed(status);
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

  // Prepares a second try if there may be one, else sets failure_.
  void Failed(const absl::Status& status) {
    sent_ = 0;
    if (replayable_ && tries_ < kTries && absl::IsUnavailable(status)) return;
    Fail(status);
  }

  const std::vector<Stub*> stubs_;
  const std::atomic<bool>& stopped_;
  const EnqueueTimeouts timeouts_;
  const rpc::TraceContext trace_;
  const std::string key_;
  const std::shared_ptr<MessageMemory> memory_;
  MessageMemory::Share held_;  // the size of kept_
  v1::Envelope envelope_;
  std::optional<Writer> writer_;
  std::string kept_;  // while replayable_: the whole message; then what is not sent
  size_t sent_ = 0;   // bytes of kept_ that the stream has
  uint64_t size_ = 0;
  bool replayable_ = true;  // the message is short enough for a second try
  int tries_ = 0;
  bool out_of_memory_ = false;
  absl::Status failure_;
};

class NoQueue final : public EnqueueCall {
  Task<void> Write(std::string) override { co_return; }
  Task<absl::StatusOr<std::string>> Commit() override { co_return absl::UnavailableError("no queue is configured"); }
};

class EnqueuerImpl final : public Enqueuer {
 public:
  EnqueuerImpl(const std::vector<std::shared_ptr<grpc::Channel>>& queues, std::shared_ptr<MessageMemory> memory,
               EnqueueTimeouts timeouts)
      : memory_(std::move(memory)), timeouts_(timeouts) {
    for (const auto& channel : queues) stubs_.push_back(v1::QueueService::NewStub(channel));
  }

  std::unique_ptr<EnqueueCall> Begin(rpc::TraceContext trace, v1::Envelope&& envelope) override {
    if (stubs_.empty()) return std::make_unique<NoQueue>();
    // Every shard accepts every message: round robin shares the load.
    const size_t first = next_.fetch_add(1, std::memory_order_relaxed);
    std::vector<Stub*> order;
    for (size_t i = 0; i < stubs_.size(); ++i) order.push_back(stubs_[(first + i) % stubs_.size()].get());
    return std::make_unique<EnqueueCallImpl>(std::move(order), stopped_, timeouts_, memory_, std::move(trace),
                                             std::move(envelope));
  }

  void Stop() override { stopped_ = true; }

 private:
  const std::shared_ptr<MessageMemory> memory_;
  const EnqueueTimeouts timeouts_;
  std::atomic<bool> stopped_{false};
  std::vector<std::unique_ptr<Stub>> stubs_;
  std::atomic<size_t> next_{0};
};

}  // namespace

std::unique_ptr<Enqueuer> Enqueuer::Create(const std::vector<std::shared_ptr<grpc::Channel>>& queues,
                                           std::shared_ptr<MessageMemory> memory, EnqueueTimeouts timeouts) {
  return std::make_unique<EnqueuerImpl>(queues, std::move(memory), timeouts);
}

}  // namespace posthouse::ingress
