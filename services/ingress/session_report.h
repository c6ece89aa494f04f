// SessionReport: what one SMTP session counts, logs and reports. The session says what
// happened; the report adds the port, the client, the login and the envelope.
//
// `trace_id` is that of the mail transaction in progress.
//
// Threads: that of the session.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/common/net/connection.h"
#include "services/ingress/message_upload.h"
#include "services/ingress/metrics.h"
#include "services/ingress/refusal.h"
#include "services/ingress/session_context.h"
#include "services/ingress/smtp_dialogue.h"
#include "services/mail_formats/smtp/reply.h"

namespace posthouse::ingress {

class SessionReport {
 public:
  // All outlive this.
  SessionReport(const SessionContext& context, Port port, const net::Connection& connection, SmtpDialogue& dialogue);

  // The connection is encrypted, or the handshake failed.
  void TlsStarted(const absl::Status& handshake, const std::string& trace_id);
  // The commands and replies of the dialogue since the last call, as metrics.
  void CountReplies();
  // What the dialogue refused since the last call.
  void TakeRefusals(const std::string& trace_id);
  // A message was read to its end and gets `reply`, `took` after its last byte.
  void MessageEnded(const MessageUpload& upload, const smtp::Reply& reply, absl::Duration took,
                    const std::string& trace_id);
  // A message was not read to its end. `told`: the client got a 421, which is reported already.
  void MessageCutOff(const MessageUpload& upload, const absl::Status& why, bool told, const std::string& trace_id);

 private:
  Refusal MessageRefusal(const MessageUpload& upload, Reason reason, std::string reply, const absl::Status& why) const;
  void Record(Refusal refusal, const std::string& trace_id);

  const SessionContext& context_;
  const Port port_;
  const net::Connection& connection_;
  SmtpDialogue& dialogue_;
  SmtpDialogue::Counts counted_;  // that CountReplies() has counted
};

}  // namespace posthouse::ingress
