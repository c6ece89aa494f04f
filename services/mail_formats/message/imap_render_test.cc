#include "services/mail_formats/message/imap_render.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace posthouse::message {
namespace {

std::string Crlf(absl::string_view text) { return absl::StrReplaceAll(text, {{"\n", "\r\n"}}); }

std::string Envelope(absl::string_view header) { return RenderEnvelope(Parse(Crlf(header)).root()); }

// RFC 9051 §4.3
TEST(ImapStringTest, QuotedOrLiteral) {
  const std::pair<std::string, std::string> kCases[] = {
      {"", "\"\""},
      {"a b", "\"a b\""},
      {"a\"b\\c", "\"a\\\"b\\\\c\""},
      {"ä", "{2}\r\nä"},
      {"a\r\nb", "{4}\r\na  b"},
      {std::string("a\0b", 3),
       "{3}\r\na\x80"
       "b"},
      {"tab\t", "{4}\r\ntab\t"},
      {"\x7f", "{1}\r\n\x7f"},
  };
  for (const auto& [in, want] : kCases) {
    std::string out;
    AppendImapString(in, &out);
    EXPECT_EQ(out, want);
  }
  std::string out;
  AppendImapString(std::string(5000, 'x'), &out);
  EXPECT_EQ(out.substr(0, 8), "{5000}\r\n");
}

// RFC 9051 §7.5.2
TEST(EnvelopeTest, Table) {
  const std::pair<std::string, std::string> kCases[] = {
      {"", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"},
      {"Subject:\nDate:\nMessage-ID: \n\n", "(\"\" \"\" NIL NIL NIL NIL NIL NIL NIL \"\")"},
      {"Date: Fri, 21 Nov 1997\nSubject: a\n\tb\nFrom: J \"D\" <a@b>\nTo: c@d, E: f@g;\nMessage-ID: "
       "<x@y>\nIn-Reply-To: <z@y>\n\n",
       "(\"Fri, 21 Nov 1997\" {3}\r\na\tb ((\"J D\" NIL \"a\" \"b\")) ((\"J D\" NIL \"a\" \"b\")) ((\"J D\" NIL \"a\" "
       "\"b\"))"
       " ((NIL NIL \"c\" \"d\")(NIL NIL \"E\" NIL)(NIL NIL \"f\" \"g\")(NIL NIL NIL NIL)) NIL NIL \"<z@y>\" "
       "\"<x@y>\")"},
      {"From: a@b\nSender: c@d\nReply-To:\nCc: e@f\nCc: g@h\nBcc: <>\n\n",
       "(NIL NIL ((NIL NIL \"a\" \"b\")) ((NIL NIL \"c\" \"d\")) ((NIL NIL \"a\" \"b\")) NIL ((NIL NIL \"e\" "
       "\"f\")(NIL NIL \"g\" \"h\"))"
       " ((NIL NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\")) NIL NIL)"},
      {"Subject: =?utf-8?q?=C3=A4?= raw \xe4\nFrom: \"\xe4\" <\xe4@b>\n\n",
       "(NIL {24}\r\n=?utf-8?q?=C3=A4?= raw \xe4 (({1}\r\n\xe4 NIL {1}\r\n\xe4 \"b\")) (({1}\r\n\xe4 NIL {1}\r\n\xe4 "
       "\"b\"))"
       " (({1}\r\n\xe4 NIL {1}\r\n\xe4 \"b\")) NIL NIL NIL NIL NIL)"},
      {"From: <@r:a@b>\n\n",
       "(NIL NIL ((NIL \"@r\" \"a\" \"b\")) ((NIL \"@r\" \"a\" \"b\")) ((NIL \"@r\" \"a\" \"b\")) NIL NIL NIL NIL "
       "NIL)"},
  };
  for (const auto& [in, want] : kCases) EXPECT_EQ(Envelope(in), want) << in;
}

TEST(BodyStructureTest, SinglePart) {
  const Message plain = Parse(Crlf("Subject: x\n\none\ntwo\n"));
  EXPECT_EQ(RenderBody(plain), R"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 10 2))");
  EXPECT_EQ(RenderBodyStructure(plain),
            R"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 10 2 NIL NIL NIL NIL))");
  const Message image = Parse(Crlf(
      "Content-Type: IMAGE/png; name*0*=utf-8''%C3%A4; name*1=b\nContent-ID: <i@x>\nContent-Description: a \"pic\"\n"
      "Content-Transfer-Encoding: BASE64\nContent-MD5: abc==\nContent-Disposition: attachment; filename=\"x y\"\n"
      "Content-Language: en, de\nContent-Location: http://x/\n\nAAAA\n"));
  EXPECT_EQ(RenderBodyStructure(image),
            R"(("IMAGE" "png" ("name*" "utf-8''%C3%A4b") "<i@x>" "a \"pic\"" "BASE64" 6 "abc==" )"
            R"(("attachment" ("filename" "x y")) ("en" "de") "http://x/"))");
  EXPECT_EQ(RenderBody(image), R"(("IMAGE" "png" ("name*" "utf-8''%C3%A4b") "<i@x>" "a \"pic\"" "BASE64" 6))");
  EXPECT_EQ(RenderBody(Parse("Content-Type: text/html; format=flowed\r\n\r\n")),
            R"(("text" "html" ("format" "flowed" "charset" "us-ascii") NIL NIL "7bit" 0 0))");
  EXPECT_EQ(RenderBody(Parse("Content-Type: application/x\r\n\r\n")), R"(("application" "x" NIL NIL NIL "7bit" 0))");
}

// RFC 9051 §7.5.2
TEST(BodyStructureTest, ContinuationsOfParametersAreJoined) {
  EXPECT_EQ(RenderBodyStructure(
                Parse(Crlf("Content-Type: text/plain; name*0=abc; name*1=def.txt\n"
                           "Content-Disposition: attachment; filename*1*=b; filename*0*=utf-8'de'%C3%A4; size=3\n\n"))),
            R"(("text" "plain" ("name" "abcdef.txt" "charset" "us-ascii") NIL NIL "7bit" 0 0 NIL )"
            R"(("attachment" ("filename*" "utf-8'de'%C3%A4b" "size" "3")) NIL NIL))");
}

// The example of RFC 9051 §7.5.2, as it is parsed.
TEST(BodyStructureTest, Multipart) {
  const Message m = Parse(Crlf(
      "Content-Type: multipart/mixed; boundary=b\nContent-Language: en\n\n--b\nContent-Type: TEXT/PLAIN; "
      "CHARSET=US-ASCII\n\nhello\n\n--b\n"
      "Content-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME=cc.diff\nContent-ID: <960723163407.20117h@cac.washington.edu>\n"
      "Content-Description: Compiler diff\nContent-Transfer-Encoding: BASE64\n\nAAAA\n--b--\n"));
  EXPECT_EQ(
      RenderBody(m),
      R"((("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7bit" 7 1)("TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" "cc.diff") )"
      R"("<960723163407.20117h@cac.washington.edu>" "Compiler diff" "BASE64" 4 0) "mixed"))");
  EXPECT_EQ(
      RenderBodyStructure(m),
      R"((("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7bit" 7 1 NIL NIL NIL NIL)("TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" )"
      R"("cc.diff") "<960723163407.20117h@cac.washington.edu>" "Compiler diff" "BASE64" 4 0 NIL NIL NIL NIL) "mixed" )"
      R"(("boundary" "b") NIL ("en") NIL))");
}

TEST(BodyStructureTest, EmptyMultipartShowsAPart) {
  const Message m = Parse("Content-Type: multipart/mixed; boundary=b\r\n\r\n");
  EXPECT_EQ(RenderBody(m), R"((("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0) "mixed"))");
}

TEST(BodyStructureTest, MessageInMessage) {
  const Message m = Parse(Crlf("Content-Type: message/rfc822\n\nSubject: i\nContent-Type: text/html\n\nx\n"));
  EXPECT_EQ(RenderBody(m), R"(("message" "rfc822" NIL NIL NIL "7bit" 42 (NIL "i" NIL NIL NIL NIL NIL NIL NIL NIL) )"
                           R"(("text" "html" ("charset" "us-ascii") NIL NIL "7bit" 3 1) 4))");
}

}  // namespace
}  // namespace posthouse::message
