#include "services/directory/record_checks.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"

namespace posthouse::directory {
namespace {

constexpr size_t kMaxDisplayName = 200;

}  // namespace

absl::Status CheckStatus(v1::Status status) {
  if (v1::Status_IsValid(status)) return absl::OkStatus();
  return absl::InvalidArgumentError("status: active, suspended, frozen or deleted");
}

absl::Status CheckDisplayName(absl::string_view name) {
  for (const char c : name) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      return absl::InvalidArgumentError("display_name: no control characters");
    }
  }
  if (name.size() <= kMaxDisplayName) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("display_name: at most ", kMaxDisplayName, " octets"));
}

absl::Status CheckRevision(uint64_t given, uint64_t stored) {
  if (given == 0 || given == stored) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat("revision: ", given, " is not the newest, which is ", stored, "; read the record again"));
}

absl::StatusOr<Address> CheckNewAddress(const Index& index, const std::string& text, const TenantId& tenant) {
  // Postfix's catch-all forms: an alias of the literal "*" would get no mail.
  if (absl::StartsWith(text, "*@") || absl::StartsWith(text, "@")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "address \"", text, "\": there are no wildcards; the catch_all of a domain gets mail for unknown local parts ",
        "(posthousectl domain set DOMAIN --catch-all ADDRESS)"));
  }
  absl::StatusOr<Address> parsed = ParseAddress(text);
  if (!parsed.ok()) return Annotate(parsed.status(), absl::StrCat("address \"", text, "\""));
  // RFC 5321 §4.1.2 allows an empty quoted string as the local part; no account or alias gets one.
  if (parsed->local.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("address \"", text, "\": the local part is empty"));
  }
  const v1::Domain* domain = index.FindDomain(parsed->domain);
  if (domain == nullptr) return MissingDomain(index, parsed->domain);
  if (!domain->alias_of().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(domain->domain(), " is another name of ", domain->alias_of(), ": create the address there"));
  }
  if (!tenant.empty() && tenant.value() != domain->tenant()) {
    return absl::InvalidArgumentError(
        absl::StrCat("domain ", domain->domain(), " belongs to tenant ", domain->tenant(), ", not ", tenant.value()));
  }
  return parsed->Folded();
}

absl::Status NoSuchAccount(absl::string_view name) {
  return absl::NotFoundError(absl::StrCat("there is no account ", name));
}

absl::Status NoSuchAlias(absl::string_view name) {
  return absl::NotFoundError(absl::StrCat("there is no alias ", name));
}

absl::Status MissingTenant(const Index& index, const TenantId& tenant) {
  if (!index.TenantMayBeLost(tenant)) return absl::NotFoundError(absl::StrCat("there is no tenant ", tenant.value()));
  return absl::FailedPreconditionError(absl::StrCat("the record of tenant ", tenant.value(),
                                                    " is damaged; 'posthousectl tenant add ", tenant.value(),
                                                    "' writes it anew"));
}

absl::Status MissingDomain(const Index& index, absl::string_view domain) {
  if (!index.MayBeLost(domain)) return absl::NotFoundError(absl::StrCat("there is no domain ", domain));
  return absl::FailedPreconditionError(
      absl::StrCat("the record of domain ", domain, " is damaged; 'posthousectl domain add ", domain,
                   "' writes it anew, and its addresses are there after a restart of the directory"));
}

absl::Status MissingAccount(const Index& index, const Address& address) {
  if (index.FindDomain(address.domain) == nullptr && index.MayBeLost(address.domain)) {
    return MissingDomain(index, address.domain);
  }
  const std::string name = address.ToString();
  if (!index.AccountMayBeLost(address)) return NoSuchAccount(name);
  return absl::FailedPreconditionError(absl::StrCat("the record of ", name, " is damaged; 'posthousectl account add ",
                                                    name, "' writes it anew and keeps its mail"));
}

absl::Status MissingAlias(const Index& index, const Address& address) {
  if (index.FindDomain(address.domain) == nullptr && index.MayBeLost(address.domain)) {
    return MissingDomain(index, address.domain);
  }
  const std::string name = address.ToString();
  if (!index.AliasMayBeLost(address)) return NoSuchAlias(name);
  return absl::FailedPreconditionError(
      absl::StrCat("the record of alias ", name, " is damaged; 'posthousectl alias add ", name,
                   " TARGET...' writes it anew, 'posthousectl alias delete ", name, "' removes it"));
}

absl::Status DamagedSinceStart(absl::string_view what) {
  return absl::FailedPreconditionError(
      absl::StrCat("the record of ", what, " is damaged; restart the directory, which then says how to mend it"));
}

}  // namespace posthouse::directory
