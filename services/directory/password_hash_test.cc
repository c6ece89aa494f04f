#include "services/directory/password_hash.h"

#include <gtest/gtest.h>

#include <string>

namespace posthouse::directory {
namespace {

constexpr HashCost kCheap{64, 1};
constexpr char kPassword[] = "p\xC3\xA4ssword 1";

// Made by libxcrypt and hashlib, not by this code.
const char* const kForeign[] = {
    "$6$rounds=5000$saltsalt$P/L1.zID2Yy0s.HSEXYSE/fTbYaOU8qJd.0o4XGXJqh3ZLVakoYtS2qfcNjtLD2IzQzzTagYfC7LvCdpWXLBU1",
    ("{SHA512-CRYPT}$6$rounds=5000$saltsalt$P/L1.zID2Yy0s.HSEXYSE/"
     "fTbYaOU8qJd.0o4XGXJqh3ZLVakoYtS2qfcNjtLD2IzQzzTagYfC7LvCdpWXLBU1"),
    "$5$saltsalt$GVAGSUsFUrum9.R3Pfglrqcc1ZXCFRxI4cK2nn./iS2",
    "{SHA256-CRYPT}$5$saltsalt$GVAGSUsFUrum9.R3Pfglrqcc1ZXCFRxI4cK2nn./iS2",
    "{MD5-CRYPT}$1$saltsalt$2f.bWx.H.UmlFhfc8jBL/.",
    "{BLF-CRYPT}$2b$05$abcdefghijklmnopqrstuuEn/eMei1z5h1.4IuwDnjDepo.7LkKxS",
    "{CRYPT}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$Obb5YLVtXM0sD6uiOIr5djOT9XYFeSryZru0kq5Chp7",
    "{crypt}abRy4/6THFs9U",
    "$7$CU..../....SodiumChloride$Cg6sXajmHC1F7x11H1R7dd.UQMYLwVuVe9yRWBQF65B",
    "$gy$j9T$F5Jx5fExrKuPp53xLKQ..1$3wfSgdhCWlc8wUCimtb0dDMf2OyXI7pETMs24RR9V53",
    "$sha1$4000$jtNX3nZ2$2gs2D9p1.MYfEc0b9AzlDEkRHUib",
    "$md5,rounds=1000$salt$$2vZhxAZxKNm6eEtTDhNsQ.",
    "_J9..rasm72jJdQBuN0w",
    "{SSHA}n2Hg/1vU7LzJpHATRozP9FLjnA9OYUNs",
    "{SSHA.HEX}9f61e0ff5bd4ecbcc9a47013468ccff452e39c0f4e61436c",
    "{SSHA256}957USFKCo/du8/clIKqdDYgcpvzAcL+duUqVf3iUJOlOYUNs",
    "{SSHA512}cMl4z+paCXJqEBVCEf1lQex1u9yl6Y4A97B6yj8tCMNUx/bdB4mgU+GbV925hRuFUUL8O38v91835H1t/9lXS05hQ2w=",
    "{SMD5}LUzCYXMAF6o3DK9QLoDnz05hQ2w=",
    "{SHA}wBFJYYjnh5eS5Eft5JORpd7Gkko=",
    "{SHA256}f7RERuWhObO3oHciFhtpNCnGhD0FNBL7CyE3AkK4vbA=",
    "{SHA256.HEX}7fb44446e5a139b3b7a07722161b693429c6843d053412fb0b21370242b8bdb0",
    "{PLAIN-MD5}ee0a0fa09df7c1e10c13c2792a1c5fba",
    "{LDAP-MD5}7goPoJ33weEME8J5Khxfug==",
    "{PLAIN}p\xC3\xA4ssword 1",
    "{cleartext}p\xC3\xA4ssword 1",
};

TEST(PasswordHashTest, FormsOfOtherServersProveTheRightPasswordOnly) {
  for (const std::string hash : kForeign) {
    EXPECT_TRUE(CheckHash(hash).ok()) << hash << CheckHash(hash);
    EXPECT_TRUE(VerifyHash(hash, kPassword)) << hash;
    EXPECT_FALSE(VerifyHash(hash, "P\xC3\xA4ssword 1")) << hash;
    EXPECT_FALSE(VerifyHash(hash, "")) << hash;
    EXPECT_FALSE(VerifyHash(hash, std::string(kPassword) + std::string(1, '\0'))) << hash;
    EXPECT_TRUE(NeedsRehash(hash, kCheap)) << hash;
  }
}

TEST(PasswordHashTest, NewHashesAreArgon2idWithTheirOwnSalt) {
  const absl::StatusOr<std::string> one = MakeHash(kPassword, kCheap), two = MakeHash(kPassword, kCheap);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->rfind("$argon2id$v=19$m=64,t=1,p=1$", 0), 0u) << *one;
  EXPECT_NE(*one, *two);
  for (const std::string& hash : {*one, "{ARGON2ID}" + *one, "{CRYPT}" + *one}) {
    EXPECT_TRUE(CheckHash(hash).ok());
    EXPECT_TRUE(VerifyHash(hash, kPassword));
    EXPECT_FALSE(VerifyHash(hash, "other"));
    EXPECT_FALSE(NeedsRehash(hash, kCheap));
    EXPECT_TRUE(NeedsRehash(hash, HashCost{128, 1}));
    EXPECT_TRUE(NeedsRehash(hash, HashCost{64, 2}));
  }
}

TEST(PasswordHashTest, HashesThatCannotBeCheckedAreRefused) {
  for (const std::string hash :
       {"", "{", "{SSHA", "{NO-SUCH}abc", "{SSHA}!!!", "{SHA256}AAAA",
        "{SSHA}wBFJYYjnh5eS5Eft5JORpd7Gkko=", "{ARGON2ID}plain", "$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$AAAA",
        "$argon2id$v=19$m=64,t=100000,p=1$c2FsdHNhbHQ$AAAA", "$argon2id$v=19$t=1,p=1$c2FsdHNhbHQ$AAAA",
        "$2b$31$abcdefghijklmnopqrstuuEn/eMei1z5h1.4IuwDnjDepo.7LkKxS", "$6$rounds=99999999$saltsalt$abc", "plain text",
        "{PLAIN}"}) {
    EXPECT_EQ(CheckHash(hash).code(), absl::StatusCode::kInvalidArgument) << hash;
    // A hash that was accepted by mistake proves no password. (Costly ones are not tried.)
    if (hash.find("9999") == std::string::npos && hash.find("00000") == std::string::npos &&
        hash.find("$31$") == std::string::npos) {
      EXPECT_FALSE(VerifyHash(hash, "x")) << hash;
    }
  }
}

// One login must not cost gigabytes or minutes.
TEST(PasswordHashTest, HashesThatCostTooMuchAreRefused) {
  for (const std::string hash : {
           "$y$jFT$F5Jx5fExrKuPp53xLKQ..1$7p7Lb6k4HxvpH6wIiBRIiVtBrQQN4t2d4QVnUyiGpo1",  // 1 GiB
           "$gy$jzT$F5Jx5fExrKuPp53xLKQ..1$qDznuHXzT9eGVFjlWnpdgH8KB/n6aatwGy3.H5xA9N7",
           "$7$KU..../....SodiumChloride$lKcjNM6AcU.ouMXg9ng5XDRYuJBWWwu.yR.5vsg9TR9",  // 16 GiB
           "$7$CU....zzzzzSodiumChloride$lKcjNM6AcU.ouMXg9ng5XDRYuJBWWwu.yR.5vsg9TR9",
           "$sha1$4000000000$jtNX3nZ2$8cneWwXGBZJdZyNnAFHSWPumfaqR",
           "$md5,rounds=4000000000$salt$$Gk5FobfHCZbmEu8DJx6Wv/",
           "_zzzzrasmVrlSiNOfPio",
       }) {
    EXPECT_EQ(CheckHash(hash).code(), absl::StatusCode::kInvalidArgument) << hash;
  }
}

TEST(PasswordHashTest, PasswordsAreBounded) {
  EXPECT_TRUE(CheckPassword(std::string(kMaxPasswordBytes, 'x')).ok());
  EXPECT_FALSE(CheckPassword(std::string(kMaxPasswordBytes + 1, 'x')).ok());
  EXPECT_FALSE(CheckPassword("").ok());
  EXPECT_FALSE(CheckPassword(std::string("a\0b", 3)).ok());
}

}  // namespace
}  // namespace posthouse::directory
