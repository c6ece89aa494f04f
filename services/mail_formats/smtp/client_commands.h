// What the outbound client says and how it reads the answers; no I/O, for client.cc.
#pragma once

#include <optional>
#include <string>

#include "services/mail_formats/smtp/client.h"

namespace posthouse::smtp {

// "MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME\r\n", with what the server announced only.
std::string MailCommand(const ClientMessage& message, const Capabilities& capabilities);
std::string RcptCommand(const ClientRecipient& recipient, const Capabilities& capabilities);

// Why this server can never take this message (or recipient); nullopt: it may.
std::optional<Reply> CannotTake(const ClientMessage& message, const Capabilities& capabilities);
std::optional<Reply> CannotTake(const ClientRecipient& recipient, const Capabilities& capabilities);

// The outcome of an exchange that was answered. `expected`: first digit of success.
Outcome FromReply(ClientStep step, const Reply& reply, int expected);
Outcome FromError(ClientStep step, const absl::Status& error);
Outcome Ours(ClientStep step, const Reply& reply);

}  // namespace posthouse::smtp
