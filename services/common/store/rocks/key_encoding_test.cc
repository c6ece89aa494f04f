#include "services/common/store/rocks/key_encoding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"

namespace posthouse::store {
namespace {

std::string Hex(const std::string& bytes) { return absl::BytesToHexString(bytes); }

// These bytes are on people's disks: a change here is a new format number.
TEST(KeyEncodingTest, GoldenBytes) {
  EXPECT_EQ(Hex(FormatKey()), "73736368656d61");
  EXPECT_EQ(Hex(TenantPrefix("t1")),
            "7274"
            "3100");
  EXPECT_EQ(Hex(PartitionPrefix({"t1", "q/0"})), "72743100712f3000");
  EXPECT_EQ(Hex(RowKey({"t1", "q/0"}, std::string("k\x00\xff", 3))), "72743100712f30006b00ff");
  EXPECT_EQ(Hex(RowKey({"", "sys"}, "a")), "72007379730061");
  EXPECT_EQ(Hex(BlobHeaderPrefix("t1")), "68743100");
  EXPECT_EQ(Hex(BlobHeaderKey("t1", "ab")), "687431006162");
  EXPECT_EQ(Hex(BlobBodyKey("t1", "ab")), "627431006162");
  EXPECT_EQ(Hex(BlobPieceKey(0x0102030405060708, 255)), "630102030405060708000000ff");
  EXPECT_EQ(Hex(BlobPieceKey(0x0102030405060708, 256)), "63010203040506070800000100");
  EXPECT_EQ(Hex(UnfinishedKey(~uint64_t{0})), "75ffffffffffffffff");
  EXPECT_EQ(Hex(EncodeBlobHeader({256, 1})),
            "01"
            "0000000000000100"
            "0000000000000001");
}

TEST(KeyEncodingTest, ByteOrderIsTheOrderOfTheParts) {
  const std::vector<std::string> ascending = {
      TenantPrefix(""),         RowKey({"", "z"}, "z"),   RowKey({"a", "p"}, std::string("\x00", 1)),
      RowKey({"a", "p"}, "a"),  RowKey({"a", "p"}, "ab"), RowKey({"a", "p"}, "\xff\xff"),
      RowKey({"a", "p "}, "a"),  // the next partition, though ' ' sorts low
      RowKey({"a", "pp"}, "a"), RowKey({"ab", "a"}, "a"), RowKey({"\xff", "a"}, "a"),
  };
  EXPECT_TRUE(std::is_sorted(ascending.begin(), ascending.end()));
  EXPECT_LT(BlobPieceKey(7, 255), BlobPieceKey(7, 256));
  EXPECT_LT(BlobPieceKey(255, 0xffffffff), BlobPieceKey(256, 0));
}

TEST(KeyEncodingTest, APartitionIsOneRangeWithoutItsNeighbours) {
  const std::string begin = PartitionPrefix({"t", "mb/1"});
  const std::string end = PrefixEnd(begin);
  EXPECT_GE(RowKey({"t", "mb/1"}, std::string(1, '\0')), begin);
  EXPECT_LT(RowKey({"t", "mb/1"}, std::string(kMaxKeyBytes, '\xff')), end);
  EXPECT_GE(RowKey({"t", "mb/1 "}, "a"), end);
  EXPECT_GE(RowKey({"t", "mb/10"}, "a"), end);
  EXPECT_LT(RowKey({"t", "mb/"}, "a"), begin);
}

TEST(KeyEncodingTest, WhatIsEncodedIsDecoded) {
  const Partition partition{"tenant", "mb/00"};
  EXPECT_EQ(PartitionOfRowKey(RowKey(partition, std::string("\x00\x00k", 3))), partition);
  EXPECT_EQ(PartitionOfRowKey(RowKey({"", "sys"}, "k")), (Partition{"", "sys"}));
  EXPECT_EQ(PartitionOfRowKey(""), std::nullopt);
  EXPECT_EQ(PartitionOfRowKey(FormatKey()), std::nullopt);
  EXPECT_EQ(PartitionOfRowKey("rtenant"), std::nullopt);
  EXPECT_EQ(StreamOfUnfinishedKey(UnfinishedKey(1234567890123)), 1234567890123u);
  EXPECT_EQ(StreamOfUnfinishedKey("u1234567"), std::nullopt);
  const BlobHeader header{uint64_t{1} << 40, 99};
  EXPECT_EQ(DecodeBlobHeader(EncodeBlobHeader(header)), header);
  EXPECT_EQ(DecodeBlobHeader(""), std::nullopt);
  EXPECT_EQ(DecodeBlobHeader("\x02" + EncodeBlobHeader(header).substr(1)), std::nullopt);
}

TEST(KeyEncodingTest, PrefixEndIsTheNextPrefix) {
  EXPECT_EQ(PrefixEnd("a"), "b");
  EXPECT_EQ(PrefixEnd("a\xff"), "b");
  EXPECT_EQ(PrefixEnd(std::string("a\x00", 2)), "a\x01");
  EXPECT_EQ(PrefixEnd("\xff\xff"), "");
  EXPECT_EQ(PrefixEnd(""), "");
}

}  // namespace
}  // namespace posthouse::store
