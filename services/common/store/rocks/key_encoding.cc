#include "services/common/store/rocks/key_encoding.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "services/common/store/rocks/big_endian.h"

namespace posthouse::store {
namespace {

constexpr char kStoreTag = 's';
constexpr char kRowTag = 'r';
constexpr char kHeaderTag = 'h';
constexpr char kBodyTag = 'b';
constexpr char kPieceTag = 'c';
constexpr char kUnfinishedTag = 'u';
constexpr char kHeaderVersion = 1;

std::string Tagged(char tag, absl::string_view tenant, absl::string_view rest, size_t more = 0) {
  std::string key;
  key.reserve(tenant.size() + rest.size() + more + 3);
  key.push_back(tag);
  key.append(tenant.data(), tenant.size());
  key.push_back('\0');
  key.append(rest.data(), rest.size());
  return key;
}

}  // namespace

std::string FormatKey() { return std::string(1, kStoreTag) + "schema"; }
std::string IncarnationKey() { return std::string(1, kStoreTag) + "incarnation"; }

std::string TenantPrefix(absl::string_view tenant) { return Tagged(kRowTag, tenant, ""); }

std::string PartitionPrefix(const Partition& partition) { return RowKey(partition, ""); }

std::string RowKey(const Partition& partition, absl::string_view key) {
  std::string encoded = Tagged(kRowTag, partition.tenant, partition.id, key.size());
  encoded.push_back('\0');
  encoded.append(key.data(), key.size());
  return encoded;
}

std::optional<Partition> PartitionOfRowKey(absl::string_view encoded) {
  if (encoded.empty() || encoded[0] != kRowTag) return std::nullopt;
  encoded.remove_prefix(1);
  const size_t tenant_end = encoded.find('\0');
  if (tenant_end == absl::string_view::npos) return std::nullopt;
  const absl::string_view rest = encoded.substr(tenant_end + 1);
  const size_t id_end = rest.find('\0');
  if (id_end == absl::string_view::npos) return std::nullopt;
  return Partition{std::string(encoded.substr(0, tenant_end)), std::string(rest.substr(0, id_end))};
}

std::string BlobHeaderPrefix(absl::string_view tenant) { return Tagged(kHeaderTag, tenant, ""); }
std::string BlobHeaderKey(absl::string_view tenant, absl::string_view name) { return Tagged(kHeaderTag, tenant, name); }
std::string BlobBodyKey(absl::string_view tenant, absl::string_view name) { return Tagged(kBodyTag, tenant, name); }

std::string BlobPieceKey(uint64_t stream, uint32_t index) {
  std::string key(1, kPieceTag);
  AppendBigEndian(&key, stream, 8);
  AppendBigEndian(&key, index, 4);
  return key;
}

std::string UnfinishedKey(uint64_t stream) {
  std::string key(1, kUnfinishedTag);
  AppendBigEndian(&key, stream, 8);
  return key;
}

std::optional<uint64_t> StreamOfUnfinishedKey(absl::string_view encoded) {
  if (encoded.size() != 9 || encoded[0] != kUnfinishedTag) return std::nullopt;
  return ReadBigEndian(encoded.substr(1));
}

std::string EncodeBlobHeader(const BlobHeader& header) {
  std::string value(1, kHeaderVersion);
  AppendBigEndian(&value, header.size_bytes, 8);
  AppendBigEndian(&value, header.stream, 8);
  return value;
}

std::optional<BlobHeader> DecodeBlobHeader(absl::string_view value) {
  if (value.size() != 17 || value[0] != kHeaderVersion) return std::nullopt;
  return BlobHeader{ReadBigEndian(value.substr(1, 8)), ReadBigEndian(value.substr(9, 8))};
}

}  // namespace posthouse::store
