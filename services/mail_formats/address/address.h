// Address: a mailbox address in the one form that Posthouse compares and stores.
//
// Two spellings of one mailbox have one normal form: the domain in lower-case
// A-labels (RFC 5890), the local part quoted only where needed (RFC 5321 §4.1.2). The
// local part of a foreign address is kept as it came; Folded() makes lower case in form
// NFC of our own (RFC 5321 §2.4 lets the receiving host decide).
//
// The grammar and its limits are those of smtp::ParseMailbox (mail_formats/smtp/path.h).
// No I/O; threads: any.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace posthouse {

struct Address {
  std::string local;   // unquoted; may be empty, may hold UTF-8 (RFC 6531 §3.3)
  std::string domain;  // lower-case A-labels, or a literal "[192.0.2.1]"

  // For the wire: the local part is quoted when it is not a dot-string.
  std::string ToString() const;
  // The same address with the local part in lower case, UTF-8 in form NFC (RFC 8265 §3.3.1).
  Address Folded() const;
  bool is_literal() const { return !domain.empty() && domain[0] == '['; }
  friend bool operator==(const Address&, const Address&) = default;
};

// Parses one Mailbox of RFC 5321 §4.1.2, with the UTF-8 of RFC 6531, and a final dot
// of its domain. No source route, no angle brackets. kInvalidArgument: the message
// names what is wrong.
absl::StatusOr<Address> ParseAddress(absl::string_view text);

// ParseAddress, folded and written out: the key of one of our own addresses.
// kInvalidArgument also when the folded local part is longer than 64 octets.
absl::StatusOr<std::string> NormalizeLocalAddress(absl::string_view text);

// Lower-case A-label form of a domain name (IDNA 2008, non-transitional). A final
// dot is dropped. kInvalidArgument when it is not a host name (RFC 1123 §2.1, plus
// the underscore that real domains have).
absl::StatusOr<std::string> NormalizeDomain(absl::string_view domain);

// "user+tag" at the first of `separators` after the first character: the part
// before it and the detail after (RFC 5233 §4). False: no separator there.
bool SplitSubaddress(absl::string_view local, absl::string_view separators, std::string* base, std::string* detail);

}  // namespace posthouse
