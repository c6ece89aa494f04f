#include <gtest/gtest.h>

#include <string>

#include "services/common/utf8/utf8.h"
#include "services/mail_formats/message/charset.h"
#include "services/mail_formats/message/transfer.h"

namespace posthouse::message {
namespace {

struct Case {
  std::string in, out;
};

// The same whether it comes whole or byte by byte.
void ExpectDecodes(Encoding encoding, const Case& c) {
  EXPECT_EQ(DecodeTransfer(encoding, c.in), c.out) << c.in;
  TransferDecoder decoder(encoding);
  std::string out;
  for (const char byte : c.in) decoder.Feed(absl::string_view(&byte, 1), &out);
  decoder.Finish(&out);
  EXPECT_EQ(out, c.out) << "byte by byte: " << c.in;
}

// RFC 2045 §6.8
TEST(TransferTest, Base64) {
  const Case kCases[] = {
      {"", ""},
      {"SGVsbG8=", "Hello"},
      {"SGVs\r\nbG8=\r\n", "Hello"},
      {"SGVsbG8", "Hello"},                // no padding
      {"SGVs*&bG8=", "Hello"},             // junk is skipped
      {"SGVsbG8=SGVsbG8=", "HelloHello"},  // joined encodings
      {"S", ""},
      {"AAEC/w==", std::string("\x00\x01\x02\xff", 4)},
  };
  for (const Case& c : kCases) ExpectDecodes(Encoding::kBase64, c);
}

// RFC 2045 §6.7
TEST(TransferTest, QuotedPrintable) {
  const Case kCases[] = {
      {"a=20b", "a b"},
      {"=c3=A4", "\xc3\xa4"},
      {"soft=\r\nbreak", "softbreak"},
      {"soft=\nbreak", "softbreak"},
      {"soft=  \t\r\nbreak", "softbreak"},
      {"trailing  \t\r\nnext", "trailing\r\nnext"},
      {"kept =20\r\n", "kept  \r\n"},
      {"a=ZZb", "a=ZZb"},
      {"a==41", "a=A"},
      {"a=4", "a=4"},
      {"a=", "a"},
      {"a=4g", "a=4g"},
      {"x \n y", "x\n y"},
      {"= x", "= x"},
  };
  for (const Case& c : kCases) ExpectDecodes(Encoding::kQuotedPrintable, c);
}

TEST(TransferTest, ALongRunOfBlanksIsBounded) {
  const std::string blanks(100000, ' ');
  EXPECT_EQ(DecodeTransfer(Encoding::kQuotedPrintable, blanks + "x"), blanks + "x");
}

TEST(TransferTest, EncodingNames) {
  EXPECT_EQ(ParseEncoding(" BASE64 "), Encoding::kBase64);
  EXPECT_EQ(ParseEncoding("Quoted-Printable (yes)"), Encoding::kQuotedPrintable);
  EXPECT_EQ(ParseEncoding("(c) \"base64\";"), Encoding::kBase64);
  EXPECT_EQ(ParseEncoding("8bit"), Encoding::kIdentity);
  EXPECT_EQ(ParseEncoding(""), Encoding::kIdentity);
  EXPECT_EQ(ParseEncoding("x-uuencode"), Encoding::kUnknown);
}

struct CharsetCase {
  std::string charset, in, out;
};

TEST(CharsetTest, Converts) {
  const CharsetCase kCases[] = {
      {"utf-8", "\xc3\xa4", "ä"},
      {"UTF-8", "a\xff", "a\xef\xbf\xbd"},
      {"utf-8", "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // a surrogate
      {"utf-8", "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},                  // overlong
      {"utf-8", "\xc3", "\xef\xbf\xbd"},
      {"us-ascii", "\xe4", "ä"},  // guessed
      {"", "\xc3\xa4", "ä"},      // guessed
      {"iso-8859-1", "\xe4\x80", "ä€"},
      {"windows-1252", "\x93x\x94", "“x”"},
      {"iso-8859-15", "\xa4", "€"},
      {"ISO-8859-2", "\xb1", "ą"},
      {"windows-1251", "\xcf\xf0", "Пр"},
      {"koi8-r", "\xf0", "П"},
      {"shift_jis", "\x82\xa0", "あ"},
      {"iso-2022-jp", "\x1b$B$\"\x1b(B", "あ"},
      {"gb2312", "\xc4\xe3", "你"},
      {"ks_c_5601-1987", "\xb0\xa1", "가"},
      {"utf-16be", std::string("\x00\x41\x20\xac", 4), "A€"},
      {"unicode-1-1-utf-7", "+AOQ-", "ä"},
      {"no-such-charset", "\xe4", "ä"},
      {"utf-8//IGNORE", "a", "a"},
      {"../../x", "a", "a"},
  };
  for (const CharsetCase& c : kCases) {
    EXPECT_EQ(ToUtf8(c.charset, c.in), c.out) << c.charset;
    CharsetDecoder decoder(c.charset);
    std::string out;
    for (const char byte : c.in) {
      decoder.Feed(absl::string_view(&byte, 1), &out);
      EXPECT_TRUE(IsUtf8(out));
    }
    decoder.Finish(&out);
    EXPECT_EQ(out, c.out) << "byte by byte: " << c.charset;
  }
}

TEST(CharsetTest, KnowsWhatItKnows) {
  EXPECT_TRUE(CharsetDecoder("utf-8").known());
  EXPECT_TRUE(CharsetDecoder("KOI8-R").known());
  EXPECT_FALSE(CharsetDecoder("klingon").known());
  EXPECT_FALSE(CharsetDecoder("utf-8//TRANSLIT").known());
}

TEST(CharsetTest, RawHeaderBytesAreGuessedAsAWhole) {
  EXPECT_EQ(GuessUtf8("ä"), "ä");
  EXPECT_EQ(GuessUtf8("\xe4 \xc3\xa4"), "ä Ã¤");
}

}  // namespace
}  // namespace posthouse::message
