#include "services/mail_formats/message/fields.h"

#include <gtest/gtest.h>

#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/message/base_subject.h"
#include "services/mail_formats/message/charset.h"
#include "services/mail_formats/message/mime_value.h"

namespace posthouse::message {
namespace {

struct Case {
  std::string in, out;
};

// RFC 5322 §2.2.3
TEST(UnfoldTest, RemovesLineEndsOnly) {
  const Case kCases[] = {
      {" a\r\n b", "a b"},      {" a\n\tb", "a\tb"}, {"a\r\nb", "a b"}, {" a \r\n", "a"},
      {"a\r\n \r\n b", "a  b"}, {"a\rb", "a b"},     {"", ""},          {" \t ", ""},
  };
  for (const Case& c : kCases) EXPECT_EQ(Unfold(c.in), c.out) << c.in;
}

// RFC 2047 §8 and what mail has.
TEST(DecodeTextTest, EncodedWords) {
  const Case kCases[] = {
      {"=?ISO-8859-1?Q?a?=", "a"},
      {"=?ISO-8859-1?Q?a?= b", "a b"},
      {"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"},
      {"=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"},
      {"=?ISO-8859-1?Q?a?=\r\n   =?ISO-8859-1?Q?b?=", "ab"},
      {"=?ISO-8859-1?Q?a_b?=", "a b"},
      {"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"},
      {"=?utf-8?b?w6Q=?=", "ä"},
      {"=?UTF-8*de?Q?=C3=A4?=", "ä"},
      {"=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "ä"},  // split character
      {"Re: =?utf-8?q?=C3=A4?=!", "Re: ä!"},
      {"x=?utf-8?q?=C3=A4?=y", "xäy"},
      {"=?utf-8?q?with blank?=", "with blank"},
      {"=?utf-8?q?never ends", "=?utf-8?q?never ends"},
      {"=?utf-8?x?abc?=", "=?utf-8?x?abc?="},
      {"=??q?abc?=", "=??q?abc?="},
      {"=?q", "=?q"},
      {"raw \xe4", "raw ä"},
      {"raw ä", "raw ä"},
      {"=?koi8-r?B?8NLJ18XU?=", "Привет"},
      {"=?utf-8?q?a=3D?=3D", "a=3D"},
  };
  for (const Case& c : kCases) EXPECT_EQ(DecodeText(c.in), c.out) << c.in;
}

TEST(DecodeTextTest, HostileTextIsLinear) {
  std::string text;
  for (int i = 0; i < 60000; ++i) text += "=?a?q?";
  EXPECT_TRUE(IsUtf8(DecodeText(text)));
}

std::string Show(const std::optional<MimeValue>& v) {
  if (!v) return "none";
  std::string out = v->subtype.empty() ? v->type : absl::StrCat(v->type, "/", v->subtype);
  for (const Param& p : v->params) absl::StrAppend(&out, "|", p.name, "=", p.value);
  return out;
}

// RFC 2045 §5.1
TEST(ContentTypeTest, Tolerant) {
  const Case kCases[] = {
      {" text/plain", "text/plain"},
      {"text/plain; charset=us-ascii (Plain text)", "text/plain|charset=us-ascii"},
      {"text/plain; charset=\"us-ascii\"", "text/plain|charset=us-ascii"},
      {"Text/HTML;charset=utf-8;\r\n format=flowed", "Text/HTML|charset=utf-8|format=flowed"},
      {"multipart/mixed; boundary=\"a b\\\"c\"", "multipart/mixed|boundary=a b\"c"},
      {"multipart/mixed; boundary = \"x\"", "multipart/mixed|boundary=x"},
      {"multipart/mixed boundary=x", "multipart/mixed|boundary=x"},
      {"application/pdf; name=a report.pdf; x=y", "application/pdf|name=a report.pdf|x=y"},
      {"application/pdf; name=a.pdf charset=x", "application/pdf|name=a.pdf|charset=x"},
      {"text/plain; charset", "text/plain"},
      {"text/plain; ; ;", "text/plain"},
      {"text/plain; name=\"never ends", "text/plain|name=never ends"},
      {"text/plain; =x; a=b", "text/plain|a=b"},
      {"text / plain", "text/plain"},
      {"text", "text/plain"},
      {"text; charset=x", "text/plain|charset=x"},
      {"(c) text/(d)plain", "text/plain"},
      {"", "none"},
      {"garbage", "none"},
      {"/plain", "none"},
      {"multipart/alternative;", "multipart/alternative"},
      {"a/b; (never ends", "a/b"},
  };
  for (const Case& c : kCases) EXPECT_EQ(Show(ParseContentType(c.in)), c.out) << c.in;
  EXPECT_EQ(Show(ParseDisposition("attachment; filename=\"x y\"")), "attachment|filename=x y");
  EXPECT_EQ(Show(ParseDisposition("inline")), "inline");
  EXPECT_EQ(Show(ParseDisposition(";filename=x")), "none");
}

// RFC 2231
TEST(ContentTypeTest, ExtendedParameters) {
  const Case kCases[] = {
      {"a/b; name=plain", "plain"},
      {"a/b; name*=utf-8'en'%C3%A4", "ä"},
      {"a/b; name*=\"utf-8''%C3%A4\"", "ä"},
      {"a/b; name*0=one; name*1=\"two\"", "onetwo"},
      {"a/b; name*1=two; name*0=one", "onetwo"},
      {"a/b; name*0*=utf-8''%C3; name*1*=%A4; name*2=x%20", "äx%20"},
      {"a/b; name*0=one; name*2=three", "one"},
      {"a/b; name*0=one; name*0=again; name*1=two", "onetwo"},
      {"a/b; name=old; name*=iso-8859-1''%E4", "ä"},
      {"a/b; name=\"=?utf-8?q?=C3=A4?=\"", "ä"},
      {"a/b; name*=noquotes%20x", "noquotes x"},
      {"a/b; name*1=two", "(absent)"},
      {"a/b; named=x", "(absent)"},
      {"a/b; name*99999=x", "(absent)"},
  };
  for (const Case& c : kCases) {
    const auto value = ParseContentType(c.in);
    ASSERT_TRUE(value) << c.in;
    EXPECT_EQ(value->Get("NAME").value_or("(absent)"), c.out) << c.in;
  }
  EXPECT_EQ(ParseContentType("a/b; boundary*=us-ascii''x%2Fy")->GetRaw("boundary"), "x/y");
}

TEST(MessageIdsTest, FromReferences) {
  const Case kCases[] = {
      {"<a@b> <c@d>", "a@b,c@d"},
      {"<a@b><c@d>", "a@b,c@d"},
      {"Your message of today <a@b> (comment)", "a@b"},
      {"<a@\r\n b>", "a@b"},
      {"a@b", "a@b"},
      {"a@b <c@d>", "c@d"},
      {"<<a@b>>", "a@b"},
      {"<a@b", "a@b"},
      {"<>", ""},
      {"", ""},
      {"nothing", ""},
  };
  for (const Case& c : kCases) EXPECT_EQ(absl::StrJoin(ParseMessageIds(c.in), ","), c.out) << c.in;
  EXPECT_EQ(ParseMessageIds("<a@b><c@d><e@f>", 2).size(), 2u);
}

TEST(WordListTest, Languages) {
  EXPECT_EQ(absl::StrJoin(ParseWordList(" en, de (German) , mi"), "|"), "en|de|mi");
  EXPECT_TRUE(ParseWordList(" , ").empty());
}

// RFC 5256 §2.1
TEST(BaseSubjectTest, StripsWhatRepliesAdd) {
  const Case kCases[] = {
      {"hello", "hello"},
      {"Re: hello", "hello"},
      {"RE : Fwd: FW: hello", "hello"},
      {"Re[2]: hello", "hello"},
      {"[list] Re: hello", "hello"},
      {"Re: [list] hello (fwd) ", "hello"},
      {"[list] hello", "hello"},
      {"[only blob]", "[only blob]"},
      {"[fwd: Re: hello]", "hello"},
      {"Re:", ""},
      {"=?utf-8?q?Re:_=C3=A4?=", "ä"},
      {"Regards", "Regards"},
      {"hello  \t world", "hello world"},
      {"[a [b] c", "[a [b] c"},
      {"[a][b] [c] d", "d"},
      {"[a][b]", "[b]"},
      {"[a][b] re: [c] d", "d"},
  };
  for (const Case& c : kCases) EXPECT_EQ(BaseSubject(c.in), c.out) << c.in;
}

// Fields as long as the parser keeps them, made to be looked through again and again:
// a stranger's message must not hold up the rest. Each took 10 s and more.
TEST(CostTest, LongFieldsTakeNoLongTime) {
  const auto repeated = [](const std::string& piece) {
    std::string out;
    while (out.size() < 256 * 1024) out += piece;
    return out;
  };
  const auto decode = [](const std::string& field) { return DecodeText(field).size(); };
  const auto base = [](const std::string& field) { return BaseSubject(field).size(); };
  struct {
    std::function<size_t(const std::string&)> read;
    std::string field;
  } const kCases[] = {
      {decode, repeated("=?a?x? ") + "?="}, {decode, repeated("=?a?q? ")}, {base, repeated("[a]") + "x"},
      {base, repeated("[a] re") + "x"},     {base, repeated("re[a]: ")},   {base, repeated("[fwd:") + repeated("]")},
  };
  for (const auto& c : kCases) {
    const std::clock_t start = std::clock();  // CPU time: a busy machine does not count
    c.read(c.field);
    EXPECT_LT(std::clock() - start, 3 * CLOCKS_PER_SEC) << c.field.substr(0, 20);
  }
}

// RFC 2231 §3, §4.1
TEST(JoinContinuationsTest, Table) {
  const std::pair<const char*, const char*> kCases[] = {
      {"name*0=abc; name*1=def.txt", "name=abcdef.txt"},
      {"a=1; name*1=def; NAME*0=abc; b=2", "a=1|NAME=abcdef|b=2"},
      {"URL*0=\"ftp://\"; URL*1=\"cs.utk.edu/x\"", "URL=ftp://cs.utk.edu/x"},
      {"title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"",
       "title*=us-ascii'en'This%20is%20even%20more%20%2A%2A%2Afun%2A%2A%2A%20isn%27t%20it!"},
      {"name*0=a; name*1*=%C3%A4", "name*=''a%C3%A4"},
      {"name*0=a; name*0=x; name*1=b; name*3=d", "name=ab|name*3=d"},
      {"name*1=b", "name*1=b"},
      {"name*=utf-8''%C3%A4", "name*=utf-8''%C3%A4"},
      {"name=whole; name*0=a; name*1=b", "name=whole|name*0=a|name*1=b"},
      {"name*x=a; *0=b; name*00001=c; name*+0=d", "name*x=a|*0=b|name*00001=c|name*+0=d"},
  };
  for (const auto& [sent, want] : kCases) {
    std::string joined;
    for (const Param& p : JoinContinuations(ParseContentType(absl::StrCat("x/y; ", sent))->params)) {
      absl::StrAppend(&joined, joined.empty() ? "" : "|", p.name, "=", p.value);
    }
    EXPECT_EQ(joined, want) << sent;
  }
}

}  // namespace
}  // namespace posthouse::message
