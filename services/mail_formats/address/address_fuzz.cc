// Addresses and domains as strangers write them: what parses prints to what parses
// to the same, and a normalized domain is normal.
#include <cstddef>
#include <cstdint>
#include <string>

#include "services/common/status/status.h"
#include "services/mail_formats/address/address.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace posthouse;  // NOLINT: a fuzz target's only scope
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<std::string> domain = NormalizeDomain(text);
  if (domain.ok()) PH_CHECK(NormalizeDomain(*domain) == domain);
  const absl::StatusOr<Address> address = ParseAddress(text);
  if (!address.ok()) return 0;
  PH_CHECK(address->local.size() <= 64 && address->domain.size() <= 255);
  const absl::StatusOr<Address> again = ParseAddress(address->ToString());
  PH_CHECK(again.ok() && again->local == address->local && again->domain == address->domain);
  const absl::StatusOr<std::string> folded = NormalizeLocalAddress(text);
  if (folded.ok()) PH_CHECK(NormalizeLocalAddress(*folded) == folded);
  std::string base, detail;
  if (SplitSubaddress(address->local, "+", &base, &detail)) PH_CHECK(base + "+" + detail == address->local);
  return 0;
}
