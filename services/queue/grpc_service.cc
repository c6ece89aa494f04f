#include "services/queue/grpc_service.h"

#include <utility>

#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/log/log.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/audit.h"
#include "services/common/rpc/server_calls.h"
#include "services/common/status/status.h"
#include "services/common/time/calm_clock.h"
#include "services/queue/admin.h"
#include "services/queue/enqueue_request.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::queue {
namespace {

constexpr size_t kMaxPiece = 1024 * 1024;  // more than the 256 KiB that queue.proto allows
constexpr size_t kHeadBytes = 64 * 1024;   // where Message-ID is looked for

using EnqueueCall = rpc::ReaderCall<v1::EnqueueRequest, v1::EnqueueResponse>;

EnqueueResult ResultOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return EnqueueResult::kInvalid;
    case absl::StatusCode::kResourceExhausted:
      return EnqueueResult::kFull;
    case absl::StatusCode::kCancelled:
      return EnqueueResult::kAborted;
    default:
      return EnqueueResult::kFailed;
  }
}

// One message that is being written to the spool, and its Message-ID.
class SpoolUpload {
 public:
  explicit SpoolUpload(Spool& spool) : writer_(spool.NewBody()) {}

  Task<absl::Status> Add(std::string piece) {
    if (piece.size() > kMaxPiece) co_return absl::InvalidArgumentError("a data part is larger than 1 MiB");
    if (!found_) {
      // The first piece mostly holds the whole header; then nothing is copied.
      if (head_.empty()) message_id_ = MessageIdOf(piece);
      found_ = !message_id_.empty();
      if (!found_ && head_.size() < kHeadBytes) {
        head_.append(piece, 0, kHeadBytes - head_.size());
        message_id_ = MessageIdOf(head_);
      }
    }
    co_return co_await writer_->Append(std::move(piece));
  }
  uint64_t size() const { return writer_->size(); }
  const std::string& message_id() const { return message_id_; }
  Task<absl::StatusOr<Body>> Finish() { co_return co_await writer_->Finish(); }

 private:
  const std::unique_ptr<BodyWriter> writer_;
  std::string head_;
  std::string message_id_;
  bool found_ = false;
};

class QueueRpc final : public v1::QueueService::CallbackService {
 public:
  QueueRpc(rpc::ServerRunner& runner, const ServiceParts& parts) : parts_(parts), runner_(runner) {}

  grpc::ServerReadReactor<v1::EnqueueRequest>* Enqueue(grpc::CallbackServerContext* context,
                                                       v1::EnqueueResponse* response) override {
    return rpc::ClientStreaming<v1::EnqueueRequest>(
        runner_, context, response, [this, context](EnqueueCall& call) { return DoEnqueue(call, context); });
  }

 private:
  Task<absl::Status> DoEnqueue(EnqueueCall& call, grpc::CallbackServerContext* context) {
    uint64_t bytes = 0;
    bool maybe_taken = false;
    absl::Time complete = parts_.clock();
    const absl::Status status = co_await Take(call, &bytes, &complete, &maybe_taken);
    if (!status.ok()) {
      parts_.metrics.Enqueued(ResultOf(status), 0, absl::ZeroDuration());
    } else if (call.response().duplicate()) {
      parts_.metrics.Enqueued(EnqueueResult::kDuplicate, 0, absl::ZeroDuration());
    } else {
      parts_.metrics.Enqueued(EnqueueResult::kAccepted, bytes, parts_.clock() - complete);
    }
    // queue.proto: the caller may ask another shard.
    if (!status.ok() && !maybe_taken) context->AddTrailingMetadata("not_accepted", "1");
    co_return status;
  }

  Task<absl::Status> Take(EnqueueCall& call, uint64_t* bytes, absl::Time* complete, bool* maybe_taken) {
    PH_CO_RETURN_IF_ERROR(parts_.accepting());
    PH_CO_ASSIGN_OR_RETURN(std::optional<v1::EnqueueRequest> first, co_await call.Read());
    if (!first.has_value() || !first->has_header())
      co_return absl::InvalidArgumentError("the first part must be the header");
    v1::EnqueueRequest::Header& header = *first->mutable_header();
    PH_CO_RETURN_IF_ERROR(CheckHeader(header));
    const absl::Time resolved = header.has_resolved_ms_ago()
                                    ? MonotonicNow() - absl::Milliseconds(header.resolved_ms_ago())
                                    : absl::InfinitePast();
    SpoolUpload upload(parts_.spool);
    if (!header.data().empty()) PH_CO_RETURN_IF_ERROR(co_await upload.Add(std::move(*header.mutable_data())));
    if (!header.commit()) PH_CO_RETURN_IF_ERROR(co_await ReadRest(call, upload));
    *complete = parts_.clock();
    *bytes = upload.size();
    PH_CO_ASSIGN_OR_RETURN(Body body, co_await upload.Finish());
    const std::shared_ptr<ItemRecord> record = NewItemRecord(&header, *complete, parts_.expire_after);
    record->item.set_message_id(upload.message_id());
    record->resolved = resolved;
    const std::shared_ptr<const std::string> memory = body.memory;
    const absl::Time wake = WakeTime(record->item, parts_.delay_warning_after);
    const absl::StatusOr<PutResult> stored = co_await parts_.spool.Put(record, std::move(body), wake);
    if (!stored.ok()) {
      *maybe_taken = !Spool::SurelyNotPut(stored.status());
      co_return stored.status();
    }
    const PutResult& put = *stored;
    call.response().set_queue_id(put.queue_id.Text());
    call.response().set_duplicate(put.duplicate);
    LogEnqueued(call, put, record->item);
    if (put.duplicate) co_return absl::OkStatus();
    // The call is answered before the delivery starts: the sender waits for the answer only.
    auto accept = [dispatcher = parts_.dispatcher, record, memory] { dispatcher->Accept(record, memory); };
    if (Executor* current = Executor::Current(); current != nullptr) {
      current->Post(std::move(accept));
    } else {
      parts_.loops.Next().Post(std::move(accept));
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> ReadRest(EnqueueCall& call, SpoolUpload& upload) {
    while (true) {
      PH_CO_ASSIGN_OR_RETURN(std::optional<v1::EnqueueRequest> part, co_await call.Read());
      if (!part.has_value()) co_return absl::CancelledError("the stream ended without a commit part");
      switch (part->part_case()) {
        case v1::EnqueueRequest::kData:
          PH_CO_RETURN_IF_ERROR(co_await upload.Add(std::move(*part->mutable_data())));
          break;
        case v1::EnqueueRequest::kCommit:
          if (part->commit().size_bytes() != upload.size()) {
            co_return absl::InvalidArgumentError("commit.size_bytes differs from the size of the data");
          }
          co_return absl::OkStatus();
        default:
          co_return absl::InvalidArgumentError("after the header only data and commit are allowed");
      }
    }
  }

  static void LogEnqueued(EnqueueCall& call, const PutResult& put, const v1::Item& item) {
    if (!log::Enabled(log::Level::kInfo)) return;
    LOG_EVENT(kInfo, "enqueued")
        .QueueId(put.queue_id.Text())
        .Trace(call.info().trace.trace_id)
        .Bool("duplicate", put.duplicate)
        .Str("from", item.envelope().reverse_path())
        .Int("recipients", item.recipients_size())
        .Int("size_bytes", static_cast<int64_t>(item.size_bytes()))
        .Str("message_id", item.message_id());
  }

  const ServiceParts parts_;
  rpc::ServerRunner& runner_;
};

class AdminRpc final : public v1::QueueAdminService::CallbackService {
 public:
  AdminRpc(rpc::ServerRunner& runner, const ServiceParts& parts)
      : admin_(parts.spool, *parts.dispatcher, parts.clock, parts.oldest), runner_(runner) {}

// One method: the arguments of every unary handler. `audited`: its name, when it changes something.
#define PH_ADMIN_METHOD(Name, audited)                                                                     \
  grpc::ServerUnaryReactor* Name(grpc::CallbackServerContext* context, const v1::Name##Request* request,   \
                                 v1::Name##Response* response) override {                                  \
    return rpc::Unary(runner_, context, request, response,                                                 \
                      [this](auto& call) { return Forward(call, audited, admin_.Name(call.request())); }); \
  }
  PH_ADMIN_METHOD(GetItem, "")
  PH_ADMIN_METHOD(ListItems, "")
  PH_ADMIN_METHOD(FindItems, "")
  PH_ADMIN_METHOD(RetryItems, "RetryItems")
  PH_ADMIN_METHOD(DeleteItem, "DeleteItem")
  PH_ADMIN_METHOD(GetStats, "")
  PH_ADMIN_METHOD(ListDestinations, "")
#undef PH_ADMIN_METHOD

 private:
  template <typename Call, typename Response>
  static Task<absl::Status> Forward(Call& call, absl::string_view audited, Task<absl::StatusOr<Response>> task) {
    absl::StatusOr<Response> response = co_await std::move(task);
    if (!audited.empty()) {
      rpc::AuditAdminCall(audited, call.request(), call.info().peer, call.info().trace.trace_id, response.status());
    }
    if (!response.ok()) co_return response.status();
    call.response() = *std::move(response);
    co_return absl::OkStatus();
  }

  Admin admin_;
  rpc::ServerRunner& runner_;
};

}  // namespace

std::vector<std::shared_ptr<grpc::Service>> NewGrpcServices(rpc::ServerRunner& runner, const ServiceParts& parts) {
  std::vector<std::shared_ptr<grpc::Service>> services;
  services.push_back(std::make_shared<QueueRpc>(runner, parts));
  services.push_back(std::make_shared<AdminRpc>(runner, parts));
  return services;
}

}  // namespace posthouse::queue
