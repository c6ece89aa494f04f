#include "services/mail_formats/smtp/command.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/mail_formats/smtp/xtext.h"

namespace posthouse::smtp {
namespace {

struct VerbEntry {
  const char* name;
  Verb verb;
};
constexpr VerbEntry kVerbTable[] = {
    {"EHLO", Verb::kEhlo},    {"HELO", Verb::kHelo},       {"LHLO", Verb::kLhlo},         {"MAIL", Verb::kMail},
    {"RCPT", Verb::kRcpt},    {"DATA", Verb::kData},       {"BDAT", Verb::kBdat},         {"RSET", Verb::kRset},
    {"NOOP", Verb::kNoop},    {"QUIT", Verb::kQuit},       {"VRFY", Verb::kVrfy},         {"EXPN", Verb::kExpn},
    {"HELP", Verb::kHelp},    {"AUTH", Verb::kAuth},       {"STARTTLS", Verb::kStartTls}, {"GET", Verb::kForeign},
    {"POST", Verb::kForeign}, {"CONNECT", Verb::kForeign},
};

bool Refuse(Command* command, int code, absl::string_view enhanced, absl::string_view text) {
  command->error.emplace(code, enhanced, text);
  return false;
}

bool BadParameter(Command* command, absl::string_view name) {
  return Refuse(command, 501, "5.5.4", absl::StrCat("Bad value of ", name));
}

absl::string_view TakeWord(absl::string_view* input) {
  *input = absl::StripLeadingAsciiWhitespace(*input);
  const size_t end = input->find(' ');
  const absl::string_view word = input->substr(0, end);
  input->remove_prefix(word.size());
  return word;
}

// 1*20DIGIT (RFC 1870 §4), also chunk-size (RFC 3030 §2).
bool ParseNumber(absl::string_view text, uint64_t* value) {
  if (text.empty() || text.size() > 20) return false;
  for (const char c : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return false;
  }
  return absl::SimpleAtoi(text, value);
}

// One parameter: esmtp-keyword ["=" esmtp-value] (RFC 5321 §4.1.2). False: refused.
using ParseParameter = bool (*)(absl::string_view name, absl::string_view value, Command* command);

bool Size(absl::string_view name, absl::string_view value, Command* command) {
  uint64_t size = 0;
  if (!ParseNumber(value, &size)) return BadParameter(command, name);
  command->size = size;
  return true;
}

bool BodyParameter(absl::string_view name, absl::string_view value, Command* command) {
  command->body_given = true;
  if (absl::EqualsIgnoreCase(value, "7BIT")) {
    command->body = Body::kSevenBit;
  } else if (absl::EqualsIgnoreCase(value, "8BITMIME")) {
    command->body = Body::kEightBitMime;
  } else if (absl::EqualsIgnoreCase(value, "BINARYMIME")) {
    command->body = Body::kBinaryMime;
  } else {
    return BadParameter(command, name);
  }
  return true;
}

bool SmtpUtf8(absl::string_view name, absl::string_view value, Command* command) {
  if (!value.empty()) return BadParameter(command, name);
  command->smtputf8 = true;
  return true;
}

bool RetParameter(absl::string_view name, absl::string_view value, Command* command) {
  if (absl::EqualsIgnoreCase(value, "FULL")) {
    command->ret = Ret::kFull;
  } else if (absl::EqualsIgnoreCase(value, "HDRS")) {
    command->ret = Ret::kHeaders;
  } else {
    return BadParameter(command, name);
  }
  return true;
}

// RFC 3461 §4.4: xtext of at most 100 characters, printable when decoded.
bool Envid(absl::string_view name, absl::string_view value, Command* command) {
  std::optional<std::string> decoded = DecodeXtext(value);
  if (value.empty() || value.size() > 100 || !decoded.has_value()) return BadParameter(command, name);
  for (const char c : *decoded) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e)
      return BadParameter(command, name);
  }
  command->envid = *std::move(decoded);
  return true;
}

// RFC 4954 §5: xtext of a mailbox, or "<>". Parsed, never trusted.
bool AuthParameter(absl::string_view name, absl::string_view value, Command* command) {
  std::optional<std::string> decoded = DecodeXtext(value);
  if (value.empty() || value.size() > 500 || !decoded.has_value()) return BadParameter(command, name);
  command->auth_param = *std::move(decoded);
  return true;
}

// notify-esmtp-value = "NEVER" / 1#notify-list-element (RFC 3461 §4.1)
bool NotifyParameter(absl::string_view name, absl::string_view value, Command* command) {
  Notify notify;
  for (const absl::string_view item : absl::StrSplit(value, ',')) {
    bool* const flag = absl::EqualsIgnoreCase(item, "NEVER")     ? &notify.never
                       : absl::EqualsIgnoreCase(item, "SUCCESS") ? &notify.success
                       : absl::EqualsIgnoreCase(item, "FAILURE") ? &notify.failure
                       : absl::EqualsIgnoreCase(item, "DELAY")   ? &notify.delay
                                                                 : nullptr;
    if (flag == nullptr) return BadParameter(command, name);
    *flag = true;
  }
  if (notify.never && (notify.success || notify.failure || notify.delay)) return BadParameter(command, name);
  command->notify = notify;
  return true;
}

// original-recipient-address = addr-type ";" xtext, at most 500 (RFC 3461 §4.2).
// RFC 6533 §3: type "utf-8" carries UTF-8 (or \x{...}) instead; kept as given.
bool Orcpt(absl::string_view name, absl::string_view value, Command* command) {
  const size_t semicolon = value.find(';');
  if (value.size() > 500 || semicolon == absl::string_view::npos || semicolon == 0) return BadParameter(command, name);
  const absl::string_view type = value.substr(0, semicolon);
  const absl::string_view address = value.substr(semicolon + 1);
  for (const char c : type) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-') return BadParameter(command, name);
  }
  if (absl::EqualsIgnoreCase(type, "utf-8")) {
    if (address.empty() || !IsUtf8(address)) return BadParameter(command, name);
    command->orcpt = std::string(value);
    return true;
  }
  const std::optional<std::string> decoded = DecodeXtext(address);
  if (!decoded.has_value() || decoded->empty()) return BadParameter(command, name);
  for (const char c : *decoded) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return BadParameter(command, name);
  }
  command->orcpt = absl::StrCat(type, ";", *decoded);
  return true;
}

struct ParameterEntry {
  const char* name;
  Verb verb;
  ParseParameter parse;
};
constexpr ParameterEntry kParameters[] = {
    {"SIZE", Verb::kMail, Size},         {"BODY", Verb::kMail, BodyParameter},
    {"SMTPUTF8", Verb::kMail, SmtpUtf8}, {"RET", Verb::kMail, RetParameter},
    {"ENVID", Verb::kMail, Envid},       {"AUTH", Verb::kMail, AuthParameter},
    {"ORCPT", Verb::kRcpt, Orcpt},       {"NOTIFY", Verb::kRcpt, NotifyParameter},
};

bool ParseParameters(absl::string_view rest, Command* command) {
  unsigned seen = 0;
  while (true) {
    const absl::string_view word = TakeWord(&rest);
    if (word.empty()) return true;
    const size_t equals = word.find('=');
    const absl::string_view name = word.substr(0, equals);
    const absl::string_view value = equals == absl::string_view::npos ? absl::string_view() : word.substr(equals + 1);
    const ParameterEntry* found = nullptr;
    for (const ParameterEntry& entry : kParameters) {
      if (entry.verb == command->verb && absl::EqualsIgnoreCase(name, entry.name)) found = &entry;
    }
    // RFC 5321 §4.1.1.11: 555 for parameters that are not known.
    if (found == nullptr) return Refuse(command, 555, "5.5.4", "Parameter not recognised");
    const unsigned bit = 1u << (found - kParameters);
    if ((seen & bit) != 0) return Refuse(command, 501, "5.5.4", absl::StrCat(found->name, " given twice"));
    seen |= bit;
    if (!found->parse(found->name, value, command)) return false;
  }
}

// "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF
// "RCPT TO:" Forward-path [SP Rcpt-parameters] CRLF
void ParsePathCommand(absl::string_view rest, Command* command) {
  const bool mail = command->verb == Verb::kMail;
  const absl::string_view keyword = mail ? "FROM:" : "TO:";
  rest = absl::StripLeadingAsciiWhitespace(rest);
  if (!absl::StartsWithIgnoreCase(rest, keyword)) {
    Refuse(command, 501, "5.5.4", mail ? "Syntax: MAIL FROM:<address>" : "Syntax: RCPT TO:<address>");
    return;
  }
  // Departs from RFC 5321 §4.1.1.2: spaces after the colon, since many clients send one.
  rest = absl::StripLeadingAsciiWhitespace(rest.substr(keyword.size()));
  absl::StatusOr<std::optional<Mailbox>> path = TakePath(&rest, mail ? PathKind::kReverse : PathKind::kForward, true);
  if (!path.ok() || (!rest.empty() && rest.front() != ' ')) {
    // RFC 3463 §3.2: X.1.7 sender's, X.1.3 recipient's mailbox address syntax.
    const absl::string_view why = path.ok() ? "characters after the address" : path.status().message();
    Refuse(command, 553, mail ? "5.1.7" : "5.1.3", absl::StrCat("Bad address: ", why));
    return;
  }
  command->path = *std::move(path);
  if (!ParseParameters(rest, command)) return;
  // RFC 6531 §3.5: an internationalised address without SMTPUTF8. (For RCPT only
  // the transaction knows.)
  if (mail && !command->smtputf8 && command->path.has_value() && !command->path->ascii()) {
    Refuse(command, 553, "5.6.7", "Address needs SMTPUTF8");
  }
}

// bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ] CRLF (RFC 3030 §2)
void ParseBdat(absl::string_view rest, Command* command) {
  const absl::string_view size = TakeWord(&rest);
  const absl::string_view marker = TakeWord(&rest);
  if (!ParseNumber(size, &command->chunk_bytes) || !TakeWord(&rest).empty() ||
      !(marker.empty() || absl::EqualsIgnoreCase(marker, "LAST"))) {
    Refuse(command, 501, "5.5.4", "Syntax: BDAT size [LAST]");
    return;
  }
  command->last = !marker.empty();
}

// "AUTH" SP mechanism [SP initial-response] (RFC 4954 §4)
void ParseAuth(absl::string_view rest, Command* command) {
  command->argument = absl::AsciiStrToUpper(TakeWord(&rest));
  const absl::string_view initial = TakeWord(&rest);
  if (command->argument.empty() || !TakeWord(&rest).empty()) {
    Refuse(command, 501, "5.5.4", "Syntax: AUTH mechanism [initial-response]");
    return;
  }
  if (!initial.empty()) command->initial_response = initial == "=" ? "" : std::string(initial);
}

void ParseHello(absl::string_view rest, Command* command) {
  // Departs from RFC 5321 §2.3.5: any one printable word is taken for a name, since
  // clients behind NAT send what their system calls itself; it is never trusted.
  command->argument = std::string(absl::StripAsciiWhitespace(rest));
  if (command->argument.empty() || command->argument.find(' ') != std::string::npos ||
      command->argument.size() > kMaxDomain || !IsUtf8(command->argument)) {
    Refuse(command, 501, "5.5.4", absl::StrCat("Syntax: ", VerbName(command->verb), " name"));
  }
}

void ParseArgument(absl::string_view rest, Command* command) {
  command->argument = std::string(absl::StripAsciiWhitespace(rest));
  switch (command->verb) {
    case Verb::kData:
    case Verb::kRset:
    case Verb::kQuit:
    case Verb::kStartTls:
      // RFC 5321 §4.1.1, RFC 3207 §4: no parameters.
      if (!command->argument.empty()) Refuse(command, 501, "5.5.4", "No parameters allowed");
      return;
    case Verb::kVrfy:
    case Verb::kExpn:
      if (command->argument.empty()) Refuse(command, 501, "5.5.4", "An argument is needed");
      return;
    default:
      return;
  }
}

}  // namespace

absl::string_view VerbName(Verb verb) {
  if (verb == Verb::kForeign) return "foreign";
  for (const VerbEntry& entry : kVerbTable) {
    if (entry.verb == verb) return entry.name;
  }
  return "unknown";
}

Command ParseCommand(absl::string_view line) {
  Command command;
  // RFC 5321 §2.3.8: CR and LF only as CRLF. What holds a bare one, a NUL or another
  // control is no command, and is neither repaired nor guessed at.
  for (const char c : line) {
    const unsigned char u = static_cast<unsigned char>(c);
    if ((u < 0x20 && u != '\t') || u == 0x7f) {
      Refuse(&command, 500, "5.5.2", "Control character in a command");
      return command;
    }
  }
  line = absl::StripTrailingAsciiWhitespace(line);
  const absl::string_view word = line.substr(0, line.find(' '));
  for (const VerbEntry& entry : kVerbTable) {
    if (absl::EqualsIgnoreCase(word, entry.name)) command.verb = entry.verb;
  }
  const absl::string_view rest = line.substr(word.size());
  switch (command.verb) {
    case Verb::kUnknown:
      Refuse(&command, 500, "5.5.1", "Command not recognised");
      break;
    case Verb::kMail:
    case Verb::kRcpt:
      ParsePathCommand(rest, &command);
      break;
    case Verb::kBdat:
      ParseBdat(rest, &command);
      break;
    case Verb::kAuth:
      ParseAuth(rest, &command);
      break;
    case Verb::kEhlo:
    case Verb::kHelo:
    case Verb::kLhlo:
      ParseHello(rest, &command);
      break;
    default:
      ParseArgument(rest, &command);
      break;
  }
  return command;
}

}  // namespace posthouse::smtp
