// The commands of the outbound client and the meaning of replies; no I/O.
#pragma once

#include <optional>
#include <string>

#include "services/mail_formats/smtp/client.h"

namespace posthouse::smtp {

// "MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME\r\n", with parameters of announced extensions only.
std::string MailCommand(const ClientMessage& message, const Capabilities& capabilities);
std::string RcptCommand(const ClientRecipient& recipient, const Capabilities& capabilities);

// Why this server can never take this message (or recipient); nullopt: it may.
std::optional<Reply> CannotTake(const ClientMessage& message, const Capabilities& capabilities);
std::optional<Reply> CannotTake(const ClientRecipient& recipient, const Capabilities& capabilities);

// The outcome of a reply. `expected`: the first digit of success.
Outcome FromReply(ClientStep step, const Reply& reply, int expected);
Outcome FromError(ClientStep step, const absl::Status& error);
Outcome Ours(ClientStep step, const Reply& reply);

}  // namespace posthouse::smtp
