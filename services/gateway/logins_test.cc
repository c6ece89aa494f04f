#include "services/gateway/logins.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

namespace posthouse::gateway {
namespace {

std::string Plain(absl::string_view message) { return absl::Base64Escape(message); }

// RFC 4616 §2
TEST(SaslTest, Plain) {
  const absl::StatusOr<Credentials> good = DecodePlain(Plain(absl::string_view("\0joe@a.example\0se cret", 22)));
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->username, "joe@a.example");
  EXPECT_EQ(good->password, "se cret");
  EXPECT_TRUE(DecodePlain(Plain(absl::string_view("joe\0joe\0x", 9))).ok());
  EXPECT_FALSE(DecodePlain(Plain(absl::string_view("ann\0joe\0x", 9))).ok());
  for (const absl::string_view message :
       {absl::string_view(""), absl::string_view("joe"), absl::string_view("\0joe", 4), absl::string_view("\0\0x", 3),
        absl::string_view("\0joe\0x\0", 7)}) {
    EXPECT_FALSE(DecodePlain(Plain(message)).ok()) << absl::CHexEscape(message);
  }
  EXPECT_FALSE(DecodePlain("*").ok());
  EXPECT_FALSE(DecodePlain("AGpvZQB").ok());
  EXPECT_FALSE(DecodePlain("hello there!").ok());
}

TEST(SaslTest, EmptyResponseIsAnEqualsSign) { EXPECT_EQ(*DecodeBase64("="), ""); }

}  // namespace
}  // namespace posthouse::gateway
