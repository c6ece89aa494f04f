#include "services/mail_formats/imap/response.h"

#include <gtest/gtest.h>

namespace posthouse::imap {
namespace {

std::string String(absl::string_view value) {
  std::string out;
  AppendString(out, value);
  return out;
}
std::string AString(absl::string_view value) {
  std::string out;
  AppendAString(out, value);
  return out;
}

TEST(ResponseTest, StringsChooseTheirForm) {
  EXPECT_EQ(String(""), "\"\"");
  EXPECT_EQ(String("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(String("a\r\nb"), "{4}\r\na\r\nb");
  EXPECT_EQ(String("\xc3\xbc"), "{2}\r\n\xc3\xbc");
  EXPECT_EQ(String(absl::string_view("a\0b", 3)), "{3}\r\na?b");
  EXPECT_EQ(String(std::string(1025, 'x')).substr(0, 9), "{1025}\r\nx");
  EXPECT_EQ(AString("From"), "From");
  EXPECT_EQ(AString("nil"), "\"nil\"");
  EXPECT_EQ(AString("two words"), "\"two words\"");
  EXPECT_EQ(AString(""), "\"\"");
}

TEST(ResponseTest, MailboxNamesFollowTheMode) {
  std::string out;
  AppendMailbox(out, "Entwürfe", false);
  EXPECT_EQ(out, "\"Entw&APw-rfe\"");
  out.clear();
  AppendMailbox(out, "Entwürfe", true);
  EXPECT_EQ(out, "\"Entwürfe\"");
}

TEST(ResponseTest, Flags) {
  std::string out;
  AppendFlagList(out, kSeen | kDraft, {"$Label", "\\Recent"});
  EXPECT_EQ(out, "(\\Seen \\Draft $Label \\Recent)");
  out.clear();
  AppendFlagList(out, 0, {});
  EXPECT_EQ(out, "()");
}

TEST(ResponseTest, DatesKeepTheirZone) {
  std::string out;
  AppendDateTime(out, {837596665, -7 * 60});
  EXPECT_EQ(out, "\"17-Jul-1996 02:44:25 -0700\"");
  out.clear();
  AppendDateTime(out, {0, 330});
  EXPECT_EQ(out, "\"01-Jan-1970 05:30:00 +0530\"");
}

}  // namespace
}  // namespace posthouse::imap
