// Where the outcomes of other services become SMTP replies: one function per question.
//
// What is not known to be permanent is temporary: a surprise of ours bounces nobody's mail.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "services/ingress/envelope.h"
#include "services/mail_formats/smtp/data_decoder.h"
#include "services/mail_formats/smtp/reply.h"

namespace posthouse::ingress {

smtp::Reply ReplyForRecipient(Resolution::Outcome outcome);
smtp::Reply ReplyForLogin(const absl::Status& status);
// For an AUTH exchange that ended without credentials (mail_formats/sasl/mechanism.h).
smtp::Reply ReplyForSaslError(const absl::Status& error);
// `queue_id` counts when `enqueued` is OK.
smtp::Reply ReplyForMessage(const absl::Status& enqueued, const std::string& queue_id);

// Reasons of our own to refuse a message that was read to its end.
smtp::Reply TooLarge();
smtp::Reply Looping();
smtp::Reply BadLines(smtp::DataDecoder::Violation violation);

}  // namespace posthouse::ingress
