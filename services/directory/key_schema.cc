#include "services/directory/key_schema.h"

#include <google/protobuf/message_lite.h>

#include "absl/strings/str_cat.h"

namespace posthouse::directory {

store::Partition SystemPartition() { return {"", "sys"}; }

store::Partition TenantPartition(absl::string_view tenant) {
  return {std::string(tenant), absl::StrCat("dir/", tenant)};
}

std::string TenantKey(absl::string_view tenant) { return absl::StrCat(kTenantPrefix, tenant); }

std::string DomainKey(absl::string_view domain) { return absl::StrCat(kDomainPrefix, domain); }

std::string AccountsOfDomainPrefix(absl::string_view domain) { return absl::StrCat(kAccountPrefix, domain, "/"); }

std::string AliasesOfDomainPrefix(absl::string_view domain) { return absl::StrCat(kAliasPrefix, domain, "/"); }

std::string AccountKey(const Address& address) {
  return absl::StrCat(AccountsOfDomainPrefix(address.domain), address.local);
}

std::string AliasKey(const Address& address) {
  return absl::StrCat(AliasesOfDomainPrefix(address.domain), address.local);
}

std::string CredentialKey(absl::string_view account_id) { return absl::StrCat("p/", account_id); }
std::string DeletedKey(absl::string_view account_id) { return absl::StrCat(kDeletedPrefix, account_id); }

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
