#include "services/mail_formats/smtp/address.h"

#include <arpa/inet.h>

#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
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

absl::Status Bad(absl::string_view what) { return absl::InvalidArgumentError(what); }

// Quoted-string = DQUOTE *QcontentSMTP DQUOTE; `input` starts at the first quote.
absl::Status TakeQuoted(absl::string_view* input, std::string* value) {
  size_t i = 1;
  for (; i < input->size() && (*input)[i] != '"'; ++i) {
    unsigned char c = static_cast<unsigned char>((*input)[i]);
    // quoted-pairSMTP = %d92 %d32-126
    if (c == '\\') {
      if (++i == input->size()) break;
      c = static_cast<unsigned char>((*input)[i]);
      if (c >= 0x7f) return Bad("bad character after \"\\\" in the local part");
    }
    // qtextSMTP = %d32-33 / %d35-91 / %d93-126 / UTF8-non-ascii
    if (c < 0x20 || c == 0x7f) return Bad("control character in the local part");
    value->push_back(static_cast<char>(c));
  }
  if (i >= input->size()) return Bad("unfinished quoted local part");
  input->remove_prefix(i + 1);
  return absl::OkStatus();
}

// Local-part = Dot-string / Quoted-string
absl::Status TakeLocalPart(absl::string_view* input, std::string* local) {
  const absl::string_view start = *input;
  if (!input->empty() && input->front() == '"') {
    const absl::Status status = TakeQuoted(input, local);
    if (!status.ok()) return status;
  } else {
    size_t n = 0;
    while (n < input->size() && ((*input)[n] == '.' || IsAtext(static_cast<unsigned char>((*input)[n])))) ++n;
    if (!IsDotString(input->substr(0, n))) return Bad("bad local part");
    *local = std::string(input->substr(0, n));
    input->remove_prefix(n);
  }
  if (start.size() - input->size() > kMaxLocalPart) return absl::OutOfRangeError("local part over 64 octets");
  return absl::OkStatus();
}

// Domain or address-literal at the front of `input`; stops at what cannot be in one.
absl::Status TakeDomain(absl::string_view* input, std::string* domain) {
  size_t n = 0;
  if (!input->empty() && input->front() == '[') {
    n = input->find(']');
    if (n == absl::string_view::npos) return Bad("unfinished address literal");
    ++n;
    if (!IsAddressLiteral(input->substr(0, n))) return Bad("bad address literal");
  } else {
    while (n < input->size()) {
      const unsigned char c = static_cast<unsigned char>((*input)[n]);
      if (!(c >= 0x80 || absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_')) break;
      ++n;
    }
    if (n > kMaxDomain) return absl::OutOfRangeError("domain over 255 octets");
    // UTF-8 is let through here: CheckCharacters() knows the better complaint.
    if (!IsDomain(input->substr(0, n), true)) return Bad("bad domain");
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
    // RFC 5321 §4.1.1.3: "<Postmaster>" needs no domain; nobody else goes without.
    if (domain_optional && absl::EqualsIgnoreCase(mailbox.local_part, "postmaster")) return mailbox;
    return Bad("address without a domain");
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
    if (!absl::ConsumePrefix(input, "@")) return Bad("bad source route");
    const absl::Status status = TakeDomain(input, &dropped);
    if (!status.ok()) return status;
    if (absl::ConsumePrefix(input, ":")) return absl::OkStatus();
    if (!absl::ConsumePrefix(input, ",")) return Bad("bad source route");
  }
}

absl::Status CheckCharacters(absl::string_view text, bool utf8) {
  if (IsAscii(text)) return absl::OkStatus();
  if (!IsUtf8(text)) return Bad("address is not UTF-8");
  if (!utf8) return absl::FailedPreconditionError("address needs SMTPUTF8");
  return absl::OkStatus();
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
  if (text.size() + 2 > kMaxPath) return absl::OutOfRangeError("address over 254 octets");
  const absl::Status characters = CheckCharacters(text, utf8);
  if (!characters.ok()) return characters;
  absl::StatusOr<Mailbox> mailbox = TakeMailbox(&text, false);
  if (mailbox.ok() && !text.empty()) return Bad("characters after the address");
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
  if (bracketed && !absl::ConsumePrefix(input, ">")) return Bad("\">\" expected after the address");
  const absl::string_view path = whole.substr(0, whole.size() - input->size());
  if (path.size() + (bracketed ? 0 : 2) > kMaxPath) return absl::OutOfRangeError("path over 256 octets");
  const absl::Status characters = CheckCharacters(path, utf8);
  if (!characters.ok()) return characters;
  return std::optional<Mailbox>(*std::move(mailbox));
}

// Domain = sub-domain *("." sub-domain); sub-domain = Let-dig [Ldh-str] / U-label
// Departs from RFC 5321 §2.3.5: an underscore is a letter here, since hosts with one
// in their names exist and send mail.
bool IsDomain(absl::string_view text, bool utf8) {
  if (text.empty() || text.size() > kMaxDomain) return false;
  if (!IsAscii(text) && !(utf8 && IsUtf8(text))) return false;
  size_t label = 0;
  char last = '.';
  for (const char c : text) {
    if (c == '.') {
      if (label == 0 || last == '-') return false;
      label = 0;
    } else {
      const bool letter =
          absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
      if (!letter && !(c == '-' && label > 0)) return false;
      // RFC 1035 §2.3.4: 63 octets. U-labels are counted as they come.
      if (++label > 63) return false;
    }
    last = c;
  }
  return label > 0 && last != '-';
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

absl::string_view DomainOf(absl::string_view address) {
  const size_t at = address.rfind('@');
  return at == absl::string_view::npos ? absl::string_view() : address.substr(at + 1);
}

bool IsAscii(absl::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

bool IsUtf8(absl::string_view text) { return posthouse::IsUtf8(text); }

std::string ToUtf8(absl::string_view text) {
  if (IsAscii(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t n = Utf8Length(text);
    n == 0 ? out.push_back('?') : void(out.append(text.data(), n));
    text.remove_prefix(n == 0 ? 1 : n);
  }
  return out;
}

}  // namespace posthouse::smtp
