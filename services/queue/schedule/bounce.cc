#include "services/queue/schedule/bounce.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/queue/delivery/delivery.h"

namespace posthouse::queue {
namespace {

// A status code of the action's class (RFC 3463 §2); a peer's code of another class is ignored.
std::string StatusFor(const v1::ItemRecipient& recipient, dsn::Action action) {
  const std::string& enhanced = recipient.last().reply().enhanced();
  switch (action) {
    case dsn::Action::kDelivered:
    case dsn::Action::kRelayed:
      return !enhanced.empty() && enhanced[0] == '2' ? enhanced : "2.0.0";
    case dsn::Action::kDelayed:
      if (!enhanced.empty() && enhanced[0] == '4') return enhanced;
      // A host without a reply did not answer (RFC 3463 §3.5: X.4.1).
      return recipient.last().host().empty() || recipient.last().reply().code() != 0 ? "4.0.0" : "4.4.1";
    case dsn::Action::kFailed:
      break;
  }
  if (recipient.state() == v1::RECIPIENT_STATE_EXPIRED) return "4.4.7";  // delivery time expired
  if (recipient.state() == v1::RECIPIENT_STATE_DELETED) return "5.7.1";
  return !enhanced.empty() && enhanced[0] == '5' ? enhanced : "5.0.0";
}

std::string Diagnostic(const v1::Attempt& last) {
  if (last.reply().code() == 0) return "";
  return absl::StrCat(last.reply().code(), last.reply().enhanced().empty() ? "" : " ", last.reply().enhanced(), " ",
                      last.reply().text());
}

// What this system decided or met, and why: "550 5.1.2 domain does not exist (DNS: ...)",
// "host mx.example.org: greeting: connection timed out".
std::string OwnReason(const v1::Attempt& last) {
  std::string reason = Diagnostic(last);
  if (reason.empty()) {
    reason = last.error();
  } else if (!last.error().empty()) {
    absl::StrAppend(&reason, " (", last.error(), ")");
  }
  return reason.empty() || last.host().empty() ? reason : absl::StrCat("host ", last.host(), ": ", reason);
}

dsn::RecipientReport ReportOn(const v1::Item& item, const Notice& notice) {
  const v1::ItemRecipient& recipient = item.recipients(notice.index);
  dsn::RecipientReport report;
  report.action = notice.action;
  report.final_address = recipient.recipient().address();
  report.original_address = recipient.recipient().original();
  report.orcpt = recipient.recipient().orcpt();
  report.status = StatusFor(recipient, notice.action);
  if (notice.action != dsn::Action::kDelivered && notice.action != dsn::Action::kRelayed) {
    const v1::Attempt& last = recipient.last();
    // RFC 3464 §2.3.5, §2.3.6: only what a host replied names the host and is of type smtp.
    // Attempts of earlier versions that name no host have a reply of ours.
    if (last.ours() || last.host().empty() || last.reply().code() == 0) {
      report.reason = OwnReason(last);
    } else {
      report.remote_mta = last.host();
      report.diagnostic = Diagnostic(last);
    }
  }
  if (recipient.has_last()) report.last_attempt = FromProto(recipient.last().at());
  report.retry_until = FromProto(item.expires());
  return report;
}

}  // namespace

uint64_t ReturnBytes(const v1::Item& item, const std::vector<Notice>& notices, const BounceOptions& options) {
  // RFC 3461 §4.3: RET applies to failures only. Other reports return the header.
  const bool failed =
      std::any_of(notices.begin(), notices.end(), [](const Notice& n) { return n.action == dsn::Action::kFailed; });
  const bool full = failed && item.envelope().ret() == v1::RET_FULL && item.size_bytes() <= options.max_return_bytes &&
                    item.envelope().body() != v1::BODY_TYPE_BINARYMIME;
  return full ? item.size_bytes() : 0;
}

dsn::Report MakeReport(const v1::Item& item, const std::vector<Notice>& notices, std::string content, bool full,
                       const QueueId& queue_id, absl::Time now, const BounceOptions& options) {
  dsn::Report report;
  report.hostname = options.hostname;
  report.queue_id = queue_id.Text();
  report.original_queue_id = item.queue_id();
  report.to = item.envelope().reverse_path();
  report.envid = item.envelope().envid();
  report.arrival = FromProto(item.accepted());
  report.now = now;
  report.content = std::move(content);
  report.full = full;
  for (const Notice& notice : notices) report.recipients.push_back(ReportOn(item, notice));
  return report;
}

std::shared_ptr<ItemRecord> NewReportRecord(const v1::Item& item, const dsn::Composed& composed, const Body& body,
                                            absl::Time now, const BounceOptions& options) {
  auto record = std::make_shared<ItemRecord>();
  v1::Item& report = record->item;
  report.set_queue_id(body.queue_id.Text());
  report.set_size_bytes(body.size_bytes);
  if (body.blob) report.set_blob(body.queue_id.Text());
  report.set_dsn_for(item.queue_id());
  report.set_message_id(absl::StrCat("<", body.queue_id.Text(), "@", options.hostname, ">"));
  v1::Envelope* envelope = report.mutable_envelope();
  envelope->set_body(composed.eight_bit ? v1::BODY_TYPE_8BITMIME : v1::BODY_TYPE_7BIT);
  envelope->set_smtputf8(composed.smtputf8);
  envelope->set_tenant(item.envelope().tenant());
  envelope->set_traceparent(item.envelope().traceparent());
  v1::ItemRecipient* recipient = report.add_recipients();
  recipient->set_state(v1::RECIPIENT_STATE_QUEUED);
  recipient->mutable_recipient()->set_address(item.envelope().reverse_path());
  recipient->mutable_recipient()->set_original(item.envelope().reverse_path());
  recipient->mutable_recipient()->add_notify(v1::NOTIFY_NEVER);  // RFC 3461 §6.1
  ToProto(now, recipient->mutable_next_attempt());
  ToProto(now, report.mutable_accepted());
  ToProto(now + options.expire_after, report.mutable_expires());
  RefreshNextAttempt(&report);
  return record;
}

}  // namespace posthouse::queue
