// SmtpPolicy: what SMTP sessions may do, on every port. The part of Settings that the
// state machine and the message upload need; plain data.
// Threads: a value.
#pragma once

#include <cstdint>
#include <string>

#include "services/mail_formats/smtp/data_decoder.h"

namespace posthouse::ingress {

struct SmtpPolicy {
  std::string hostname;
  uint64_t max_message_bytes = 50 << 20;
  uint32_t max_recipients = 1000;                                // RCPT commands of a message
  uint32_t max_envelope_recipients = 5000;                       // after aliases and groups
  uint32_t max_errors = 20;                                      // replies 4yz and 5yz in a session, then 421
  uint32_t max_received = 50;                                    // Received fields of one message (RFC 5321 §6.3)
  smtp::BareLinePolicy bare_lf = smtp::BareLinePolicy::kReject;  // in mail of other hosts
  bool allow_plaintext_auth = false;                             // AUTH without TLS
  bool allow_any_sender = false;                                 // users may give any MAIL FROM
};

}  // namespace posthouse::ingress
