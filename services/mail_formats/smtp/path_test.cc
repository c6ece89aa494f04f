#include "services/mail_formats/smtp/path.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace posthouse::smtp {
namespace {

struct PathCase {
  const char* input;
  const char* local;  // null: refused
  const char* domain;
  const char* rest = "";
};

class ForwardPath : public testing::TestWithParam<PathCase> {};

TEST_P(ForwardPath, FollowsTheGrammar) {
  absl::string_view input = GetParam().input;
  const absl::StatusOr<std::optional<Mailbox>> path = TakePath(&input, PathKind::kForward, true);
  if (GetParam().local == nullptr) {
    EXPECT_FALSE(path.ok()) << path->value().ToString();
    return;
  }
  ASSERT_TRUE(path.ok()) << path.status().ToString();
  ASSERT_TRUE(path->has_value());
  EXPECT_EQ((*path)->local_part, GetParam().local);
  EXPECT_EQ((*path)->domain, GetParam().domain);
  EXPECT_EQ(std::string(input), GetParam().rest);
}

// RFC 5321 §4.1.2
INSTANTIATE_TEST_SUITE_P(
    Rfc5321, ForwardPath,
    testing::Values(
        PathCase{"<user@example.org>", "user", "example.org"},
        PathCase{"<user@example.org> NOTIFY=NEVER", "user", "example.org", " NOTIFY=NEVER"},
        PathCase{"<user@EXAMPLE.Org>", "user", "EXAMPLE.Org"}, PathCase{"<a.b.c@x>", "a.b.c", "x"},
        PathCase{"<user+tag@example.org>", "user+tag", "example.org"},
        PathCase{"<!#$%&'*+-/=?^_`{|}~@example.org>", "!#$%&'*+-/=?^_`{|}~", "example.org"},
        PathCase{"<\"john doe\"@example.org>", "john doe", "example.org"},
        PathCase{"<\"a@b\"@example.org>", "a@b", "example.org"},
        PathCase{"<\"a\\\"\\\\b\"@example.org>", "a\"\\b", "example.org"},
        PathCase{"<\"plain\"@example.org>", "plain", "example.org"}, PathCase{"<\"\"@example.org>", "", "example.org"},
        PathCase{"<\"a>b\"@example.org>", "a>b", "example.org"}, PathCase{"<user@[192.0.2.1]>", "user", "[192.0.2.1]"},
        PathCase{"<user@[IPv6:2001:db8::1]>", "user", "[IPv6:2001:db8::1]"},
        PathCase{"<user@[ipv6:::1]>", "user", "[ipv6:::1]"}, PathCase{"<user@a_b.example>", "user", "a_b.example"},
        PathCase{"<user@1.example>", "user", "1.example"},
        PathCase{"<user@xn--bcher-kva.example>", "user", "xn--bcher-kva.example"},
        PathCase{"<user@host>>x", "user", "host", ">x"}, PathCase{"<postmaster>", "postmaster", ""},
        PathCase{"<Postmaster> X", "Postmaster", "", " X"},
        // RFC 5321 appendix C: source routes are dropped.
        PathCase{"<@a.example:user@b.example>", "user", "b.example"},
        PathCase{"<@a.example,@[192.0.2.9]:user@b.example>", "user", "b.example"},
        // Bare addresses, as some clients send them.
        PathCase{"user@example.org", "user", "example.org"},
        PathCase{"user@example.org SIZE=1", "user", "example.org", " SIZE=1"},
        // RFC 6531 §3.3
        PathCase{"<пример@пример.испытание>", "пример", "пример.испытание"},
        PathCase{"<\"пр имер\"@example.org>", "пр имер", "example.org"}));

INSTANTIATE_TEST_SUITE_P(
    Refused, ForwardPath,
    testing::Values(PathCase{"", nullptr, ""}, PathCase{"<>", nullptr, ""}, PathCase{"<", nullptr, ""},
                    PathCase{"<user>", nullptr, ""}, PathCase{"user", nullptr, ""},
                    PathCase{"<@example.org>", nullptr, ""}, PathCase{"<user@>", nullptr, ""},
                    PathCase{"<user@example.org", nullptr, ""}, PathCase{"<us er@example.org>", nullptr, ""},
                    PathCase{"<.user@example.org>", nullptr, ""}, PathCase{"<user.@example.org>", nullptr, ""},
                    PathCase{"<us..er@example.org>", nullptr, ""}, PathCase{"<user@example..org>", nullptr, ""},
                    PathCase{"<user@.example.org>", nullptr, ""}, PathCase{"<user@example.org.>", nullptr, ""},
                    PathCase{"<user@-example.org>", nullptr, ""}, PathCase{"<user@example-.org>", nullptr, ""},
                    PathCase{"<user@exa mple.org>", nullptr, ""}, PathCase{"<user@a@b.example>", nullptr, ""},
                    PathCase{"<\"user@example.org>", nullptr, ""}, PathCase{"<\"user\"x@example.org>", nullptr, ""},
                    PathCase{"<\"a\\", nullptr, ""}, PathCase{"<\"a\tb\"@example.org>", nullptr, ""},
                    PathCase{"<user@[192.0.2]>", nullptr, ""}, PathCase{"<user@[192.0.2.256]>", nullptr, ""},
                    PathCase{"<user@[2001:db8::1]>", nullptr, ""}, PathCase{"<user@[IPv6:192.0.2.1]>", nullptr, ""},
                    PathCase{"<user@[tag:content]>", nullptr, ""}, PathCase{"<user@[192.0.2.1>", nullptr, ""},
                    PathCase{"<@a.example user@b.example>", nullptr, ""},
                    PathCase{"<@a.example,user@b.example>", nullptr, ""},
                    PathCase{"<us\xff"
                             "er@example.org>",
                             nullptr, ""},
                    PathCase{"<us\xc0\xaf@example.org>", nullptr, ""},
                    PathCase{"<us\xed\xa0\x80@example.org>", nullptr, ""}));

// RFC 5321 §4.5.5
TEST(ReversePath, NullIsItsOwnThing) {
  absl::string_view input = "<> BODY=8BITMIME";
  const auto path = TakePath(&input, PathKind::kReverse, false);
  ASSERT_TRUE(path.ok());
  EXPECT_FALSE(path->has_value());
  EXPECT_EQ(std::string(input), " BODY=8BITMIME");
}

TEST(ReversePath, NeedsADomainEvenForPostmaster) {
  absl::string_view input = "<postmaster>";
  EXPECT_FALSE(TakePath(&input, PathKind::kReverse, false).ok());
}

// RFC 6531 §3.4: UTF-8 only where SMTPUTF8 was given.
TEST(Utf8, WithoutSmtputf8IsItsOwnError) {
  for (const char* text : {"<пример@example.org>", "<user@пример.example>"}) {
    absl::string_view input = text;
    EXPECT_EQ(TakePath(&input, PathKind::kForward, false).status().code(), absl::StatusCode::kFailedPrecondition);
  }
}

// RFC 5321 §4.5.3.1.1 to .3: at the limit and one above.
TEST(Limits, LocalPartDomainAndPath) {
  const std::string local(64, 'a');
  EXPECT_TRUE(ParseMailbox(local + "@b.example", false).ok());
  EXPECT_EQ(ParseMailbox(local + "a@b.example", false).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(ParseMailbox('"' + std::string(63, 'a') + " \"@b.example", false).ok());

  std::string domain = "x";
  while (domain.size() < 251) domain += ".y";
  ASSERT_EQ(domain.size(), 251u);
  const std::string full_path = "<ab@" + domain + ">";  // 256
  absl::string_view path = full_path;
  EXPECT_TRUE(TakePath(&path, PathKind::kForward, false).ok());
  const std::string long_path = "<abc@" + domain + ">";
  path = long_path;
  EXPECT_EQ(TakePath(&path, PathKind::kForward, false).status().code(), absl::StatusCode::kOutOfRange);

  EXPECT_TRUE(CheckDomain(domain + ".yyy", false).ok());  // 255
  EXPECT_EQ(CheckDomain(domain + ".yyyy", false).code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(CheckDomain(std::string(63, 'a') + ".b", false).ok());
  EXPECT_EQ(CheckDomain(std::string(64, 'a') + ".b", false).code(), absl::StatusCode::kOutOfRange);
  // A U-label is longer in UTF-8 than as an A-label, which is what DNS limits.
  EXPECT_TRUE(CheckDomain("ааааааааааааааааааааааааааааааааааааааааа.example", true).ok());
}

TEST(MailboxText, QuotesOnlyWhereNeededAndParsesBack) {
  const std::vector<std::pair<Mailbox, std::string>> cases = {
      {{"user", "example.org"}, "user@example.org"},
      {{"john doe", "example.org"}, "\"john doe\"@example.org"},
      {{"a\"b\\c", "example.org"}, "\"a\\\"b\\\\c\"@example.org"},
      {{"", "example.org"}, "\"\"@example.org"},
      {{"a..b", "example.org"}, "\"a..b\"@example.org"},
      {{"x@y", "[192.0.2.1]"}, "\"x@y\"@[192.0.2.1]"},
  };
  for (const auto& [mailbox, text] : cases) {
    EXPECT_EQ(mailbox.ToString(), text);
    const absl::StatusOr<Mailbox> back = ParseMailbox(text, false);
    ASSERT_TRUE(back.ok()) << text;
    EXPECT_EQ(*back, mailbox);
  }
  EXPECT_EQ((Mailbox{"postmaster", ""}).ToString(), "postmaster");
}

TEST(MailboxText, TheWholeTextMustBeOne) {
  EXPECT_FALSE(ParseMailbox("user@example.org ", false).ok());
  EXPECT_FALSE(ParseMailbox("<user@example.org>", false).ok());
  EXPECT_FALSE(ParseMailbox("postmaster", false).ok());
}

}  // namespace
}  // namespace posthouse::smtp
