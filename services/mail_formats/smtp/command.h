// Commands of SMTP: one line becomes one Command, or the reply that refuses it.
//
// Only syntax: the SMTP server's state machine decides which command may come when.
// Beyond the grammar it accepts what real clients send: spaces after "FROM:" and
// "TO:", addresses without angle brackets, trailing spaces, any case.
// Threads: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "services/mail_formats/smtp/params.h"
#include "services/mail_formats/smtp/path.h"
#include "services/mail_formats/smtp/reply.h"

namespace posthouse::smtp {

// RFC 5321 §4.5.3.1.4: 512 octets, more with extensions. MAIL with every parameter
// that we offer (ENVID 100, AUTH 500, a UTF-8 path) stays below 2048. RFC 4954 §4:
// 12288 for AUTH.
inline constexpr size_t kMaxCommandLine = 2048;
inline constexpr size_t kMaxAuthLine = 12288;

// The commands of RFC 5321 §4.1.1 and its extensions.
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

struct Command {
  Verb verb = Verb::kUnknown;
  // When set, this reply refuses the line, and only `verb` is valid beside it.
  std::optional<Reply> error;

  // EHLO and HELO: the client's name. VRFY, EXPN, HELP, NOOP: the string. AUTH: the
  // mechanism, upper case.
  std::string argument;

  // MAIL: reverse-path, nullopt for "<>". RCPT: forward-path, always set.
  std::optional<Mailbox> path;
  MailParameters mail;
  RcptParameters rcpt;

  uint64_t chunk_bytes = 0;  // BDAT (RFC 3030)
  bool last = false;

  std::optional<std::string> initial_response;  // AUTH: base64, or "="
};

// `line` without its CRLF.
Command ParseCommand(absl::string_view line);

}  // namespace posthouse::smtp
