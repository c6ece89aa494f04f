#include "services/common/ids/ids.h"

#include <string>
#include <type_traits>

#include "gtest/gtest.h"

namespace posthouse {
namespace {

static_assert(!std::is_convertible_v<uint32_t, Uid> && !std::is_convertible_v<Uid, Modseq>);
static_assert(!std::is_convertible_v<FolderId, AccountId> && !std::is_convertible_v<std::string, Home>);

constexpr int64_t kMillis = 1700000000123;

TEST(ObjectId, BothSpellingsNameTheSameBytes) {
  const std::string bytes("\x01\x8b\xcf\xe5\x68\x7b\x00\x11\x22\x33\x44\x55\x66\x77\x88\xff", 16);
  const std::optional<ObjectId> id = ObjectId::FromBytes(bytes);
  ASSERT_TRUE(id.has_value());
  EXPECT_EQ(id->Bytes(), bytes);
  EXPECT_EQ(id->Hex(), "018bcfe5687b001122334455667788ff");
  EXPECT_EQ(id->Text(), "01HF7YAT3V008J4CT4ANK7F27Z");
  EXPECT_EQ(ObjectId::FromText(id->Text()), id);
  EXPECT_EQ(ObjectId::FromHex(id->Hex()), id);
  EXPECT_EQ(id->unix_millis(), kMillis);
}

TEST(ObjectId, IdsSortByAgeInEverySpelling) {
  ObjectId before = ObjectId::New(1);
  for (const int64_t millis : {int64_t{2}, int64_t{256}, kMillis, kMillis + 1, int64_t{1} << 47}) {
    const ObjectId id = ObjectId::New(millis);
    EXPECT_EQ(id.unix_millis(), millis);
    EXPECT_EQ(ObjectId::FromText(id.Text()), id);
    EXPECT_LT(before, id);
    EXPECT_LT(before.Text(), id.Text());
    EXPECT_LT(before.Hex(), id.Hex());
    EXPECT_LE(ObjectId::FirstAt(millis), id);
    before = id;
  }
  EXPECT_NE(ObjectId::New(kMillis), ObjectId::New(kMillis));
}

TEST(ObjectId, OtherTextIsRefused) {
  for (const std::string text :
       {"", "01HF7YAT3V008J4CT4ANK7F27", "01HF7YAT3V008J4CT4ANK7F27ZZ", "81HF7YAT3V008J4CT4ANK7F27Z",
        "01HF7YAT3V008J4CT4ANK7F27U", "01hf7yat3v008j4ct4ank7f27z"}) {
    EXPECT_FALSE(ObjectId::FromText(text).has_value()) << text;
  }
  for (const std::string hex : {"", "xyz", "00112233445566778899AABBCCDDEEFF", "00112233445566778899aabbccddee"}) {
    EXPECT_FALSE(ObjectId::FromHex(hex).has_value()) << hex;
  }
  EXPECT_FALSE(ObjectId::FromBytes("15 bytes, no id").has_value());
}

TEST(NumberId, OrdersAndCounts) {
  EXPECT_TRUE(Uid().empty());
  EXPECT_EQ(Uid(7).Next(), Uid(8));
  EXPECT_LT(Modseq(9), Modseq(10));
}

}  // namespace
}  // namespace posthouse
