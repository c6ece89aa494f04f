#include "services/mailbox/rows/key_schema.h"
#include "services/common/ids/ids.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/common/status/status.h"

namespace posthouse::mailbox {
namespace {

template <typename Int>
void AppendBigEndian(std::string& out, Int value) {
  for (int shift = static_cast<int>(sizeof(Int)) * 8 - 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>((value >> shift) & 0xff));
  }
}

template <typename Int>
Int ReadBigEndian(absl::string_view bytes) {
  Int value = 0;
  for (const char c : bytes) value = static_cast<Int>((value << 8) | static_cast<unsigned char>(c));
  return value;
}

template <typename Int>
std::string IntKey(absl::string_view prefix, Int value) {
  std::string key(prefix);
  AppendBigEndian(key, value);
  return key;
}

template <typename Int>
absl::StatusOr<Int> IntOfKey(absl::string_view key) {
  if (key.size() != 2 + sizeof(Int)) return absl::DataLossError("a key has an unexpected length");
  return ReadBigEndian<Int>(key.substr(2));
}

std::string LengthPrefixed(absl::string_view prefix, absl::string_view operation_id) {
  PH_CHECK(operation_id.size() <= kMaxOperationIdBytes);
  std::string key(prefix);
  key.push_back(static_cast<char>(operation_id.size()));
  absl::StrAppend(&key, operation_id);
  return key;
}

constexpr char kCacheSuffix[] = "/c";

}  // namespace

store::Partition SystemPartition() { return {"", "mailbox"}; }
store::Partition AccountPartition(const TenantId& tenant, const AccountId& account) {
  return {tenant.value(), absl::StrCat("acct/", account.value())};
}
store::Partition FolderPartition(const TenantId& tenant, const FolderId& folder) {
  return {tenant.value(), absl::StrCat(kFolderPartitionPrefix, folder.value())};
}
store::Partition CachePartition(const TenantId& tenant, const FolderId& folder) {
  return {tenant.value(), absl::StrCat(kFolderPartitionPrefix, folder.value(), kCacheSuffix)};
}
FolderId FolderOfPartition(absl::string_view partition_id) {
  const absl::string_view prefix = kFolderPartitionPrefix;
  if (partition_id.substr(0, prefix.size()) != prefix) return FolderId();
  const absl::string_view id = partition_id.substr(prefix.size());
  return IsId(id) ? FolderId(std::string(id)) : FolderId();
}

FolderId FolderOfCachePartition(absl::string_view partition_id) {
  return absl::ConsumeSuffix(&partition_id, kCacheSuffix) ? FolderOfPartition(partition_id) : FolderId();
}

std::string SystemKey() { return "V"; }
std::string TenantKey(const TenantId& tenant) { return absl::StrCat(kTenantPrefix, tenant.value()); }

std::string ErasedKey(int64_t since, const TenantId& tenant, const AccountId& account) {
  return absl::StrCat(IntKey(kErasedPrefix, static_cast<uint64_t>(since)), tenant.value(), "/", account.value());
}

std::string AccountKey() { return "S"; }
std::string FolderKey(absl::string_view node_id) { return absl::StrCat(kFolderPrefix, IdToBytes(node_id)); }
std::string TreeChangeKey(uint64_t tree_version) { return IntKey(kTreeChangePrefix, tree_version); }
std::string NameKey(absl::string_view parent_node_id, absl::string_view name) {
  // The parent of the top level is the id of zeros, which no node has.
  return absl::StrCat("n/", parent_node_id.empty() ? std::string(16, '\0') : IdToBytes(parent_node_id), name);
}
std::string SubscriptionKey(absl::string_view full_name) { return absl::StrCat(kSubscriptionPrefix, full_name); }
std::string DoomedKey(const FolderId& folder) { return absl::StrCat(kDoomedPrefix, folder.value()); }

std::string HeadKey() { return "H"; }
std::string MessageKey(Uid uid) { return IntKey(kMessagePrefix, uid.value()); }
std::string ChangeKey(Modseq modseq) { return IntKey(kChangePrefix, modseq.value()); }
std::string DeliveryKey(absl::string_view delivery_id) { return absl::StrCat(kDeliveryPrefix, delivery_id); }
std::string OperationKey(absl::string_view operation_id) { return LengthPrefixed(kOperationPrefix, operation_id); }
std::string CopyBatchKey(absl::string_view operation_id, uint32_t batch) {
  std::string key = LengthPrefixed(kOperationPrefix, operation_id);
  AppendBigEndian(key, batch);
  return key;
}
std::string KeywordKey(uint16_t number) { return IntKey(kKeywordPrefix, number); }
std::string RecentKey() { return "r"; }
std::string IntentKey(absl::string_view operation_id) { return LengthPrefixed(kIntentPrefix, operation_id); }

std::string EnvelopeKey(Uid uid) { return IntKey(kEnvelopePrefix, uid.value()); }
std::string StructureKey(Uid uid) { return IntKey(kStructurePrefix, uid.value()); }
std::string HeaderKey(Uid uid) { return IntKey(kHeaderPrefix, uid.value()); }

absl::StatusOr<Uid> UidOfKey(absl::string_view key) {
  PH_ASSIGN_OR_RETURN(const uint32_t uid, IntOfKey<uint32_t>(key));
  return Uid(uid);
}
absl::StatusOr<Modseq> ModseqOfKey(absl::string_view key) {
  PH_ASSIGN_OR_RETURN(const uint64_t modseq, IntOfKey<uint64_t>(key));
  return Modseq(modseq);
}
absl::StatusOr<uint16_t> NumberOfKeywordKey(absl::string_view key) { return IntOfKey<uint16_t>(key); }
absl::StatusOr<std::string> OperationOfIntentKey(absl::string_view key) {
  if (key.size() < 3 || key.size() != 3u + static_cast<unsigned char>(key[2]) ||
      key.size() > 3 + kMaxOperationIdBytes) {
    return absl::DataLossError("an intent key has an unexpected length");
  }
  return std::string(key.substr(3));
}
absl::StatusOr<std::string> NodeOfFolderKey(absl::string_view key) {
  if (key.size() != 18) return absl::DataLossError("a folder key has an unexpected length");
  return IdToHex(key.substr(2));
}
absl::StatusOr<int64_t> SinceOfErasedKey(absl::string_view key) {
  PH_ASSIGN_OR_RETURN(const uint64_t since, IntOfKey<uint64_t>(key.substr(0, 10)));
  return static_cast<int64_t>(since);
}
std::string RestOfKey(absl::string_view key) { return key.size() < 2 ? "" : std::string(key.substr(2)); }

bool IsId(absl::string_view hex) {
  if (hex.size() != 32) return false;
  for (const char c : hex) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}
std::string IdToBytes(absl::string_view hex) { return absl::HexStringToBytes(hex); }
std::string IdToHex(absl::string_view bytes) { return absl::BytesToHexString(bytes); }
std::string NewId() { return IdToHex(RandomBytes(16)); }
uint64_t RandomNumber() { return ReadBigEndian<uint64_t>(RandomBytes(8)); }

}  // namespace posthouse::mailbox
