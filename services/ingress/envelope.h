// Envelope: reverse-path, recipients and parameters of one mail transaction (RFC 5321
// §2.3.1). Plain data without protos; envelope_proto.h converts it.
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

// The answer of routing about one address, as the state machine needs it.
struct Resolution {
  enum class Outcome { kAccept, kNoSuchMailbox, kBadAddress, kRelayDenied, kSuspended, kTemporary };
  Outcome outcome = Outcome::kTemporary;
  uint64_t max_message_bytes = 0;                                       // least limit of its local recipients; 0: none
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
