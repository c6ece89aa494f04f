#include "services/mail_formats/imap/mailbox_name.h"

#include <gtest/gtest.h>

namespace posthouse::imap {
namespace {

// RFC 3501 §5.1.3
TEST(ModifiedUtf7Test, BothWays) {
  const struct {
    const char* utf8;
    const char* wire;
  } kCases[] = {
      {"INBOX", "INBOX"},
      {"a&b", "a&-b"},
      {"&", "&-"},
      {"Entwürfe", "Entw&APw-rfe"},
      {"~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"},
      {"\xF0\x9F\x98\x80", "&2D3eAA-"},
      {"ü&ü", "&APw-&-&APw-"},
      {"Отправленные", "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(EncodeModifiedUtf7(c.utf8), c.wire);
    EXPECT_EQ(DecodeModifiedUtf7(c.wire), std::string(c.utf8)) << c.wire;
  }
}

TEST(ModifiedUtf7Test, WhatIsNotModifiedUtf7IsRefused) {
  for (const char* wire : {"&", "&APw", "&AP-", "&A-", "&2D0-", "&3gA-", "&2D0AYQ-", "&AP!-", "a\xff", "&APx-"}) {
    EXPECT_EQ(DecodeModifiedUtf7(wire), std::nullopt) << wire;
  }
}

TEST(MailboxNameTest, NamesAreMadeOneForm) {
  EXPECT_EQ(DecodeMailboxName("inbox", false), "INBOX");
  EXPECT_EQ(DecodeMailboxName("InBoX/Sub", false), "INBOX/Sub");
  EXPECT_EQ(DecodeMailboxName("inboxes", false), "inboxes");
  EXPECT_EQ(DecodeMailboxName("New/", false), "New");  // RFC 9051 §6.3.4
  EXPECT_EQ(DecodeMailboxName("Entw&APw-rfe", false), "Entwürfe");
  EXPECT_EQ(DecodeMailboxName("Entwürfe", false), "Entwürfe");  // raw, from old clients
  EXPECT_EQ(DecodeMailboxName("R&D", true), "R&D");
}

TEST(MailboxNameTest, BadNamesAreRefused) {
  for (const char* name : {"", "/", "/a", "a//b", "a\x01", "a\x7f", "&APw"}) {
    EXPECT_EQ(DecodeMailboxName(name, false), std::nullopt) << name;
  }
  EXPECT_EQ(DecodeMailboxName(std::string(1001, 'x'), false), std::nullopt);
  EXPECT_NE(DecodeMailboxName(std::string(1000, 'x'), false), std::nullopt);
}

// RFC 9051 §6.3.9
TEST(ListPatternTest, Table) {
  const struct {
    const char* reference;
    const char* pattern;
    const char* name;
    bool matches;
  } kCases[] = {
      {"", "*", "a/b/c", true},
      {"", "%", "a", true},
      {"", "%", "a/b", false},
      {"", "a/%", "a/b", true},
      {"", "a/%", "a/b/c", false},
      {"", "a*c", "a/b/c", true},
      {"", "%/%", "a/b", true},
      {"", "inbox", "INBOX", true},
      {"", "iNb*", "INBOX", true},
      {"", "i%", "INBOX", true},
      {"", "inbox/x", "INBOX/x", true},
      {"", "inbox/X", "INBOX/x", false},
      {"", "sent", "Sent", false},
      {"a/", "%", "a/b", true},
      {"a/", "%", "b", false},
      {"", "%*%", "x", true},
      {"", "", "x", false},
      {"", "Entw&APw-*", "Entwürfe", true},
      {"", "**b", "aab", true},
      {"", "a%b", "ab", true},
      {"", "a%b", "a/b", false},
      {"INB", "%", "INBOX", true},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(ListPattern(c.reference, c.pattern, false).Matches(c.name), c.matches)
        << c.reference << " " << c.pattern << " " << c.name;
  }
}

TEST(ListPatternTest, ManyWildcardsStayCheap) {
  std::string pattern;
  for (int i = 0; i < 500; ++i) pattern += "*a";
  const ListPattern list("", pattern, false);
  EXPECT_FALSE(list.Matches(std::string(499, 'a')));
  EXPECT_TRUE(list.Matches(std::string(1000, 'a')));
}

}  // namespace
}  // namespace posthouse::imap
