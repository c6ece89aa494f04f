#include "services/queue/spool/key_schema.h"

#include <google/protobuf/message_lite.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace posthouse::queue {
namespace {

constexpr char kTag = '\x01';

template <typename Int>
void AppendBigEndian(Int value, std::string* out) {
  for (int shift = (sizeof(Int) - 1) * 8; shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>((value >> shift) & 0xff));
  }
}

std::string Join(absl::string_view prefix, absl::string_view rest) { return absl::StrCat(prefix, rest); }

}  // namespace

store::Partition QueuePartition(absl::string_view shard) { return {kStoreTenant, absl::StrCat("q/", shard)}; }

std::string HeadKey() { return "H"; }
std::string ItemKey(const QueueId& queue_id) { return Join(kItemPrefix, queue_id.Text()); }
std::string BodyKey(const QueueId& queue_id) { return Join(kBodyPrefix, queue_id.Text()); }
std::string DoneKey(const QueueId& queue_id) { return Join(kDonePrefix, queue_id.Text()); }
std::string IdempotencyRowKey(absl::string_view key) { return Join(kIdempotencyPrefix, key); }

std::string RecipientsKey(const QueueId& queue_id, uint32_t chunk) {
  std::string key = absl::StrCat(kRecipientsPrefix, queue_id.Text(), "/");
  AppendBigEndian(static_cast<uint16_t>(chunk), &key);
  return key;
}

absl::Time DueTime(absl::Time time) { return absl::FromUnixMicros(std::max<int64_t>(absl::ToUnixMicros(time), 0)); }

std::string DueKey(absl::Time due, const QueueId& queue_id) {
  std::string key = kDuePrefix;
  AppendBigEndian(static_cast<uint64_t>(std::max<int64_t>(absl::ToUnixMicros(due), 0)), &key);
  absl::StrAppend(&key, "/", queue_id.Text());
  return key;
}

std::optional<DueKeyParts> ParseDueKey(absl::string_view key) {
  if (key.size() != 2 + 8 + 1 + QueueId::kTextBytes || !absl::StartsWith(key, kDuePrefix) || key[10] != '/') return {};
  uint64_t micros = 0;
  for (const char c : key.substr(2, 8)) micros = (micros << 8) | static_cast<uint8_t>(c);
  const std::optional<QueueId> id = QueueId::FromText(key.substr(11));
  if (micros > static_cast<uint64_t>(INT64_MAX) || !id.has_value()) return {};
  return DueKeyParts{absl::FromUnixMicros(static_cast<int64_t>(micros)), *id};
}

std::optional<QueueId> QueueIdOfKey(absl::string_view key) {
  if (key.size() < 2 + QueueId::kTextBytes || key[1] != '/') return {};
  return QueueId::FromText(key.substr(2, QueueId::kTextBytes));
}

std::string EncodeValue(const google::protobuf::MessageLite& message) {
  std::string value(1, kTag);
  message.AppendToString(&value);
  return value;
}

bool HasKnownSchema(absl::string_view value) { return !value.empty() && value[0] == kTag; }

absl::Status DecodeValue(absl::string_view value, google::protobuf::MessageLite* message) {
  if (!HasKnownSchema(value)) return absl::DataLossError("row has an unknown schema tag");
  if (!message->ParseFromArray(value.data() + 1, static_cast<int>(value.size()) - 1)) {
    return absl::DataLossError(absl::StrCat("row is not a ", message->GetTypeName()));
  }
  return absl::OkStatus();
}

std::string EncodeBody(absl::string_view body) {
  std::string value;
  value.reserve(body.size() + 1);
  value.push_back(kTag);
  value.append(body.data(), body.size());
  return value;
}

absl::StatusOr<std::string> DecodeBody(std::string value) {
  if (value.empty() || value[0] != kTag) return absl::DataLossError("body row has an unknown schema tag");
  value.erase(0, 1);
  return value;
}

}  // namespace posthouse::queue
