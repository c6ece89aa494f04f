#include "services/directory/key_schema.h"

#include <google/protobuf/message_lite.h>

#include "absl/strings/str_cat.h"

namespace posthouse::directory {

store::Partition SystemPartition() { return {"", "sys"}; }

store::Partition TenantPartition(const TenantId& tenant) {
  return {tenant.value(), absl::StrCat("dir/", tenant.value())};
}

std::string TenantKey(const TenantId& tenant) { return absl::StrCat(kTenantPrefix, tenant.value()); }

std::string DomainKey(absl::string_view domain) { return absl::StrCat(kDomainPrefix, domain); }

std::string AccountsOfDomainPrefix(absl::string_view domain) { return absl::StrCat(kAccountPrefix, domain, "/"); }

std::string AliasesOfDomainPrefix(absl::string_view domain) { return absl::StrCat(kAliasPrefix, domain, "/"); }

std::string AccountKey(const Address& address) {
  return absl::StrCat(AccountsOfDomainPrefix(address.domain), address.local);
}

std::string AliasKey(const Address& address) {
  return absl::StrCat(AliasesOfDomainPrefix(address.domain), address.local);
}

std::string CredentialKey(const AccountId& account) { return absl::StrCat(kCredentialPrefix, account.value()); }
std::string DeletedKey(const AccountId& account) { return absl::StrCat(kDeletedPrefix, account.value()); }

std::string LogKey(uint64_t revision) {
  std::string key = kLogPrefix;
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(revision >> shift & 0xFF));
  return key;
}

std::string Encode(const google::protobuf::MessageLite& message) {
  std::string value(1, kSchema);
  message.AppendToString(&value);
  return value;
}

absl::Status Decode(absl::string_view value, google::protobuf::MessageLite* message) {
  if (value.empty()) return absl::DataLossError("an empty row in the directory's store");
  if (value[0] > kSchema) {
    return absl::FailedPreconditionError(absl::StrCat("a row of schema ", static_cast<int>(value[0]),
                                                      ", this binary knows ", static_cast<int>(kSchema)));
  }
  if (value[0] != kSchema || !message->ParseFromArray(value.data() + 1, static_cast<int>(value.size() - 1))) {
    return absl::DataLossError(absl::StrCat("a row that is no ", message->GetTypeName()));
  }
  return absl::OkStatus();
}

}  // namespace posthouse::directory
