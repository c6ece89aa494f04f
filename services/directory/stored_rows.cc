#include "services/directory/stored_rows.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/directory/v1/store.pb.h"
#include "services/directory/key_schema.h"

namespace posthouse::directory {
namespace {

template <typename Record>
absl::Status Parses(absl::string_view value) {
  Record record;
  return Decode(value, &record);
}

}  // namespace

absl::Status CheckStoredRow(const store::Partition& partition, absl::string_view key, absl::string_view value) {
  const bool system = partition == SystemPartition();
  const bool tenant = partition == TenantPartition(TenantId(partition.tenant));
  const auto in = [key](absl::string_view prefix) { return absl::StartsWith(key, prefix); };
  if (!system && !tenant) return absl::OkStatus();
  if (key == kHeadKey) return Parses<v1::PartitionHead>(value);
  if (in(kLogPrefix)) return Parses<v1::ChangeRecord>(value);
  if (system && in(kTenantPrefix)) return Parses<v1::Tenant>(value);
  if (system && in(kDomainPrefix)) return Parses<v1::Domain>(value);
  if (system) return absl::OkStatus();
  if (in(kAccountPrefix)) return Parses<v1::Account>(value);
  if (in(kAliasPrefix)) return Parses<v1::Alias>(value);
  if (in(kDeletedPrefix)) return Parses<v1::DeletedAccountRecord>(value);
  if (in(kCredentialPrefix)) return Parses<v1::CredentialRecord>(value);
  return absl::OkStatus();
}

}  // namespace posthouse::directory
