#include "services/mail_formats/address/address.h"

#include <arpa/inet.h>
#include <idn2.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"

namespace posthouse {
namespace {

constexpr size_t kMaxLocalBytes = 64;    // RFC 5321 §4.5.3.1.1
constexpr size_t kMaxDomainBytes = 255;  // RFC 5321 §4.5.3.1.2

// RFC 5322 §3.2.3 atext, and UTF-8 non-ASCII (RFC 6531 §3.3).
bool IsAtext(unsigned char c) {
  if (c >= 0x80 || absl::ascii_isalnum(c)) return true;
  return absl::string_view("!#$%&'*+-/=?^_`{|}~").find(static_cast<char>(c)) != absl::string_view::npos;
}

// Dot-string = Atom *("." Atom)
bool IsDotString(absl::string_view text) {
  if (text.empty() || text.front() == '.' || text.back() == '.') return false;
  bool dot = false;
  for (const char c : text) {
    if (c == '.') {
      if (dot) return false;
      dot = true;
    } else {
      if (!IsAtext(static_cast<unsigned char>(c))) return false;
      dot = false;
    }
  }
  return true;
}

// Well-formed UTF-8 without surrogates and overlong forms (RFC 3629 §4).
bool IsUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    size_t more = 0;
    uint32_t min = 0, code = 0;
    if (c < 0x80) {
      ++i;
      continue;
    } else if (c >= 0xC2 && c <= 0xDF) {
      more = 1, min = 0x80, code = c & 0x1F;
    } else if (c >= 0xE0 && c <= 0xEF) {
      more = 2, min = 0x800, code = c & 0x0F;
    } else if (c >= 0xF0 && c <= 0xF4) {
      more = 3, min = 0x10000, code = c & 0x07;
    } else {
      return false;
    }
    if (text.size() - i <= more) return false;
    for (size_t k = 1; k <= more; ++k) {
      const auto d = static_cast<unsigned char>(text[i + k]);
      if ((d & 0xC0) != 0x80) return false;
      code = code << 6 | (d & 0x3F);
    }
    if (code < min || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
    i += more + 1;
  }
  return true;
}

// Quoted-string = DQUOTE *QcontentSMTP DQUOTE; sets `content` and the octets eaten.
absl::Status ParseQuoted(absl::string_view text, std::string* content, size_t* used) {
  for (size_t i = 1; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    if (c == '"') {
      *used = i + 1;
      if (content->empty()) return absl::InvalidArgumentError("the local part is empty");
      return absl::OkStatus();
    }
    if (c == '\\') {
      if (++i == text.size()) break;
      c = static_cast<unsigned char>(text[i]);
    }
    // qtextSMTP and quoted-pairSMTP: printable ASCII and space only.
    if (c < 0x20 || c == 0x7F) return absl::InvalidArgumentError("a control character in the local part");
    content->push_back(static_cast<char>(c));
  }
  return absl::InvalidArgumentError("a quoted local part without its closing quote");
}

// address-literal of RFC 5321 §4.1.3: IPv4, or "IPv6:" and an address.
absl::StatusOr<std::string> NormalizeLiteral(absl::string_view text) {
  if (text.size() < 3 || text.back() != ']') return absl::InvalidArgumentError("an address literal ends with ]");
  std::string inner(text.substr(1, text.size() - 2));
  unsigned char bytes[16];
  char out[INET6_ADDRSTRLEN];
  if (absl::StartsWithIgnoreCase(inner, "IPv6:")) {
    inner.erase(0, 5);
    if (inet_pton(AF_INET6, inner.c_str(), bytes) == 1) {
      return absl::StrCat("[IPv6:", inet_ntop(AF_INET6, bytes, out, sizeof(out)), "]");
    }
  } else if (inet_pton(AF_INET, inner.c_str(), bytes) == 1) {
    return absl::StrCat("[", inet_ntop(AF_INET, bytes, out, sizeof(out)), "]");
  }
  return absl::InvalidArgumentError("not an address literal that is known");
}

absl::Status CheckLabels(absl::string_view domain) {
  size_t label = 0;
  for (size_t i = 0; i <= domain.size(); ++i) {
    if (i == domain.size() || domain[i] == '.') {
      if (label == 0) return absl::InvalidArgumentError("an empty label in the domain");
      if (label > 63) return absl::InvalidArgumentError("a label of the domain is over 63 octets");
      if (domain[i - 1] == '-') return absl::InvalidArgumentError("a label of the domain ends with a hyphen");
      label = 0;
      continue;
    }
    const char c = domain[i];
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_') {
      return absl::InvalidArgumentError("a character in the domain that no host name has");
    }
    if (c == '-' && label == 0) return absl::InvalidArgumentError("a label of the domain begins with a hyphen");
    ++label;
  }
  return absl::OkStatus();
}

}  // namespace

std::string Address::ToString() const {
  if (IsDotString(local)) return absl::StrCat(local, "@", domain);
  std::string out = "\"";
  for (const char c : local) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  absl::StrAppend(&out, "\"@", domain);
  return out;
}

Address Address::Folded() const {
  Address folded = *this;
  absl::AsciiStrToLower(&folded.local);
  return folded;
}

absl::StatusOr<std::string> NormalizeDomain(absl::string_view text) {
  if (absl::EndsWith(text, ".")) text.remove_suffix(1);
  if (text.empty()) return absl::InvalidArgumentError("the domain is empty");
  if (text.size() > kMaxDomainBytes) return absl::InvalidArgumentError("the domain is over 255 octets");
  std::string domain(text);
  bool ascii = true;
  for (const char c : domain) ascii &= static_cast<unsigned char>(c) < 0x80;
  if (!ascii) {
    if (!IsUtf8(domain)) return absl::InvalidArgumentError("the domain is not UTF-8");
    char* encoded = nullptr;
    const int rc = idn2_to_ascii_8z(domain.c_str(), &encoded, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc != IDN2_OK) return absl::InvalidArgumentError(absl::StrCat("the domain is no IDN: ", idn2_strerror(rc)));
    domain = encoded;
    std::free(encoded);  // allocated by libidn2 with malloc
    if (domain.size() > kMaxDomainBytes) return absl::InvalidArgumentError("the domain is over 255 octets");
  }
  absl::AsciiStrToLower(&domain);
  PH_RETURN_IF_ERROR(CheckLabels(domain));
  return domain;
}

absl::StatusOr<Address> ParseAddress(absl::string_view text) {
  Address address;
  size_t at = 0;
  if (!text.empty() && text[0] == '"') {
    PH_RETURN_IF_ERROR(ParseQuoted(text, &address.local, &at));
  } else {
    at = text.find('@');
    if (at == absl::string_view::npos) return absl::InvalidArgumentError("the address has no @");
    address.local = std::string(text.substr(0, at));
    if (!IsDotString(address.local)) return absl::InvalidArgumentError("the local part is not a dot-string");
  }
  if (at >= text.size() || text[at] != '@') return absl::InvalidArgumentError("the address has no @");
  if (address.local.size() > kMaxLocalBytes) return absl::InvalidArgumentError("the local part is over 64 octets");
  if (!IsUtf8(address.local)) return absl::InvalidArgumentError("the local part is not UTF-8");
  const absl::string_view domain = text.substr(at + 1);
  if (!domain.empty() && domain[0] == '[') {
    PH_ASSIGN_OR_RETURN(address.domain, NormalizeLiteral(domain));
  } else {
    PH_ASSIGN_OR_RETURN(address.domain, NormalizeDomain(domain));
  }
  return address;
}

absl::StatusOr<std::string> NormalizeLocalAddress(absl::string_view text) {
  PH_ASSIGN_OR_RETURN(const Address address, ParseAddress(text));
  return address.Folded().ToString();
}

bool SplitSubaddress(absl::string_view local, absl::string_view separators, std::string* base, std::string* detail) {
  if (separators.empty() || local.size() < 2) return false;
  const size_t at = local.find_first_of(separators, 1);
  if (at == absl::string_view::npos) return false;
  *base = std::string(local.substr(0, at));
  *detail = std::string(local.substr(at + 1));
  return true;
}

}  // namespace posthouse
