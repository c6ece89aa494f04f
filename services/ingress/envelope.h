// What one SMTP transaction has gathered: who sends, to whom, and how it is marked.
// Plain data, without protos: services/ingress/envelope_proto.h writes it out.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "services/mail_formats/smtp/params.h"

namespace posthouse::routing::v1 {
class ResolveRecipientResponse;
}

namespace posthouse::ingress {

// Who has logged in.
struct Login {
  std::string address;  // primary address
  std::string tenant;
  std::vector<std::string> may_send_as;  // normalised (NormalizeLocalAddress)
};

// What routing says of one address, made ready for the state machine.
struct Resolution {
  enum class Outcome { kAccept, kNoSuchMailbox, kBadAddress, kRelayDenied, kSuspended, kTemporary };
  Outcome outcome = Outcome::kTemporary;
  uint64_t max_message_bytes = 0;                                       // the smallest of its local recipients; 0: none
  std::shared_ptr<const routing::v1::ResolveRecipientResponse> answer;  // set with kAccept
};

struct Recipient {
  std::string original;  // as in RCPT TO
  smtp::RcptParameters parameters;
  std::shared_ptr<const routing::v1::ResolveRecipientResponse> answer;
};

struct Envelope {
  std::string reverse_path;  // "": null
  smtp::MailParameters parameters;
  std::vector<Recipient> recipients;
};

}  // namespace posthouse::ingress
