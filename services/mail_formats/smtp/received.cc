#include "services/mail_formats/smtp/received.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/mail_formats/smtp/path.h"

namespace posthouse::smtp {
namespace {

// The EHLO argument is not trusted: characters outside a domain name become "?", so
// that the argument cannot end the field, open a comment or forge another field.
// UTF-8 appears only in a message with SMTPUTF8 (RFC 6531 §3.7.3).
std::string SafeName(absl::string_view name, bool utf8) {
  if (CheckDomain(name, utf8).ok() || IsAddressLiteral(name)) return std::string(name);
  std::string out;
  for (const char c : name) {
    const bool safe = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_';
    out.push_back(safe ? c : '?');
  }
  return out.empty() ? "unknown" : out;
}

// TCP-info = address-literal
std::string Literal(absl::string_view address) {
  return absl::StrContains(address, ":") ? absl::StrCat("[IPv6:", address, "]") : absl::StrCat("[", address, "]");
}

}  // namespace

std::string WithProtocol(const ReceivedInfo& info) {
  // RFC 6531 §4.3: UTF8SMTP stands for ESMTP with SMTPUTF8.
  std::string out = info.lmtp ? (info.smtputf8 ? "UTF8LMTP" : "LMTP") : (info.smtputf8 ? "UTF8SMTP" : "ESMTP");
  if (!info.esmtp && !info.lmtp) return "SMTP";
  if (info.tls) out += "S";
  if (info.authenticated) out += "A";
  return out;
}

// Time-stamp-line = "Received:" FWS Stamp
// Stamp = From-domain By-domain Opt-info [CFWS] ";" FWS date-time
std::string FormatReceived(const ReceivedInfo& info) {
  std::string out =
      absl::StrCat("Received: from ", SafeName(info.client_name, info.smtputf8), " (", Literal(info.client_address),
                   ")\r\n\tby ", info.by, " (Posthouse) with ", WithProtocol(info));
  if (!info.tls_comment.empty()) absl::StrAppend(&out, "\r\n\t(", info.tls_comment, ")");
  if (!info.id.empty()) absl::StrAppend(&out, "\r\n\tid ", info.id);
  if (!info.for_address.empty()) absl::StrAppend(&out, "\r\n\tfor <", info.for_address, ">");
  absl::StrAppend(&out, ";\r\n\t", FormatDate(info.at), "\r\n");
  return out;
}

std::string FormatDate(absl::Time at) {
  return absl::FormatTime("%a, %d %b %Y %H:%M:%S +0000", at, absl::UTCTimeZone());
}

}  // namespace posthouse::smtp
