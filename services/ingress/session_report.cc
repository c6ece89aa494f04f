#include "services/ingress/session_report.h"

#include <cstdint>
#include <utility>

#include "absl/time/clock.h"
#include "services/common/log/log.h"
#include "services/ingress/refusals.h"
#include "services/mail_formats/smtp/command.h"

namespace posthouse::ingress {

SessionReport::SessionReport(const SessionContext& context, Port port, const net::Connection& connection,
                             SmtpDialogue& dialogue)
    : context_(context), port_(port), connection_(connection), dialogue_(dialogue) {}

void SessionReport::TlsStarted(const absl::Status& handshake, const std::string& trace_id) {
  (handshake.ok() ? context_.metrics->tls_started : context_.metrics->tls_failed).Add();
  if (handshake.ok()) {
    context_.metrics->TlsSessions(connection_.tls_info().version).Add();
    return;
  }
  Refusal refusal;
  refusal.stage = Stage::kConnect;
  refusal.reason = Reason::kTlsHandshake;
  refusal.error = handshake.ToString();
  Record(std::move(refusal), trace_id);
}

void SessionReport::CountReplies() {
  const SmtpDialogue::Counts& now = dialogue_.counts();
  for (size_t i = 0; i < now.commands.size(); ++i) {
    if (now.commands[i] == counted_.commands[i]) continue;
    context_.metrics->Command(static_cast<smtp::Verb>(i)).Add(now.commands[i] - counted_.commands[i]);
  }
  for (size_t i = 2; i < now.replies.size(); ++i) {
    if (now.replies[i] == counted_.replies[i]) continue;
    context_.metrics->Replies(static_cast<int>(i)).Add(now.replies[i] - counted_.replies[i]);
  }
  counted_ = now;
}

void SessionReport::TakeRefusals(const std::string& trace_id) {
  for (Refusal& refusal : dialogue_.TakeRefusals()) Record(std::move(refusal), trace_id);
}

void SessionReport::MessageEnded(const MessageUpload& upload, const smtp::Reply& reply, absl::Duration took,
                                 const std::string& trace_id) {
  const MessageEnd end = reply.positive()    ? MessageEnd::kAccepted
                         : reply.temporary() ? MessageEnd::kDeferred
                                             : MessageEnd::kRefused;
  const size_t recipients = dialogue_.envelope().recipients.size();
  context_.metrics->Messages(end).Add();
  if (end != MessageEnd::kAccepted) {
    Record(MessageRefusal(upload, upload.reason(), reply.ToString(), upload.enqueue_status()), trace_id);
    return;
  }
  context_.metrics->accept_seconds.Observe(took, trace_id);
  context_.metrics->message_bytes.Add(static_cast<double>(upload.bytes()));
  context_.metrics->message_size.Observe(static_cast<double>(upload.bytes()));
  context_.metrics->recipients.Add(static_cast<double>(recipients));
  LOG_EVENT(kInfo, "message_accepted")
      .QueueId(upload.queue_id())
      .Trace(trace_id)
      .Str("client", connection_.peer().address)
      .Str("account", dialogue_.login().has_value() ? dialogue_.login()->address : "")
      .Int("size_bytes", static_cast<int64_t>(upload.bytes()))
      .Int("rcpts", static_cast<int64_t>(recipients))
      .Seconds("took", took);
}

void SessionReport::MessageCutOff(const MessageUpload& upload, const absl::Status& why, bool told,
                                  const std::string& trace_id) {
  context_.metrics->Messages(MessageEnd::kCutOff).Add();
  if (!told) Record(MessageRefusal(upload, Reason::kCutOff, "", why), trace_id);
}

Refusal SessionReport::MessageRefusal(const MessageUpload& upload, Reason reason, std::string reply,
                                      const absl::Status& why) const {
  Refusal refusal;
  refusal.stage = Stage::kData;
  refusal.reason = reason;
  refusal.from = dialogue_.envelope().reverse_path;
  for (const Recipient& recipient : dialogue_.envelope().recipients) refusal.to.push_back(recipient.original);
  refusal.reply = std::move(reply);
  if (!why.ok()) refusal.error = why.ToString();
  refusal.size_bytes = upload.bytes();
  return refusal;
}

void SessionReport::Record(Refusal refusal, const std::string& trace_id) {
  refusal.at = absl::Now();
  refusal.port = PortName(port_);
  refusal.client = connection_.peer().address;
  refusal.helo = dialogue_.client_name();
  if (refusal.login.empty() && dialogue_.login().has_value()) refusal.login = dialogue_.login()->address;
  refusal.trace_id = trace_id;
  context_.refusals->Record(std::move(refusal));
}

}  // namespace posthouse::ingress
