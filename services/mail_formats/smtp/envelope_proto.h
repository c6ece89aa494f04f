// The SMTP parameters in the queue's envelope, in both directions. Include from .cc
// files only. Threads: stateless.
#pragma once

#include "posthouse/queue/v1/queue.pb.h"
#include "services/mail_formats/smtp/params.h"

namespace posthouse::smtp {

// BODY, SMTPUTF8, RET and ENVID. The envelope has no place for SIZE and AUTH.
void ToProto(const MailParameters& parameters, queue::v1::Envelope* out);
MailParameters FromProto(const queue::v1::Envelope& envelope);

// NOTIFY and ORCPT.
void ToProto(const RcptParameters& parameters, queue::v1::EnvelopeRecipient* out);
RcptParameters FromProto(const queue::v1::EnvelopeRecipient& recipient);

}  // namespace posthouse::smtp
