#include "services/mail_formats/smtp/client_commands.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::smtp {
namespace {

// A control character could start a second command.
bool HasControl(absl::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f;
  });
}

// Of the message itself, without its recipients.
bool NeedsUtf8(const ClientMessage& message) { return message.parameters.smtputf8 || !IsAscii(message.reverse_path); }

bool AnyRecipientNeedsUtf8(const ClientMessage& message) {
  return std::any_of(message.recipients.begin(), message.recipients.end(),
                     [](const ClientRecipient& r) { return !IsAscii(r.address); });
}

}  // namespace

std::string MailCommand(const ClientMessage& message, const Capabilities& capabilities) {
  std::string out = absl::StrCat("MAIL FROM:<", message.reverse_path, ">");
  const MailParameters& given = message.parameters;
  const uint64_t size = given.size.value_or(0);
  if (capabilities.size.has_value() && size > 0) absl::StrAppend(&out, " SIZE=", size);
  if (given.body == Body::kEightBitMime && capabilities.eight_bit_mime) out += " BODY=8BITMIME";
  if (capabilities.smtputf8 && (NeedsUtf8(message) || AnyRecipientNeedsUtf8(message))) out += " SMTPUTF8";
  if (capabilities.dsn) {
    if (given.ret != Ret::kUnset) absl::StrAppend(&out, " RET=", EncodeRet(given.ret));
    if (!given.envid.empty()) absl::StrAppend(&out, " ENVID=", EncodeEnvid(given.envid));
  }
  return out + "\r\n";
}

std::string RcptCommand(const ClientRecipient& recipient, const Capabilities& capabilities) {
  std::string out = absl::StrCat("RCPT TO:<", recipient.address, ">");
  if (capabilities.dsn) {
    const RcptParameters& given = recipient.parameters;
    if (given.notify.given()) absl::StrAppend(&out, " NOTIFY=", given.notify.ToString());
    // An ORCPT that cannot be written is left out, so that the message goes on.
    const std::string orcpt = EncodeOrcpt(given.orcpt, capabilities.smtputf8);
    if (!orcpt.empty()) absl::StrAppend(&out, " ORCPT=", orcpt);
  }
  return out + "\r\n";
}

std::optional<Reply> CannotTake(const ClientMessage& message, const Capabilities& capabilities) {
  if (HasControl(message.reverse_path)) {
    return Reply(553, "5.1.7", "reverse-path cannot be written in SMTP");
  }
  // RFC 1870 §6.1: do not offer what is announced as too large; 0 is no limit.
  const uint64_t size = message.parameters.size.value_or(0);
  if (capabilities.size.value_or(0) > 0 && size > *capabilities.size) {
    return Reply(552, "5.3.4",
                 absl::StrCat("message of ", size, " bytes exceeds the limit of the host (", *capabilities.size, ")"));
  }
  // RFC 6531 §3.4 and §3.6: only to hosts that announce it.
  if (NeedsUtf8(message) && !capabilities.smtputf8) {
    return Reply(550, "5.6.7", "message needs SMTPUTF8, which the host does not offer");
  }
  // RFC 3030 §3: BINARYMIME needs BDAT, which is not spoken here.
  if (message.parameters.body == Body::kBinaryMime) return Reply(554, "5.6.1", "binary message cannot be relayed");
  return std::nullopt;
}

std::optional<Reply> CannotTake(const ClientRecipient& recipient, const Capabilities& capabilities) {
  if (recipient.address.empty() || HasControl(recipient.address)) {
    return Reply(553, "5.1.3", "address cannot be written in SMTP");
  }
  // RFC 6531 §3.2: only this recipient fails, not the others.
  if (!IsAscii(recipient.address) && !capabilities.smtputf8) {
    return Reply(550, "5.6.7", "address needs SMTPUTF8, which the host does not offer");
  }
  return std::nullopt;
}

Outcome FromReply(ClientStep step, const Reply& reply, int expected) {
  Outcome outcome;
  outcome.step = step;
  outcome.reply = reply;
  if (reply.code / 100 == expected) {
    outcome.kind = Outcome::Kind::kAccepted;
  } else if (reply.permanent()) {
    // RFC 5321 §4.5.3.1.10: an old host's 552 for too many recipients means 452.
    const bool too_many =
        step == ClientStep::kRcpt && reply.code == 552 && (reply.enhanced.empty() || reply.enhanced == "5.5.3");
    outcome.kind = too_many ? Outcome::Kind::kTemporary : Outcome::Kind::kPermanent;
  } else {
    outcome.kind = Outcome::Kind::kTemporary;
  }
  return outcome;
}

Outcome FromError(ClientStep step, const absl::Status& error) {
  Outcome outcome;
  outcome.kind = Outcome::Kind::kConnection;
  outcome.step = step;
  outcome.error = error;
  return outcome;
}

Outcome Ours(ClientStep step, const Reply& reply) {
  Outcome outcome = FromReply(step, reply, 2);
  outcome.ours = true;
  return outcome;
}

// ---- client.h

ClientTimeouts ClientTimeouts::CappedAt(absl::Duration limit) const {
  ClientTimeouts capped = *this;
  for (absl::Duration* d : {&capped.greeting, &capped.hello, &capped.tls, &capped.mail, &capped.rcpt, &capped.data,
                            &capped.block, &capped.quit}) {
    *d = std::min(*d, limit);
  }
  return capped;
}

absl::string_view ClientStepName(ClientStep step) {
  switch (step) {
    case ClientStep::kGreeting:
      return "greeting";
    case ClientStep::kHello:
      return "EHLO";
    case ClientStep::kStartTls:
      return "STARTTLS";
    case ClientStep::kTls:
      return "TLS handshake";
    case ClientStep::kMail:
      return "MAIL";
    case ClientStep::kRcpt:
      return "RCPT";
    case ClientStep::kData:
      return "DATA";
    case ClientStep::kBody:
      return "message data";
    case ClientStep::kEndOfData:
      return "end of data";
    case ClientStep::kReset:
      return "RSET";
    case ClientStep::kConnect:
      return "connecting";
  }
  return "unknown";
}

}  // namespace posthouse::smtp
