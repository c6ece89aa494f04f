// Commands of SMTP: one line becomes one Command, or the reply that refuses it.
//
// Knows syntax only; what may be said when is services/ingress/transaction.h.
// Reads, beyond the grammar, what real clients send: spaces after "FROM:" and
// "TO:", addresses without angle brackets, trailing spaces, any case.
// Threads: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "services/mail_formats/smtp/address.h"
#include "services/mail_formats/smtp/reply.h"

namespace posthouse::smtp {

// RFC 5321 §4.5.3.1.4: 512, longer with extensions; MAIL with every parameter of
// ours (ENVID 100, AUTH 500, an UTF-8 path) stays below. RFC 4954 §4: 12288 for AUTH.
inline constexpr size_t kMaxCommandLine = 2048;
inline constexpr size_t kMaxAuthLine = 12288;

enum class Verb {
  kUnknown,
  kHelo,
  kEhlo,
  kLhlo,
  kMail,
  kRcpt,
  kData,
  kBdat,
  kRset,
  kNoop,
  kQuit,
  kVrfy,
  kExpn,
  kHelp,
  kStartTls,
  kAuth,
  kForeign,  // GET, POST, CONNECT: another protocol; hang up
};
inline constexpr int kVerbs = static_cast<int>(Verb::kForeign) + 1;
absl::string_view VerbName(Verb verb);  // "EHLO"; "unknown"

enum class Body { kSevenBit, kEightBitMime, kBinaryMime };  // RFC 6152, RFC 3030
enum class Ret { kUnset, kHeaders, kFull };                 // RFC 3461 §4.3

// NOTIFY (RFC 3461 §4.1). Nothing set: not given.
struct Notify {
  bool never = false, success = false, failure = false, delay = false;
  bool given() const { return never || success || failure || delay; }
  friend bool operator==(const Notify&, const Notify&) = default;
};

struct Command {
  Verb verb = Verb::kUnknown;
  // Set: this reply refuses the line, and nothing else here counts.
  std::optional<Reply> error;

  // EHLO and HELO: the client's name. VRFY, EXPN, HELP, NOOP: the string. AUTH: the
  // mechanism, upper case.
  std::string argument;

  // MAIL: reverse-path, nullopt for "<>". RCPT: forward-path, always set.
  std::optional<Mailbox> path;
  std::optional<uint64_t> size;  // RFC 1870
  Body body = Body::kSevenBit;
  bool body_given = false;
  bool smtputf8 = false;  // RFC 6531
  Ret ret = Ret::kUnset;
  std::string envid;                      // decoded
  std::optional<std::string> auth_param;  // RFC 4954 §5, decoded; "<>" as it is
  Notify notify;
  std::string orcpt;  // "rfc822;user@example.org", decoded

  uint64_t chunk_bytes = 0;  // BDAT (RFC 3030)
  bool last = false;

  std::optional<std::string> initial_response;  // AUTH, still base64; "" for "="
};

// `line` without its CRLF.
Command ParseCommand(absl::string_view line);

}  // namespace posthouse::smtp
