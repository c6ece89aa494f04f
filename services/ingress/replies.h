// SMTP replies for the outcomes of other services: one function for each question.
//
// A failure that is not known to be permanent is temporary, so that an error of ours
// bounces no mail.
//
// Threads: stateless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/ingress/envelope.h"
#include "services/ingress/refusal.h"
#include "services/mail_formats/smtp/data_decoder.h"
#include "services/mail_formats/smtp/reply.h"

namespace posthouse::ingress {

// For RCPT TO.
smtp::Reply ReplyForRecipient(Resolution::Outcome outcome);
Reason ReasonFor(Resolution::Outcome outcome);  // of a refusal
// For AUTH, by the status of the login.
smtp::Reply ReplyForLogin(const absl::Status& status);
Reason ReasonForLogin(const absl::Status& status);
// For an AUTH exchange that ended without credentials (mail_formats/sasl/mechanism.h).
smtp::Reply ReplyForSaslError(const absl::Status& error);
// `queue_id` is used when `enqueued` is OK.
smtp::Reply ReplyForMessage(const absl::Status& enqueued, const std::string& queue_id);
Reason ReasonForMessage(const absl::Status& enqueued);

smtp::Reply TooManyRecipients();

// Why a message of `bytes` does not fit into a mailbox.
struct Misfit {
  Reason reason;
  smtp::Reply reply;
};
// `bytes`: as the client sent it, 0 while that is not known. `added`: what we add to it, which counts for quotas.
struct MessageSize {
  uint64_t bytes = 0, added = 0;
};
// nullopt: it fits into one of `places`, as far as is known. Permanent when the message can
// never fit: larger than each mailbox takes, or than its whole quota.
std::optional<Misfit> DoesNotFit(MessageSize size, const Places& places);
// Why a message fits into the mailboxes of no recipient; nullopt: the queue should have it. There is one reply for all
// recipients (RFC 5321 §4.2.5), so the queue tells the sender about some of them: at once if the message can never
// fit. `retried`: the client is a host, which tries a temporary failure again; for the mail of a user the queue does.
std::optional<Misfit> FitsNobody(MessageSize size, const Envelope& envelope, bool retried);

// Why ingress itself refuses a message.
smtp::Reply TooLarge();
smtp::Reply Looping();
smtp::Reply BadLines(smtp::DataDecoder::Violation violation);

}  // namespace posthouse::ingress
