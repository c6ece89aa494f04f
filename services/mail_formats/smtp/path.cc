#include "services/mail_formats/smtp/path.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::smtp {
namespace {

// atext of RFC 5322 §3.2.3; RFC 6531 §3.3 adds UTF8-non-ascii.
bool IsAtext(unsigned char c) {
  if (c >= 0x80) return true;
  return absl::ascii_isalnum(c) ||
         absl::string_view("!#$%&'*+-/=?^_`{|}~").find(static_cast<char>(c)) != absl::string_view::npos;
}

// Dot-string = Atom *("."  Atom)
bool IsDotString(absl::string_view text) {
  bool atom = false;
  for (const char c : text) {
    if (c == '.') {
      if (!atom) return false;
      atom = false;
    } else if (IsAtext(static_cast<unsigned char>(c))) {
      atom = true;
    } else {
      return false;
    }
  }
  return atom;
}

bool IsDomainCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

absl::Status Bad(absl::string_view what) { return absl::InvalidArgumentError(what); }

absl::Status CheckCharacters(absl::string_view text, bool utf8) {
  if (IsAscii(text)) return absl::OkStatus();
  if (!IsUtf8(text)) return Bad("the address is not valid UTF-8");
  if (!utf8) return absl::FailedPreconditionError("the address needs SMTPUTF8");
  return absl::OkStatus();
}

// Quoted-string = DQUOTE *QcontentSMTP DQUOTE; `input` starts at the first quote.
absl::Status TakeQuoted(absl::string_view* input, std::string* value) {
  size_t i = 1;
  for (; i < input->size() && (*input)[i] != '"'; ++i) {
    unsigned char c = static_cast<unsigned char>((*input)[i]);
    // quoted-pairSMTP = %d92 %d32-126
    if (c == '\\') {
      if (++i == input->size()) break;
      c = static_cast<unsigned char>((*input)[i]);
      if (c >= 0x7f) return Bad("the local part has a non-ASCII character after a backslash");
    }
    // qtextSMTP = %d32-33 / %d35-91 / %d93-126 / UTF8-non-ascii
    if (c < 0x20 || c == 0x7f) return Bad("the local part has a control character");
    value->push_back(static_cast<char>(c));
  }
  if (i >= input->size()) return Bad("the quoted local part has no closing quote");
  input->remove_prefix(i + 1);
  return absl::OkStatus();
}

// Local-part = Dot-string / Quoted-string
absl::Status TakeLocalPart(absl::string_view* input, std::string* local) {
  if (!input->empty() && input->front() == '"') {
    const absl::Status status = TakeQuoted(input, local);
    if (!status.ok()) return status;
  } else {
    size_t n = 0;
    while (n < input->size() && ((*input)[n] == '.' || IsAtext(static_cast<unsigned char>((*input)[n])))) ++n;
    if (!IsDotString(input->substr(0, n))) return Bad("the local part is not a dot-string");
    *local = std::string(input->substr(0, n));
    input->remove_prefix(n);
  }
  if (local->size() > kMaxLocalPart) return absl::OutOfRangeError("the local part is longer than 64 octets");
  return absl::OkStatus();
}

// Domain or address-literal at the front of `input`; stops at what cannot be in one.
absl::Status TakeDomain(absl::string_view* input, std::string* domain) {
  size_t n = 0;
  if (!input->empty() && input->front() == '[') {
    n = input->find(']');
    if (n == absl::string_view::npos) return Bad("the address literal has no \"]\"");
    ++n;
    if (!IsAddressLiteral(input->substr(0, n))) return Bad("the address literal is not an IP address");
  } else {
    while (n < input->size() && ((*input)[n] == '.' || IsDomainCharacter((*input)[n]))) ++n;
    // The caller checks the characters of the whole path, for its better message.
    if (absl::Status status = CheckDomain(input->substr(0, n), true); !status.ok()) return status;
  }
  *domain = std::string(input->substr(0, n));
  input->remove_prefix(n);
  return absl::OkStatus();
}

// Mailbox at the front of `input`. `domain_optional`: <postmaster>.
absl::StatusOr<Mailbox> TakeMailbox(absl::string_view* input, bool domain_optional) {
  Mailbox mailbox;
  absl::Status status = TakeLocalPart(input, &mailbox.local_part);
  if (!status.ok()) return status;
  if (input->empty() || input->front() != '@') {
    // RFC 5321 §4.1.1.3: only "<Postmaster>" may lack a domain.
    if (domain_optional && absl::EqualsIgnoreCase(mailbox.local_part, "postmaster")) return mailbox;
    return Bad("the address has no domain");
  }
  input->remove_prefix(1);
  status = TakeDomain(input, &mailbox.domain);
  if (!status.ok()) return status;
  return mailbox;
}

// A-d-l ":", where A-d-l = At-domain *( "," At-domain ). RFC 5321 §3.3: ignored.
absl::Status SkipSourceRoute(absl::string_view* input) {
  std::string dropped;
  while (true) {
    if (!absl::ConsumePrefix(input, "@")) return Bad("the source route is malformed");
    const absl::Status status = TakeDomain(input, &dropped);
    if (!status.ok()) return status;
    if (absl::ConsumePrefix(input, ":")) return absl::OkStatus();
    if (!absl::ConsumePrefix(input, ",")) return Bad("the source route is malformed");
  }
}

}  // namespace

std::string Mailbox::ToString() const {
  std::string out;
  out.reserve(local_part.size() + domain.size() + 3);
  if (IsDotString(local_part)) {
    out = local_part;
  } else {
    out.push_back('"');
    for (const char c : local_part) {
      if (c == '"' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
    out.push_back('"');
  }
  if (!domain.empty()) absl::StrAppend(&out, "@", domain);
  return out;
}

bool Mailbox::ascii() const { return IsAscii(local_part) && IsAscii(domain); }

absl::StatusOr<Mailbox> ParseMailbox(absl::string_view text, bool utf8) {
  const absl::Status characters = CheckCharacters(text, utf8);
  if (!characters.ok()) return characters;
  absl::StatusOr<Mailbox> mailbox = TakeMailbox(&text, false);
  if (mailbox.ok() && !text.empty()) return Bad("characters follow the address");
  return mailbox;
}

absl::StatusOr<std::optional<Mailbox>> TakePath(absl::string_view* input, PathKind kind, bool utf8) {
  const bool bracketed = !input->empty() && input->front() == '<';
  const absl::string_view whole = *input;
  if (bracketed) input->remove_prefix(1);
  if (bracketed && kind == PathKind::kReverse && absl::ConsumePrefix(input, ">")) return std::optional<Mailbox>();
  if (!input->empty() && input->front() == '@') {
    const absl::Status status = SkipSourceRoute(input);
    if (!status.ok()) return status;
  }
  absl::StatusOr<Mailbox> mailbox = TakeMailbox(input, kind == PathKind::kForward);
  if (!mailbox.ok()) return mailbox.status();
  if (bracketed && !absl::ConsumePrefix(input, ">")) return Bad("no \">\" follows the address");
  const absl::string_view path = whole.substr(0, whole.size() - input->size());
  if (path.size() + (bracketed ? 0 : 2) > kMaxPath) return absl::OutOfRangeError("the path is longer than 256 octets");
  const absl::Status characters = CheckCharacters(path, utf8);
  if (!characters.ok()) return characters;
  return std::optional<Mailbox>(*std::move(mailbox));
}

// Domain = sub-domain *("." sub-domain); sub-domain = Let-dig [Ldh-str] / U-label
// Departs from RFC 5321 §2.3.5: an underscore is a letter here, since hosts with one
// in their names exist and send mail.
absl::Status CheckDomain(absl::string_view text, bool utf8) {
  if (text.empty()) return Bad("the domain is empty");
  if (text.size() > kMaxDomain) return absl::OutOfRangeError("the domain is longer than 255 octets");
  if (absl::Status status = CheckCharacters(text, utf8); !status.ok()) return status;
  for (const absl::string_view label : absl::StrSplit(text, '.')) {
    if (label.empty()) return Bad("the domain has an empty label");
    if (label.front() == '-') return Bad("a label of the domain begins with a hyphen");
    if (label.back() == '-') return Bad("a label of the domain ends with a hyphen");
    if (IsAscii(label) && label.size() > 63)
      return absl::OutOfRangeError("a label of the domain is longer than 63 octets");
    if (!std::all_of(label.begin(), label.end(), IsDomainCharacter)) return Bad("the domain has a forbidden character");
  }
  return absl::OkStatus();
}

// address-literal = "[" ( IPv4-address-literal / IPv6-address-literal ) "]"
// No tag but IPv6 is registered, so General-address-literal is refused.
bool IsAddressLiteral(absl::string_view text) {
  if (text.size() < 3 || text.size() > 64 || text.front() != '[' || text.back() != ']') return false;
  text = text.substr(1, text.size() - 2);
  unsigned char binary[sizeof(in6_addr)];
  if (absl::StartsWithIgnoreCase(text, "IPv6:")) {
    return inet_pton(AF_INET6, std::string(text.substr(5)).c_str(), binary) == 1;
  }
  return inet_pton(AF_INET, std::string(text).c_str(), binary) == 1;
}

}  // namespace posthouse::smtp
