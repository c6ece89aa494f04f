#include "services/mail_formats/message/search.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace posthouse::message {
namespace {

std::string Crlf(absl::string_view text) { return absl::StrReplaceAll(text, {{"\n", "\r\n"}}); }

// RFC 5051
TEST(FoldCaseTest, Letters) {
  const std::pair<const char*, const char*> kCases[] = {
      {"HELLO World", "hello world"},
      {"ÄÖÜ ÇÉ ŁŚ", "äöü çé łś"},
      {"ПРИВЕТ Ё", "привет ё"},
      {"ΑΒΓ ΣΑΣ ς", "αβγ σασ σ"},
      {"ＡＢ", "ａｂ"},
      {"ÿ Ÿ", "ÿ ÿ"},
      {"ß", "ß"},
      {"日本", "日本"},
      {"a \t\r\n b\n", "a b "},
      {"\xff", "\xef\xbf\xbd"},
      {"ǅ", "ǆ"},
      {"Ĳ ĳ", "ĳ ĳ"},
  };
  for (const auto& [in, out] : kCases) EXPECT_EQ(FoldCase(in), out) << in;
}

// RFC 9051 §6.4.4
TEST(AddressesContainTest, AddressesAreWithoutCommentsAndQuotes) {
  const std::string from = " Joe (work) Doe\r\n <user-from (comment)@ (comment)\r\n domain.org>, \"b c\"@d, list: x@y;";
  for (const char* text : {"user-from@domain.org", "USER-FROM@DOMAIN.ORG", "b c@d", "x@y", "list", "@domain.org>"}) {
    EXPECT_TRUE(AddressesContain(from, FoldCase(text))) << text;
  }
  EXPECT_FALSE(AddressesContain(from, "comment)@"));
  EXPECT_FALSE(AddressesContain(from, "user-from @"));
  EXPECT_TRUE(AddressesContain("=?utf-8?q?Gr=C3=BC=C3=9Fe?= <a@b>", FoldCase("grüße <a@b>")));
  EXPECT_FALSE(AddressesContain("", "x"));
}

TEST(FieldContainsTest, DecodesAndFolds) {
  EXPECT_TRUE(FieldContains(" =?utf-8?q?Gr=C3=BC=C3=9Fe?=", FoldCase("GRÜ")));
  EXPECT_TRUE(FieldContains(" one\r\n two", FoldCase("one two")));
  EXPECT_TRUE(FieldContains("", ""));
  EXPECT_FALSE(FieldContains(" x", "y"));
}

bool Find(const std::string& bytes, const std::string& text, MessageSearch::Where where) {
  const PartTable table = PartTable::Build(Parse(bytes));
  bool found = false;
  for (const size_t step : {size_t{1}, size_t{10}, bytes.size() + 1}) {
    MessageSearch search(table, {{text, where}});
    uint64_t previous_end = 0;
    for (const ByteRange& range : search.Ranges()) {
      EXPECT_GE(range.begin, previous_end);
      previous_end = range.end;
      for (uint64_t at = range.begin; at < range.end; at += step) {
        search.Feed(at, absl::string_view(bytes).substr(at, std::min<uint64_t>(step, range.end - at)));
      }
    }
    search.Finish();
    if (step != 1) EXPECT_EQ(search.Matched(0), found) << text << " in steps of " << step;
    found = search.Matched(0);
    EXPECT_EQ(search.Done(), found);
  }
  return found;
}

TEST(MessageSearchTest, LooksIntoEveryTextPart) {
  const std::string bytes = Crlf(
      "Subject: =?utf-8?q?=C3=84pfel?= und\n Birnen\nContent-Type: multipart/mixed; boundary=A\n\npreamble\n"
      "--A\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe "
      "an=\nalle und\njeden\n"
      "--A\nContent-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: base64\nX-Part: "
      "partheader\n\n8NLJ\n18XU\n"
      "--A\nContent-Type: application/x\n\nbinary\n"
      "--A\nContent-Type: message/rfc822\n\nSubject: inner\n\ninnertext\n--A--\n");
  const auto kBody = MessageSearch::Where::kBody;
  const auto kText = MessageSearch::Where::kText;
  EXPECT_TRUE(Find(bytes, "grüße analle", kBody));
  EXPECT_TRUE(Find(bytes, "ALLE UND JEDEN", kBody));
  EXPECT_TRUE(Find(bytes, "привет", kBody));
  EXPECT_TRUE(Find(bytes, "innertext", kBody));
  EXPECT_FALSE(Find(bytes, "binary", kBody));
  EXPECT_FALSE(Find(bytes, "äpfel", kBody));
  EXPECT_FALSE(Find(bytes, "jeden привет", kBody));
  EXPECT_TRUE(Find(bytes, "äpfel UND birnen", kText));
  EXPECT_TRUE(Find(bytes, "partheader", kText));
  EXPECT_TRUE(Find(bytes, "subject: inner", kText));
  EXPECT_TRUE(Find(bytes, "innertext", kText));
  EXPECT_FALSE(Find(bytes, "binary", kText));
  EXPECT_FALSE(Find(bytes, "birnen content-type", kText));
  EXPECT_TRUE(Find(bytes, "", kBody));
}

TEST(MessageSearchTest, SeveralTermsInOnePass) {
  const std::string bytes = "Subject: alpha\r\n\r\nbeta";
  MessageSearch search(PartTable::Build(Parse(bytes)), {{"alpha", MessageSearch::Where::kText},
                                                        {"alpha", MessageSearch::Where::kBody},
                                                        {"beta", MessageSearch::Where::kBody}});
  search.Feed(0, bytes);
  search.Finish();
  EXPECT_TRUE(search.Matched(0));
  EXPECT_FALSE(search.Matched(1));
  EXPECT_TRUE(search.Matched(2));
  EXPECT_FALSE(search.Done());
}

TEST(MessageSearchTest, NothingToReadForEmptyTerms) {
  MessageSearch search(PartTable::Build(Parse("A: b\r\n\r\nx")), {{"", MessageSearch::Where::kText}});
  EXPECT_TRUE(search.Ranges().empty());
  EXPECT_TRUE(search.Done());
}

TEST(MessageSearchTest, LargeAttachmentsAreNotRead) {
  const std::string bytes =
      Crlf(absl::StrCat("Content-Type: multipart/mixed; boundary=A\n\n--A\n\none\n--A\nContent-Type: image/x\n\n",
                        std::string(100000, 'x'), "\n--A\n\ntwo\n--A--\n"));
  MessageSearch search(PartTable::Build(Parse(bytes)), {{"q", MessageSearch::Where::kBody}});
  uint64_t read = 0;
  for (const ByteRange& range : search.Ranges()) read += range.size();
  EXPECT_EQ(read, 6u);
}

}  // namespace
}  // namespace posthouse::message
