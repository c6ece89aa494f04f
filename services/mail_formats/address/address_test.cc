#include "services/mail_formats/address/address.h"

#include <gtest/gtest.h>

#include <string>

namespace posthouse {
namespace {

struct Good {
  std::string text, normal, folded;
};

// RFC 5321 §4.1.2, RFC 6531 §3.3
TEST(AddressTest, OneMailboxHasOneNormalForm) {
  for (const Good& c : std::initializer_list<Good>{
           {"Bob@Example.ORG", "Bob@example.org", "bob@example.org"},
           {"\"Bob\"@example.org", "Bob@example.org", "bob@example.org"},
           {"\"b.o.b\"@example.org.", "b.o.b@example.org", "b.o.b@example.org"},
           {"\"a b\"@example.org", "\"a b\"@example.org", "\"a b\"@example.org"},
           {"\"a\\\"\\\\b\"@example.org", "\"a\\\"\\\\b\"@example.org", "\"a\\\"\\\\b\"@example.org"},
           {"\"a@b\"@example.org", "\"a@b\"@example.org", "\"a@b\"@example.org"},
           {"\"a..b\"@example.org", "\"a..b\"@example.org", "\"a..b\"@example.org"},
           {"x+y=z/!#$%&'*-?^_`{|}~@example.org", "x+y=z/!#$%&'*-?^_`{|}~@example.org",
            "x+y=z/!#$%&'*-?^_`{|}~@example.org"},
           {"j\xC3\xB6rg@b\xC3\xBC"
            "cher.example",
            "j\xC3\xB6rg@xn--bcher-kva.example", "j\xC3\xB6rg@xn--bcher-kva.example"},
           {"J\xC3\x9CRGEN@b.example", "J\xC3\x9CRGEN@b.example", "j\xC3\xBCrgen@b.example"},
           {"ju\xCC\x88rgen@b.example", "ju\xCC\x88rgen@b.example", "j\xC3\xBCrgen@b.example"},  // NFD
           {"JU\xCC\x88RGEN@b.example", "JU\xCC\x88RGEN@b.example", "j\xC3\xBCrgen@b.example"},
           {"strau\xC3\x9F@b.example", "strau\xC3\x9F@b.example", "strau\xC3\x9F@b.example"},  // not "strauss"
           {"\xCE\x9D\xCE\x99\xCE\x9A\xCE\x9F\xCE\xA3@b.example", "\xCE\x9D\xCE\x99\xCE\x9A\xCE\x9F\xCE\xA3@b.example",
            "\xCE\xBD\xCE\xB9\xCE\xBA\xCE\xBF\xCF\x82@b.example"},  // with a final sigma
           {"a@B\xC3\x9C"
            "CHER.example",
            "a@xn--bcher-kva.example", "a@xn--bcher-kva.example"},
           {"a@fa\xC3\x9F.example", "a@xn--fa-hia.example", "a@xn--fa-hia.example"},
           {"root@[192.0.2.1]", "root@[192.0.2.1]", "root@[192.0.2.1]"},
           {"Root@[IPV6:2001:DB8:0::1]", "Root@[IPv6:2001:db8::1]", "root@[IPv6:2001:db8::1]"},
           {"a@_dmarc.example", "a@_dmarc.example", "a@_dmarc.example"},
           {"a@localhost", "a@localhost", "a@localhost"},
           {"\"\"@example.org", "\"\"@example.org", "\"\"@example.org"},  // *QcontentSMTP may be empty
       }) {
    const absl::StatusOr<Address> address = ParseAddress(c.text);
    ASSERT_TRUE(address.ok()) << c.text << ": " << address.status();
    EXPECT_EQ(address->ToString(), c.normal);
    EXPECT_EQ(address->Folded().ToString(), c.folded);
    // The normal form is a fixed point.
    EXPECT_EQ(*ParseAddress(c.normal), *address) << c.text;
  }
}

// RFC 8265 §3.3.1: the key of a local address is a fixed point, also where lower case and
// NFC undo each other; and a valid address.
TEST(AddressTest, FoldingTwiceIsFoldingOnce) {
  for (const std::string& local : std::initializer_list<std::string>{
           "\xC4\xB0", "\xE1\xBA\x9E", "\xCE\x90", "\xCD\x85\xCE\x91", "\xE1\xBE\x88", "\xEF\xBC\xA1", "\xC7\x85",
           "\xE2\x84\xAA", "\xE1\x84\x80\xE1\x85\xA1", "\xF0\x90\x90\x80", "a\xCC\x81\xCC\xA3"}) {
    const absl::StatusOr<std::string> once = NormalizeLocalAddress(local + "@b.example");
    ASSERT_TRUE(once.ok()) << once.status();
    EXPECT_EQ(NormalizeLocalAddress(*once), once);
  }
  std::string longest;  // U+0130: 2 octets, in lower case 3
  for (int i = 0; i < 32; ++i) longest += "\xC4\xB0";
  EXPECT_EQ(NormalizeLocalAddress(longest + "@b.example").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(AddressTest, WhatIsNoAddressIsRefused) {
  const std::string nul("a\0b@example.org", 15);
  for (const std::string& text :
       std::initializer_list<std::string>{"",
                                          "@",
                                          "bob",
                                          "bob@",
                                          "@example.org",
                                          ".bob@example.org",
                                          "bob.@example.org",
                                          "b..b@example.org",
                                          "b b@example.org",
                                          "bob@example..org",
                                          "bob@-example.org",
                                          "bob@example-.org",
                                          "bob@exa mple.org",
                                          "bob@.example.org",
                                          "\"bob@example.org",
                                          "\"bob\"example.org",
                                          "a@example.org..",
                                          "\"\\\xC3\xA9\"@example.org",  // quoted-pairSMTP is ASCII
                                          "<bob@example.org>",
                                          "@a.example:bob@example.org",
                                          "bob@[300.0.0.1]",
                                          "bob@[IPv6:zz]",
                                          "bob@[192.0.2.1",
                                          "bob@[192.0.2.1].",
                                          "\"a\nb\"@example.org",
                                          "b\xFF@example.org",
                                          "\xC0\xAF@example.org",
                                          "\xED\xA0\x80@example.org",
                                          "\"a\\",
                                          nul,
                                          "a@b@example.org",
                                          std::string(65, 'a') + "@example.org",
                                          "a@" + std::string(64, 'a') + ".org",
                                          "a@" + std::string(4, 'a') + std::string(256, '.')}) {
    EXPECT_EQ(ParseAddress(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_TRUE(ParseAddress(std::string(64, 'a') + "@example.org").ok());  // RFC 5321 §4.5.3.1.1
  // Stored addresses keep their meaning: quotes and backslashes do not count.
  EXPECT_TRUE(ParseAddress('"' + std::string(62, 'a') + " \\\"\"@example.org").ok());
}

// RFC 5233 §4
TEST(AddressTest, SubaddressesSplitAtTheFirstSeparator) {
  std::string base, detail;
  ASSERT_TRUE(SplitSubaddress("bob+lists+kernel", "+", &base, &detail));
  EXPECT_EQ(base, "bob");
  EXPECT_EQ(detail, "lists+kernel");
  ASSERT_TRUE(SplitSubaddress("bob-x+y", "+-", &base, &detail));
  EXPECT_EQ(base, "bob");
  EXPECT_EQ(detail, "x+y");
  ASSERT_TRUE(SplitSubaddress("bob+", "+", &base, &detail));
  EXPECT_EQ(detail, "");
  EXPECT_FALSE(SplitSubaddress("+bob", "+", &base, &detail));
  EXPECT_FALSE(SplitSubaddress("bob+x", "", &base, &detail));
  EXPECT_FALSE(SplitSubaddress("bob", "+", &base, &detail));
}

}  // namespace
}  // namespace posthouse
