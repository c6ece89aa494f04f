#include "services/mailbox/rows/key_schema.h"
#include "services/common/uid_set/uid_set.h"

#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/mailbox/rows/head.h"

namespace posthouse::mailbox {
namespace {

const char kId[] = "00112233445566778899aabbccddeeff";

std::string Hex(absl::string_view key) { return absl::BytesToHexString(key); }

// These keys are on disks now: a change here is a migration.
TEST(KeySchemaTest, KeysAreGolden) {
  EXPECT_EQ(SystemPartition().id, "mailbox");
  EXPECT_EQ(AccountPartition(TenantId("t"), AccountId("a1")).id, "acct/a1");
  EXPECT_EQ(FolderPartition(TenantId("t"), FolderId(kId)).id, std::string("mb/") + kId);
  EXPECT_EQ(CachePartition(TenantId("t"), FolderId(kId)).id, std::string("mb/") + kId + "/c");
  EXPECT_EQ(Hex(SystemKey()), "56");
  EXPECT_EQ(Hex(TenantKey(TenantId("t"))), "742f74");
  EXPECT_EQ(Hex(AccountKey()), "53");
  EXPECT_EQ(Hex(FolderKey(kId)), "662f00112233445566778899aabbccddeeff");
  EXPECT_EQ(Hex(TreeChangeKey(258)), "632f0000000000000102");
  EXPECT_EQ(Hex(NameKey("", "A")), "6e2f0000000000000000000000000000000041");
  EXPECT_EQ(Hex(NameKey(kId, "A")), "6e2f00112233445566778899aabbccddeeff41");
  EXPECT_EQ(Hex(SubscriptionKey("A/b")), "732f412f62");
  EXPECT_EQ(Hex(HeadKey()), "48");
  EXPECT_EQ(Hex(MessageKey(Uid(1))), "6d2f00000001");
  EXPECT_EQ(Hex(MessageKey(Uid(UINT32_MAX))), "6d2fffffffff");
  EXPECT_EQ(Hex(ChangeKey(Modseq(258))), "712f0000000000000102");
  EXPECT_EQ(Hex(DeliveryKey("q1/r/d")), "642f71312f722f64");
  EXPECT_EQ(Hex(OperationKey("ab")), "612f026162");
  EXPECT_EQ(Hex(CopyBatchKey("ab", 1)), "612f02616200000001");
  EXPECT_EQ(Hex(KeywordKey(513)), "6b2f0201");
  EXPECT_EQ(Hex(IntentKey("ab")), "782f026162");
  EXPECT_EQ(Hex(EnvelopeKey(Uid(1))), "652f00000001");
  EXPECT_EQ(Hex(StructureKey(Uid(1))), "732f00000001");
  EXPECT_EQ(Hex(HeaderKey(Uid(1))), "682f00000001");
}

TEST(KeySchemaTest, ByteOrderIsNumericOrder) {
  const uint32_t uids[] = {0, 1, 255, 256, 65535, 65536, UINT32_MAX - 1, UINT32_MAX};
  for (size_t i = 1; i < std::size(uids); ++i) {
    EXPECT_LT(MessageKey(Uid(uids[i - 1])), MessageKey(Uid(uids[i])));
    EXPECT_LT(EnvelopeKey(Uid(uids[i - 1])), EnvelopeKey(Uid(uids[i])));
  }
  const uint64_t modseqs[] = {0, 255, 256, UINT32_MAX, uint64_t{1} << 32, UINT64_MAX - 1, UINT64_MAX};
  for (size_t i = 1; i < std::size(modseqs); ++i)
    EXPECT_LT(ChangeKey(Modseq(modseqs[i - 1])), ChangeKey(Modseq(modseqs[i])));
}

TEST(KeySchemaTest, KeysComeApartAgain) {
  EXPECT_EQ(*UidOfKey(MessageKey(Uid(256))), Uid(256));
  EXPECT_EQ(*UidOfKey(MessageKey(Uid(UINT32_MAX))), Uid(UINT32_MAX));
  EXPECT_EQ(*ModseqOfKey(ChangeKey(Modseq(UINT64_MAX))), Modseq(UINT64_MAX));
  EXPECT_EQ(*NumberOfKeywordKey(KeywordKey(4095)), 4095);
  EXPECT_EQ(*OperationOfIntentKey(IntentKey(std::string("\0\xff", 2))), std::string("\0\xff", 2));
  EXPECT_EQ(*NodeOfFolderKey(FolderKey(kId)), kId);
  EXPECT_EQ(RestOfKey(SubscriptionKey("A/b")), "A/b");
  EXPECT_EQ(FolderOfPartition(FolderPartition(TenantId("t"), FolderId(kId)).id), FolderId(kId));
  EXPECT_EQ(FolderOfPartition(CachePartition(TenantId("t"), FolderId(kId)).id), FolderId());
  EXPECT_EQ(FolderOfPartition("acct/x"), FolderId());
  EXPECT_FALSE(UidOfKey("m/123").ok());
  EXPECT_FALSE(OperationOfIntentKey("x/\x05"
                                    "ab")
                   .ok());
}

TEST(KeySchemaTest, OperationIdsAreNotPrefixesOfEachOther) {
  // "a" with batch bytes must not meet another operation's key.
  EXPECT_NE(CopyBatchKey("a", 0), OperationKey(std::string("a\0\0\0\0", 5)));
}

TEST(KeySchemaTest, IdsAreLowerCaseHex) {
  EXPECT_TRUE(IsId(NewId()));
  EXPECT_FALSE(IsId("xyz"));
  EXPECT_FALSE(IsId("00112233445566778899AABBCCDDEEFF"));
}

TEST(RecordsTest, HeadRowIsGolden) {
  Head head;
  head.account_id = AccountId("a");
  head.uid_validity = UidValidity(300);
  head.uid_next = Uid(2);
  head.highest_modseq = Modseq(5);
  head.log_floor = Modseq(1);
  head.exists = 1;
  head.unseen = 1;
  head.size_bytes = 10;
  EXPECT_EQ(Hex(head.Encode()), "010a016110ac0218022005280130013801480a");
}

TEST(RecordsTest, ANewerTagIsDataLoss) {
  std::string row = Head().Encode();
  row[0] = 2;
  EXPECT_EQ(Head::Decode(row).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Head::Decode("").status().code(), absl::StatusCode::kDataLoss);
}

TEST(HeadTest, CountsFlags) {
  Head head;
  head.Count(0, 10, +1);
  head.Count(1 | 8, 20, +1);
  EXPECT_EQ(head.exists, 2u);
  EXPECT_EQ(head.unseen, 1u);
  EXPECT_EQ(head.deleted, 1u);
  EXPECT_EQ(head.size_bytes, 30u);
  head.Count(1 | 8, 20, -1);
  EXPECT_EQ(head.deleted, 0u);
  EXPECT_EQ(head.exists, 1u);
}

}  // namespace
}  // namespace posthouse::mailbox
