// Report: the text of a delivery status notification to the sender of a message.
//
// RFC 3464 (multipart/report: a text for people, fields for programs, and the message or
// its header), RFC 3461 (which reports a sender asks for), RFC 6533 (addresses that are not
// ASCII), RFC 3834 (marked as automatic). Pure functions; dispatcher.h decides when a
// report is sent and commits it together with the state that it reports.
//
// A report to an ASCII address is 7-bit unless it returns an 8-bit message. A report to a
// UTF-8 address needs SMTPUTF8 anyway, and its fields are UTF-8 too (RFC 6533 §3, §4).
// Threads: stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace posthouse::queue::dsn {

// RFC 3464 §2.3.3
enum class Action { kFailed, kDelayed, kDelivered, kRelayed };

// What the report says of one recipient (RFC 3464 §2.3).
struct RecipientReport {
  Action action = Action::kFailed;
  std::string final_address;
  std::string original_address;                    // as given in RCPT TO; "" = the same
  std::string orcpt;                               // "rfc822;user@example.org", decoded; "" = none given
  std::string status;                              // "5.1.1"
  std::string remote_mta;                          // host that replied `diagnostic`; "" = none
  std::string diagnostic;                          // its reply, "550 5.1.1 no such user"; may have LFs
  std::string reason;                              // our own text when there was no reply
  absl::Time last_attempt = absl::InfinitePast();  // InfinitePast: left out
  absl::Time retry_until = absl::InfinitePast();   // of a delayed recipient
};

struct Report {
  std::string hostname;  // of this system
  std::string queue_id;  // of the report: Message-ID and boundary come from it
  std::string original_queue_id;
  std::string to;     // reverse-path of the message
  std::string envid;  // RFC 3461 §4.4, decoded; "" = none given
  absl::Time arrival;
  absl::Time now;
  std::vector<RecipientReport> recipients;  // at least one
  // The message's header with the blank line, or, when `full`, all of it.
  std::string content;
  bool full = false;
};

// A finished report.
struct Composed {
  std::string message;     // CRLF line ends
  bool eight_bit = false;  // needs 8BITMIME
  bool smtputf8 = false;   // needs SMTPUTF8
};

// A multipart/report message (RFC 6522). Never fails.
Composed Compose(const Report& report);

// The header of a message with its blank line; all of `bytes` when it has no end.
absl::string_view HeaderOf(absl::string_view bytes);

// utf-8-addr-xtext (RFC 6533 §3): "\x{FC}" for each character that is not ASCII.
// Invalid UTF-8 becomes U+FFFD.
std::string ToUtf8AddrXtext(absl::string_view address);

}  // namespace posthouse::queue::dsn
