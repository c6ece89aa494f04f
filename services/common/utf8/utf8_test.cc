#include "services/common/utf8/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace posthouse {
namespace {

using absl::string_view;

struct Case {
  string_view text;
  int length;
  uint32_t code;
};

// Unicode 15 table 3-7: the first and last of each row, and what lies just outside.
TEST(Utf8Test, SequencesAreWhatRfc3629Says) {
  const Case cases[] = {
      {string_view("\0", 1), 1, 0},
      {"\x7F", 1, 0x7F},
      {"\xC2\x80", 2, 0x80},
      {"\xDF\xBF", 2, 0x7FF},
      {"\xC1\xBF", 0, 0},
      {"\xC0\x80", 0, 0},
      {"\xE0\xA0\x80", 3, 0x800},
      {"\xEF\xBF\xBF", 3, 0xFFFF},
      {"\xE0\x9F\xBF", 0, 0},
      {"\xED\x9F\xBF", 3, 0xD7FF},
      {"\xED\xA0\x80", 0, 0},
      {"\xEE\x80\x80", 3, 0xE000},
      {"\xF0\x90\x80\x80", 4, 0x10000},
      {"\xF4\x8F\xBF\xBF", 4, 0x10FFFF},
      {"\xF0\x8F\xBF\xBF", 0, 0},
      {"\xF4\x90\x80\x80", 0, 0},
      {"\xF5\x80\x80\x80", 0, 0},
      {"\x80", 0, 0},
      {"\xFF", 0, 0},
      {"\xC2\x41", 0, 0},
      {"\xE2\x82\x41", 0, 0},
      {"\xC2", -1, 0},
      {"\xE2\x82", -1, 0},
      {"\xF0\x9F\x98", -1, 0},
      {"\xE0\x80", 0, 0},
  };
  for (const Case& c : cases) {
    uint32_t code = 0;
    EXPECT_EQ(Utf8Sequence(c.text, &code), c.length) << testing::PrintToString(c.text);
    EXPECT_EQ(code, c.code) << testing::PrintToString(c.text);
    EXPECT_EQ(Utf8Length(std::string(c.text) + (c.length < 0 ? "" : "x")),
              c.length > 0 ? static_cast<size_t>(c.length) : 0);
    EXPECT_EQ(IsUtf8(c.text), c.length > 0);
    std::string back;
    AppendUtf8(code, &back);
    if (c.length > 0) EXPECT_EQ(back, c.text);
  }
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("a\xC3\xBC\xF0\x9F\x98\x80z"));
  EXPECT_FALSE(IsUtf8("a\xC3\xBC\xF0\x9F\x98"));
}

TEST(Utf8Test, WhatIsNoCodePointBecomesTheReplacementCharacter) {
  for (const uint32_t code : {0xD800u, 0xDFFFu, 0x110000u}) {
    std::string out;
    AppendUtf8(code, &out);
    EXPECT_EQ(out, "\xEF\xBF\xBD");
  }
}

TEST(Utf8Test, InvalidOctetsBecomeQuestionMarks) {
  EXPECT_EQ(ReplaceInvalidUtf8("plain"), "plain");
  EXPECT_EQ(ReplaceInvalidUtf8("пр\xd0 \xe9t\xe9"), "пр? ?t?");
  EXPECT_EQ(ReplaceInvalidUtf8("\xed\xa0\x80\xf5"), "????");
  EXPECT_TRUE(IsUtf8(ReplaceInvalidUtf8("\xff\xfe\x80")));
}

TEST(Utf8Test, AsciiIsSevenBits) {
  EXPECT_TRUE(IsAscii(""));
  EXPECT_TRUE(IsAscii("\x01\x7F"));
  EXPECT_FALSE(IsAscii("a\x80"));
}

}  // namespace
}  // namespace posthouse
