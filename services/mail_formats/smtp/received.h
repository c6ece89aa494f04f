// Received fields (RFC 5321 §4.4).
// Threads: stateless.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace posthouse::smtp {

// What a Received field says (RFC 5321 §4.4).
struct ReceivedInfo {
  std::string client_name;     // EHLO argument, as given
  std::string client_address;  // "192.0.2.1", "2001:db8::1"
  std::string by;              // our host name
  bool esmtp = true, lmtp = false, tls = false, authenticated = false, smtputf8 = false;
  std::string tls_comment;  // "TLSv1.3, TLS_AES_256_GCM_SHA384"; without parentheses
  std::string id;           // "" = none
  std::string for_address;  // only when there is one recipient (RFC 5321 §7.2); "" = none
  absl::Time at;
};

// The field with its last CRLF, folded.
std::string FormatReceived(const ReceivedInfo& info);

// "ESMTPSA": the with-protocol keyword (RFC 3848, RFC 6531 §4.3).
std::string WithProtocol(const ReceivedInfo& info);

// "Mon, 23 Nov 2026 22:59:00 +0000" (RFC 5322 §3.3), in UTC.
std::string FormatDate(absl::Time at);

}  // namespace posthouse::smtp
