#include "services/queue/delivery/local.h"

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/rpc/client_streams.h"
#include "services/common/status/status.h"
#include "services/queue/spool/item_record.h"

namespace posthouse::queue {
namespace {

namespace mv1 = posthouse::mailbox::v1;
using Kind = mv1::DeliveryOutcome::Kind;

constexpr uint64_t kPieceBytes = 256 * 1024;

mv1::DeliverRequest Header(const DeliveryAttempt& attempt) {
  mv1::DeliverRequest request;
  mv1::DeliverRequest::Header* header = request.mutable_header();
  header->set_reverse_path(attempt.envelope.reverse_path());
  header->set_traceparent(attempt.Traceparent());
  header->set_queue_id(attempt.queue_id.Text());
  ToProto(attempt.accepted, header->mutable_accepted());
  for (const Target& target : attempt.targets) {
    mv1::DeliveryTarget* out = header->add_targets();
    out->set_delivery_id(absl::StrCat(attempt.queue_id.Text(), "/", target.index, "/keep"));
    const auto& local = target.recipient.resolved().local();
    *out->mutable_account() = local.account();
    out->set_recipient(target.recipient.address());
    out->set_detail(local.detail());
  }
  return request;
}

class LocalDelivery final : public Delivery {
 public:
  LocalDelivery(std::shared_ptr<const rpc::LivePeers> peers, LocalOptions options)
      : peers_(std::move(peers)), options_(options) {}

  Task<DeliveryResult> Deliver(const DeliveryAttempt& attempt) override {
    const std::shared_ptr<rpc::Members> members = peers_->Get()->MailboxOf(attempt.destination.home());
    if (members == nullptr) {
      const Outcome unknown =
          MakeOutcome(Outcome::Kind::kTemporary, 451, "4.3.5", "no mailbox server is configured for the account");
      co_return SameForAll(attempt, unknown, Reachability::kUnreachable);
    }
    // Any member of the store may take all targets; the first one's own saves it a cold start.
    const auto& first = attempt.targets.front().recipient.resolved().local().account();
    const auto stub = members->For(AccountId(first.account_id()))->Stub<mv1::MailboxService>();
    rpc::CallOptions options;
    options.deadline = options_.deadline + absl::Microseconds(attempt.size_bytes);
    options.trace = attempt.trace;
    rpc::ClientWriter<mv1::DeliverRequest, mv1::DeliverResponse> writer(
        options, [stub](auto* context, mv1::DeliverResponse* response, auto* reactor) {
          stub->async()->Deliver(context, response, reactor);
        });
    absl::Status unreadable;
    Enter(&writer);
    const absl::StatusOr<mv1::DeliverResponse> response = co_await Send(attempt, writer, &unreadable);
    Leave(&writer);
    if (!unreadable.ok()) co_return SameForAll(attempt, OutcomeForUnreadable(unreadable), Reachability::kNeutral);
    if (!response.ok()) co_return ResultForFailedCall(attempt, response.status());
    DeliveryResult result;
    result.reachability = Reachability::kSuccess;
    for (int i = 0; i < static_cast<int>(attempt.targets.size()); ++i) {
      // A missing outcome counts as temporary.
      result.outcomes.push_back(
          OutcomeForDelivered(i < response->outcomes_size() ? response->outcomes(i) : mv1::DeliveryOutcome()));
    }
    co_return result;
  }

  void Abort() override {
    absl::MutexLock lock(&mutex_);
    aborted_ = true;
    for (Writer* writer : busy_) writer->Cancel();
  }

 private:
  using Writer = rpc::ClientWriter<mv1::DeliverRequest, mv1::DeliverResponse>;

  void Enter(Writer* writer) {
    absl::MutexLock lock(&mutex_);
    busy_.insert(writer);
    if (aborted_) writer->Cancel();
  }
  void Leave(Writer* writer) {
    absl::MutexLock lock(&mutex_);
    busy_.erase(writer);
  }

  // Sends a small message in one write, a larger one in pieces. When the message cannot be
  // read, sets `unreadable` and drops the call.
  static Task<absl::StatusOr<mv1::DeliverResponse>> Send(const DeliveryAttempt& attempt, Writer& writer,
                                                         absl::Status* unreadable) {
    const std::string fields = DeliveryFields(attempt);
    mv1::DeliverRequest request = Header(attempt);
    std::string* data = request.mutable_header()->mutable_data();
    if (fields.size() + attempt.size_bytes <= kPieceBytes) {
      *unreadable = co_await AppendBody(attempt, 0, attempt.size_bytes, data);
      if (!unreadable->ok()) co_return *unreadable;
      RemoveReturnPaths(data);
      data->insert(0, fields);
      request.mutable_header()->set_commit(true);
      // When the call has ended early, Finish() returns the reason.
      (co_await writer.Write(std::move(request))).IgnoreError();
      co_return co_await writer.Finish();
    }
    *data = fields;
    uint64_t size = fields.size();
    absl::Status written = co_await writer.Write(std::move(request));
    for (uint64_t at = 0; written.ok() && at < attempt.size_bytes; at += kPieceBytes) {
      mv1::DeliverRequest piece;
      const uint64_t length = std::min(kPieceBytes, attempt.size_bytes - at);
      *unreadable = co_await AppendBody(attempt, at, length, piece.mutable_data());
      if (!unreadable->ok()) co_return *unreadable;
      if (at == 0) RemoveReturnPaths(piece.mutable_data());
      size += piece.data().size();
      written = co_await writer.Write(std::move(piece));
    }
    if (written.ok()) {
      mv1::DeliverRequest commit;
      commit.mutable_commit()->set_size_bytes(size);
      (co_await writer.Write(std::move(commit))).IgnoreError();
    }
    co_return co_await writer.Finish();
  }

  static Task<absl::Status> AppendBody(const DeliveryAttempt& attempt, uint64_t offset, uint64_t length,
                                       std::string* out) {
    if (length == 0) co_return absl::OkStatus();
    if (attempt.memory != nullptr) {
      out->append(*attempt.memory, offset, length);
      co_return absl::OkStatus();
    }
    const absl::StatusOr<absl::Cord> bytes = co_await attempt.read(offset, length);
    if (!bytes.ok()) co_return bytes.status();
    if (bytes->size() != length) co_return absl::DataLossError("the stored message is shorter than the accepted one");
    for (const absl::string_view chunk : bytes->Chunks()) out->append(chunk.data(), chunk.size());
    co_return absl::OkStatus();
  }

  const std::shared_ptr<const rpc::LivePeers> peers_;
  const LocalOptions options_;
  absl::Mutex mutex_;
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<Writer*> busy_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::string DeliveryFields(const DeliveryAttempt& attempt) {
  // RFC 5321 §4.4: the delivery system adds the Return-path line, the null one too.
  std::string fields = absl::StrCat("Return-Path: <", attempt.envelope.reverse_path(), ">\r\n");
  // Several recipients share one stored copy, which must not disclose them to each other.
  if (attempt.targets.size() == 1) {
    absl::StrAppend(&fields, "Delivered-To: ", attempt.targets[0].recipient.address(), "\r\n");
  }
  return fields;
}

void RemoveReturnPaths(std::string* message) {
  const absl::string_view all = *message;
  std::string kept;  // what stays of the fields before `from`, once one was removed
  size_t from = 0;   // the first byte that is neither in `kept` nor removed
  for (size_t at = 0; at < all.size();) {
    const absl::string_view rest = all.substr(at);
    // The field ends before the first line that is not folded (RFC 5322 §2.2.3).
    size_t end = rest.find("\r\n");
    while (end != absl::string_view::npos && end + 2 < rest.size() && (rest[end + 2] == ' ' || rest[end + 2] == '\t')) {
      end = rest.find("\r\n", end + 2);
    }
    if (end == absl::string_view::npos || end + 2 >= rest.size()) break;  // it may go on
    const absl::string_view field = rest.substr(0, end);
    const size_t colon = field.find(':');
    if (colon == absl::string_view::npos) break;  // the body, with or without a blank line before it
    if (absl::EqualsIgnoreCase(absl::StripTrailingAsciiWhitespace(field.substr(0, colon)), "Return-Path")) {
      absl::StrAppend(&kept, all.substr(from, at - from));
      from = at + end + 2;
    }
    at += end + 2;
  }
  if (from > 0) *message = absl::StrCat(kept, all.substr(from));
}

Outcome OutcomeForDelivered(const mv1::DeliveryOutcome& from) {
  const auto text = [&from](absl::string_view otherwise) {
    return from.detail().empty() ? std::string(otherwise) : from.detail();
  };
  Outcome outcome;
  switch (from.kind()) {
    case mv1::DeliveryOutcome::KIND_STORED:
      outcome = MakeOutcome(Outcome::Kind::kDelivered, 250, "2.0.0",
                            from.duplicate() ? "stored by an earlier delivery" : "stored");
      break;
    case mv1::DeliveryOutcome::KIND_OVER_QUOTA:
      outcome = MakeOutcome(Outcome::Kind::kTemporary, 452, "4.2.2", text("mailbox full"));  // RFC 3463 §3.3
      break;
    case mv1::DeliveryOutcome::KIND_NEVER_FITS:
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 552, "5.2.2", text("message larger than the mailbox's quota"));
      break;
    case mv1::DeliveryOutcome::KIND_NO_ACCOUNT:
    case mv1::DeliveryOutcome::KIND_NOT_HERE:
      // Not a bounce: the account may have been moved, or made again, since it was resolved. The next attempt asks
      // the directory, and the message bounces if that has no such account.
      outcome = MakeOutcome(Outcome::Kind::kTemporary, 450, "4.2.1", text("mailbox is not at this store"));
      outcome.resolve_again = true;
      break;
    case mv1::DeliveryOutcome::KIND_TOO_LARGE:
      outcome = MakeOutcome(Outcome::Kind::kPermanent, 552, "5.3.4", text("message too large for the mailbox"));
      break;
    default:
      outcome = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.3.0", text("mailbox not available, try again later"));
      break;
  }
  outcome.attempt.set_address("mailbox");
  return outcome;
}

DeliveryResult ResultForFailedCall(const DeliveryAttempt& attempt, const absl::Status& status) {
  Outcome outcome = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.3.0", "mailbox not available, try again later");
  outcome.attempt.set_address("mailbox");
  outcome.attempt.set_error(CutText(absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message())));
  switch (status.code()) {
    // The mailbox process is down, hangs, or is full: block it and probe it later.
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnauthenticated:
      return SameForAll(attempt, outcome, Reachability::kUnreachable);
    default:
      return SameForAll(attempt, outcome, Reachability::kNeutral);
  }
}

std::unique_ptr<Delivery> NewLocalDelivery(std::shared_ptr<const rpc::LivePeers> peers, LocalOptions options) {
  return std::make_unique<LocalDelivery>(std::move(peers), options);
}

}  // namespace posthouse::queue
