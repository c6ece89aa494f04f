#include "services/mail_formats/address/address.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/unistr.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/common/status/status.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/smtp/path.h"

namespace posthouse {
namespace {

// `status` with the one code that this header promises.
absl::Status Invalid(const absl::Status& status) {
  return status.ok() ? status : absl::InvalidArgumentError(status.message());
}

// The shortest form of a parsed address-literal (RFC 5321 §4.1.3, RFC 5952 §4).
std::string NormalizeLiteral(absl::string_view text) {
  const absl::string_view inner = text.substr(1, text.size() - 2);
  const bool v6 = absl::StartsWithIgnoreCase(inner, "IPv6:");
  const int family = v6 ? AF_INET6 : AF_INET;
  unsigned char bytes[sizeof(in6_addr)];
  char out[INET6_ADDRSTRLEN];
  PH_CHECK(inet_pton(family, std::string(inner.substr(v6 ? 5 : 0)).c_str(), bytes) == 1);
  return absl::StrCat(v6 ? "[IPv6:" : "[", inet_ntop(family, bytes, out, sizeof(out)), "]");
}

// Lower case in form NFC (RFC 8265 §3.3.1, RFC 6532 §3.1). Not case folding, which would
// make one mailbox of two names that differ ("strauß", "strauss").
std::string FoldUtf8(absl::string_view text) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* const nfc = icu::Normalizer2::getNFCInstance(error);
  icu::UnicodeString folded =
      icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  // Lower case may undo the form, and the form may make letters that have a lower case.
  for (int round = 0; round < 3 && U_SUCCESS(error); ++round) {
    folded = nfc->normalize(folded.toLower(icu::Locale::getRoot()), error);
  }
  PH_CHECK(U_SUCCESS(error));  // the data of NFC is part of the library
  std::string out;
  folded.toUTF8String(out);
  return out;
}

}  // namespace

std::string Address::ToString() const { return smtp::Mailbox{local, domain}.ToString(); }

Address Address::Folded() const {
  Address folded = *this;
  if (IsAscii(folded.local)) {
    absl::AsciiStrToLower(&folded.local);
  } else {
    folded.local = FoldUtf8(folded.local);
  }
  return folded;
}

absl::StatusOr<std::string> NormalizeDomain(absl::string_view text) {
  absl::ConsumeSuffix(&text, ".");
  PH_RETURN_IF_ERROR(Invalid(smtp::CheckDomain(text, true)));
  std::string domain(text);
  if (!IsAscii(domain)) {
    char* encoded = nullptr;
    const int rc = idn2_to_ascii_8z(domain.c_str(), &encoded, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc != IDN2_OK) return absl::InvalidArgumentError(absl::StrCat("the domain is not an IDN: ", idn2_strerror(rc)));
    domain = encoded;
    std::free(encoded);  // allocated by libidn2 with malloc
    PH_RETURN_IF_ERROR(Invalid(smtp::CheckDomain(domain, false)));
  }
  absl::AsciiStrToLower(&domain);
  return domain;
}

absl::StatusOr<Address> ParseAddress(absl::string_view text) {
  // Departs from RFC 5321 §2.3.5: people write the final dot of DNS.
  if (!absl::EndsWith(text, "].")) absl::ConsumeSuffix(&text, ".");
  absl::StatusOr<smtp::Mailbox> mailbox = smtp::ParseMailbox(text, true);
  if (!mailbox.ok()) return Invalid(mailbox.status());
  Address address{std::move(mailbox->local_part), ""};
  if (mailbox->literal()) {
    address.domain = NormalizeLiteral(mailbox->domain);
  } else {
    PH_ASSIGN_OR_RETURN(address.domain, NormalizeDomain(mailbox->domain));
  }
  return address;
}

absl::StatusOr<std::string> NormalizeLocalAddress(absl::string_view text) {
  PH_ASSIGN_OR_RETURN(const Address address, ParseAddress(text));
  const Address folded = address.Folded();
  // RFC 5321 §4.5.3.1.1. A few letters take more octets in lower case.
  if (folded.local.size() > 64) return absl::InvalidArgumentError("the local part is longer than 64 octets");
  return folded.ToString();
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
