#include "services/mailbox/message/delivery.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/rpc/trace.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"
#include "services/common/tracing/span.h"
#include "services/mailbox/message/quota_append.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {
namespace {

using Outcome = v1::DeliveryOutcome;

Outcome MakeOutcome(Outcome::Kind kind, absl::string_view detail) {
  Outcome outcome;
  outcome.set_kind(kind);
  outcome.set_detail(std::string(detail));
  return outcome;
}

// Only the directory's word makes an outcome definite (DeliverTo). Every other error is temporary: neither a defect of
// this service nor a full store may bounce mail.
Outcome OutcomeOf(const absl::Status& status) { return MakeOutcome(Outcome::KIND_TEMPORARY, status.message()); }

DeliveryResult ResultOf(const Outcome& outcome) {
  switch (outcome.kind()) {
    case Outcome::KIND_STORED:
      return outcome.duplicate() ? DeliveryResult::kDuplicate : DeliveryResult::kStored;
    case Outcome::KIND_OVER_QUOTA:
    case Outcome::KIND_NEVER_FITS:
      return DeliveryResult::kOverQuota;
    case Outcome::KIND_NO_ACCOUNT:
      return DeliveryResult::kNoAccount;
    case Outcome::KIND_TOO_LARGE:
      return DeliveryResult::kTooLarge;
    default:
      return DeliveryResult::kTemporary;
  }
}

// The outcome in the words of the queue's log.
absl::string_view LoggedAs(Outcome::Kind kind) {
  switch (kind) {
    case Outcome::KIND_STORED:
      return "delivered";
    case Outcome::KIND_NO_ACCOUNT:
    case Outcome::KIND_TOO_LARGE:
    case Outcome::KIND_NEVER_FITS:
      return "permanent";
    default:
      return "temporary";
  }
}

// "over_quota": the kind in the words of posthouse_mailbox_deliveries_total.
std::string ReasonOf(Outcome::Kind kind) {
  const std::string name = Outcome::Kind_Name(kind);
  return absl::AsciiStrToLower(absl::StripPrefix(name, "KIND_"));
}

Outcome StoredIn(const Folder& folder, Uid uid, bool duplicate) {
  Outcome outcome;
  outcome.set_kind(Outcome::KIND_STORED);
  outcome.set_folder_id(folder.id().folder_id.value());
  outcome.set_uid(uid.value());
  outcome.set_duplicate(duplicate);
  return outcome;
}

Task<absl::StatusOr<Outcome>> DeliverTo(MailboxDeps& deps, Mailboxes& mailboxes, const v1::DeliveryTarget& target,
                                        const ReceivedMessage& message) {
  if (target.delivery_id().empty() || target.delivery_id().size() > kMaxDeliveryIdBytes) {
    co_return absl::InvalidArgumentError("delivery_id: 1 to 900 bytes");
  }
  const absl::StatusOr<std::shared_ptr<Account>> opened =
      co_await mailboxes.OpenAccount(TenantId(target.account().tenant()), AccountId(target.account().account_id()),
                                     target.account().placement_epoch());
  if (absl::IsNotFound(opened.status())) co_return MakeOutcome(Outcome::KIND_NO_ACCOUNT, "no such mailbox");
  if (absl::IsFailedPrecondition(opened.status())) {
    co_return MakeOutcome(Outcome::KIND_NOT_HERE, opened.status().message());
  }
  if (!opened.ok()) co_return opened.status();
  const std::shared_ptr<Account>& account = *opened;
  PH_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Folder> folder,
                         co_await mailboxes.OpenFolder(account, account->inbox_id()));
  NewMessage add = MessageOf(message);
  add.internal_date = absl::ToUnixSeconds(deps.clock());
  add.dedupe_key = DeliveryKey(target.delivery_id());
  const AppendOutcome outcome =
      co_await AppendWithinQuota(mailboxes, account, folder, mailboxes.QuotaOf(target.account()), std::move(add));
  if (outcome.over_quota) {
    const Outcome::Kind kind = outcome.never_fits ? Outcome::KIND_NEVER_FITS : Outcome::KIND_OVER_QUOTA;
    co_return MakeOutcome(kind, outcome.result.status().message());
  }
  PH_CO_RETURN_IF_ERROR(outcome.result.status());
  co_return StoredIn(*folder, outcome.result->uid, outcome.result->duplicate);
}

Task<Outcome> DeliverOne(MailboxDeps& deps, Mailboxes& mailboxes, const v1::DeliveryTarget& target,
                         const ReceivedMessage& message) {
  const absl::StatusOr<Outcome> outcome = co_await DeliverTo(deps, mailboxes, target, message);
  co_return outcome.ok() ? *outcome : OutcomeOf(outcome.status());
}

// `trace`: of the call that brought the message.
void EmitSpan(const std::optional<rpc::TraceContext>& trace, const std::string& queue_id, const Outcome& outcome,
              absl::Time started) {
  if (!trace.has_value() || !tracing::Wanted(*trace)) return;
  tracing::Span span;
  span.trace = trace->Child();
  span.parent_id = trace->parent_id;
  span.name = "mailbox.delivery";
  span.start = started;
  span.end = absl::Now();
  span.attributes = {{"posthouse.queue_id", queue_id}, {"posthouse.outcome", std::string(LoggedAs(outcome.kind()))}};
  if (outcome.kind() != Outcome::KIND_STORED) span.status = absl::UnavailableError("not stored");
  tracing::Emit(std::move(span));
}

}  // namespace

Task<bool> DeliverToAll(MailboxDeps& deps, Mailboxes& mailboxes, const v1::DeliverRequest_Header& header,
                        const ReceivedMessage& message, v1::DeliverResponse* response) {
  const absl::Time started = absl::Now();
  // All at once: targets of one store share its commits.
  std::vector<Task<Outcome>> tasks;
  for (const v1::DeliveryTarget& target : header.targets()) {
    tasks.push_back(DeliverOne(deps, mailboxes, target, message));
  }
  std::vector<Outcome> outcomes = co_await WhenAll(std::move(tasks));
  const std::optional<rpc::TraceContext> trace = rpc::TraceContext::Parse(header.traceparent());
  const std::string trace_id = trace.has_value() ? trace->trace_id : "";
  bool named = false;
  for (Outcome& outcome : outcomes) {
    const DeliveryResult result = ResultOf(outcome);
    deps.metrics.Deliveries(result).Add();
    // A commit that failed may still have happened: only a clear answer frees the blob.
    named |= result == DeliveryResult::kStored || result == DeliveryResult::kTemporary;
    if (result == DeliveryResult::kStored && header.has_accepted()) {
      deps.metrics.visible_seconds.Observe(deps.clock() - FromProto(header.accepted()), trace_id);
    }
    EmitSpan(trace, header.queue_id(), outcome, started);
    LOG_EVENT(kInfo, "delivered")
        .QueueId(header.queue_id())
        .Trace(trace_id)
        .Str("outcome", LoggedAs(outcome.kind()))
        .Str("reason", ReasonOf(outcome.kind()))
        .Str("folder_id", outcome.folder_id())
        .Int("uid", outcome.uid())
        .Bool("duplicate", outcome.duplicate())
        .Int("size_bytes", static_cast<int64_t>(message.size_bytes));
    *response->add_outcomes() = std::move(outcome);
  }
  co_return named;
}

}  // namespace posthouse::mailbox
