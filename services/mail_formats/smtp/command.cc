#include "services/mail_formats/smtp/command.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/common/utf8/utf8.h"

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

absl::string_view TakeWord(absl::string_view* input) {
  *input = absl::StripLeadingAsciiWhitespace(*input);
  const size_t end = input->find(' ');
  const absl::string_view word = input->substr(0, end);
  input->remove_prefix(word.size());
  return word;
}

// Stores the value. False when there is none.
template <typename T>
bool Set(std::optional<T> value, T* to) {
  if (!value.has_value()) return false;
  *to = *std::move(value);
  return true;
}
template <typename T>
bool Set(std::optional<T> value, std::optional<T>* to) {
  *to = std::move(value);
  return to->has_value();
}

bool SetSmtpUtf8(absl::string_view value, Command* command) {
  command->mail.smtputf8 = true;
  return value.empty();  // RFC 6531 §3.4: no value
}

// One parameter: esmtp-keyword ["=" esmtp-value] (RFC 5321 §4.1.2). `parse` returns
// false for a bad value.
struct ParameterEntry {
  const char* name;
  Verb verb;
  bool (*parse)(absl::string_view value, Command* command);
};
constexpr ParameterEntry kParameters[] = {
    {"SIZE", Verb::kMail, [](absl::string_view v, Command* c) { return Set(ParseSize(v), &c->mail.size); }},
    {"BODY", Verb::kMail, [](absl::string_view v, Command* c) { return Set(ParseBody(v), &c->mail.body); }},
    {"SMTPUTF8", Verb::kMail, SetSmtpUtf8},
    {"RET", Verb::kMail, [](absl::string_view v, Command* c) { return Set(ParseRet(v), &c->mail.ret); }},
    {"ENVID", Verb::kMail, [](absl::string_view v, Command* c) { return Set(ParseEnvid(v), &c->mail.envid); }},
    {"AUTH", Verb::kMail, [](absl::string_view v, Command* c) { return Set(ParseAuth(v), &c->mail.auth); }},
    {"ORCPT", Verb::kRcpt, [](absl::string_view v, Command* c) { return Set(ParseOrcpt(v), &c->rcpt.orcpt); }},
    {"NOTIFY", Verb::kRcpt, [](absl::string_view v, Command* c) { return Set(ParseNotify(v), &c->rcpt.notify); }},
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
    if (!found->parse(value, command)) {
      return Refuse(command, 501, "5.5.4", absl::StrCat("Bad value for ", found->name));
    }
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
    const absl::string_view why = path.ok() ? "characters follow the address" : path.status().message();
    Refuse(command, 553, mail ? "5.1.7" : "5.1.3", absl::StrCat("Bad address: ", why));
    return;
  }
  command->path = *std::move(path);
  if (!ParseParameters(rest, command)) return;
  // RFC 6531 §3.5: an internationalised address needs SMTPUTF8. For RCPT the state
  // machine checks this, since it knows the parameters of MAIL.
  if (mail && !command->mail.smtputf8 && command->path.has_value() && !command->path->ascii()) {
    Refuse(command, 553, "5.6.7", "Address needs SMTPUTF8");
  }
}

// bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ] CRLF (RFC 3030 §2)
void ParseBdat(absl::string_view rest, Command* command) {
  const absl::string_view size = TakeWord(&rest);
  const absl::string_view marker = TakeWord(&rest);
  if (!Set(ParseSize(size), &command->chunk_bytes) || !TakeWord(&rest).empty() ||
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
  if (!initial.empty()) command->initial_response = std::string(initial);
}

void ParseHello(absl::string_view rest, Command* command) {
  // Departs from RFC 5321 §2.3.5: any printable word is accepted, since clients behind
  // NAT send their system's name. The argument is never trusted.
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
      if (command->argument.empty()) Refuse(command, 501, "5.5.4", "Argument required");
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
  // RFC 5321 §2.3.8: CR and LF occur only as CRLF. A line with a bare one, a NUL or
  // another control character is refused, not repaired.
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
