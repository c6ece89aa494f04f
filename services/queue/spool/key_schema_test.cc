#include "services/queue/spool/key_schema.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "posthouse/queue/v1/store.pb.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {
namespace {

const QueueId kId = *QueueId::FromText("01HZZZZZZZ0123456789ABCDEF");

std::string Hex(absl::string_view bytes) { return absl::BytesToHexString(bytes); }

TEST(KeySchemaTest, GoldenKeys) {
  const std::string id_hex = Hex(kId.Text());
  EXPECT_EQ(id_hex, "3031485a5a5a5a5a5a5a30313233343536373839414243444546");
  EXPECT_EQ(Hex(HeadKey()), "48");
  EXPECT_EQ(Hex(ItemKey(kId)), "692f" + id_hex);
  EXPECT_EQ(Hex(RecipientsKey(kId, 258)), "722f" + id_hex + "2f0102");
  EXPECT_EQ(Hex(BodyKey(kId)), "622f" + id_hex);
  EXPECT_EQ(Hex(DueKey(absl::FromUnixMicros(0x0102030405), kId)), "742f00000001020304052f" + id_hex);
  EXPECT_EQ(Hex(DoneKey(kId)), "442f" + id_hex);
  EXPECT_EQ(Hex(IdempotencyRowKey(absl::string_view("\x00\xff\x2f", 3))), "6b2f00ff2f");
  EXPECT_EQ(QueuePartition("7").id, "q/7");
  EXPECT_EQ(QueuePartition("7").tenant, "");
}

TEST(KeySchemaTest, DueKeysSortByTimeThenId) {
  const absl::Time times[] = {absl::FromUnixMicros(0),     absl::FromUnixMicros(255),
                              absl::FromUnixMicros(256),   absl::FromUnixMicros(65535),
                              absl::FromUnixMicros(65536), absl::FromUnixMicros(INT64_MAX)};
  for (size_t i = 1; i < std::size(times); ++i) {
    EXPECT_LT(DueKey(times[i - 1], *QueueId::FromText("7ZZZZZZZZZZZZZZZZZZZZZZZZZ")), DueKey(times[i], kId)) << i;
  }
  EXPECT_LT(DueKey(times[1], kId), DueKey(times[1], *QueueId::FromText("01HZZZZZZZ0123456789ABCDEG")));
  // Recipient rows: 255 before 256.
  EXPECT_LT(RecipientsKey(kId, 255), RecipientsKey(kId, 256));
}

TEST(KeySchemaTest, DueKeysParseBack) {
  const absl::Time due = absl::FromUnixMicros(1234567890123456);
  const std::optional<DueKeyParts> parts = ParseDueKey(DueKey(due, kId));
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(parts->due, due);
  EXPECT_EQ(parts->queue_id, kId);
  EXPECT_FALSE(ParseDueKey("t/short").has_value());
  EXPECT_FALSE(ParseDueKey(ItemKey(kId)).has_value());
  EXPECT_EQ(ParseDueKey(DueKey(absl::InfinitePast(), kId))->due, absl::UnixEpoch());
}

TEST(KeySchemaTest, QueueIdsOfKeys) {
  for (const std::string& key : {ItemKey(kId), BodyKey(kId), DoneKey(kId), RecipientsKey(kId, 3)}) {
    EXPECT_EQ(QueueIdOfKey(key), kId);
  }
  EXPECT_FALSE(QueueIdOfKey("H").has_value());
  EXPECT_FALSE(QueueIdOfKey("i/ilou").has_value());
}

TEST(KeySchemaTest, ValuesCarryTheirSchemaTag) {
  v1::Head head;
  head.set_epoch(3);
  const std::string value = EncodeValue(head);
  EXPECT_EQ(Hex(value), "010803");
  v1::Head back;
  ASSERT_TRUE(DecodeValue(value, &back).ok());
  EXPECT_EQ(back.epoch(), 3u);
  EXPECT_EQ(DecodeValue("", &back).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeValue("\x02\x08\x03", &back).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeValue("\x01\xff", &back).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(*DecodeBody(EncodeBody("")), "");
  EXPECT_EQ(*DecodeBody(EncodeBody("x\r\n")), "x\r\n");
  EXPECT_FALSE(DecodeBody("x").ok());
}

}  // namespace
}  // namespace posthouse::queue
