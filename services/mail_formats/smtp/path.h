// Mailboxes and paths of the SMTP envelope, and the only parser of this grammar:
// RFC 5321 §4.1.2, with the UTF-8 of RFC 6531 §3.3.
//
//   Mailbox     user@example.org, "john doe"@[192.0.2.1], пример@example.org
//   Path        <user@example.org>, <> (null reverse-path), <@a,@b:user@c>
//               (source routes are dropped, RFC 5321 §3.3, appendix C), <postmaster>
//
// The empty quoted string is a local part: Quoted-string = DQUOTE *QcontentSMTP DQUOTE,
// so "" @example.org (without the space) is a Mailbox. Who has such a mailbox is for
// the directory to say.
//
// Errors: kInvalidArgument (not the grammar), kOutOfRange (a limit of RFC 5321
// §4.5.3.1), kFailedPrecondition (not ASCII, and SMTPUTF8 was not asked for).
// Threads: stateless.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace posthouse::smtp {

inline constexpr size_t kMaxLocalPart = 64;  // RFC 5321 §4.5.3.1.1, octets without quotes and backslashes
inline constexpr size_t kMaxDomain = 255;    // RFC 5321 §4.5.3.1.2
inline constexpr size_t kMaxPath = 256;      // RFC 5321 §4.5.3.1.3, with "<" and ">"; of TakePath() only

struct Mailbox {
  std::string local_part;  // what it means: quotes and backslashes removed
  std::string domain;      // as given; "[192.0.2.1]" or "[IPv6:2001:db8::1]" for a literal; "" for <postmaster>

  // The shortest form that parses to the same: quoted only where needed.
  std::string ToString() const;
  bool ascii() const;
  bool literal() const { return !domain.empty() && domain.front() == '['; }
  friend bool operator==(const Mailbox&, const Mailbox&) = default;
};

// The whole of `text` is one Mailbox. `utf8`: RFC 6531 addresses are allowed.
absl::StatusOr<Mailbox> ParseMailbox(absl::string_view text, bool utf8);

// The path of RFC 5321 §4.1.2 that is read.
enum class PathKind {
  kReverse,  // MAIL FROM: may be "<>"
  kForward,  // RCPT TO: may be "<postmaster>" without a domain (RFC 5321 §4.1.1.3)
};

// Takes one path from the front of `input`. nullopt: the null reverse-path.
// Without "<" the path ends at the first space: a bare address, as some clients send.
absl::StatusOr<std::optional<Mailbox>> TakePath(absl::string_view* input, PathKind kind, bool utf8);

// Whether all of `text` is a Domain; the status names what is wrong. An A-label has
// at most 63 octets (RFC 1035 §2.3.4); IDNA limits U-labels when it encodes them.
absl::Status CheckDomain(absl::string_view text, bool utf8);
bool IsAddressLiteral(absl::string_view text);

}  // namespace posthouse::smtp
