#include "services/mail_formats/message/parser.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace posthouse::message {
namespace {

std::string Crlf(absl::string_view text) { return absl::StrReplaceAll(text, {{"\n", "\r\n"}}); }

void ShowPart(const Message& m, absl::string_view bytes, size_t i, std::string* out) {
  const Part& p = m.parts[i];
  if (p.kind == Part::Kind::kMultipart || p.kind == Part::Kind::kMessage) {
    absl::StrAppend(out, p.type.type, "/", p.type.subtype, "(");
    for (size_t c = 0; c < p.children.size(); ++c) {
      if (c > 0) *out += " ";
      ShowPart(m, bytes, p.children[c], out);
    }
    *out += ")";
    return;
  }
  absl::StrAppend(
      out, p.type.type, "/", p.type.subtype, "[",
      absl::StrReplaceAll(bytes.substr(p.body_start, p.body_end - p.body_start), {{"\r\n", "$"}, {"\n", "%"}}), "]",
      p.lines);
}

bool SameMessage(const Message& a, const Message& b) {
  if (a.bytes != b.bytes || a.parts.size() != b.parts.size() || a.plain.bytes != b.plain.bytes ||
      a.html.bytes != b.html.bytes)
    return false;
  for (size_t i = 0; i < a.parts.size(); ++i) {
    const Part &x = a.parts[i], &y = b.parts[i];
    if (x.kind != y.kind || x.parent != y.parent || x.children != y.children || x.header_start != y.header_start ||
        x.body_start != y.body_start || x.body_end != y.body_end || x.lines != y.lines ||
        x.fields.size() != y.fields.size()) {
      return false;
    }
    for (size_t f = 0; f < x.fields.size(); ++f) {
      if (x.fields[f].name != y.fields[f].name || x.fields[f].value != y.fields[f].value ||
          x.fields[f].offset != y.fields[f].offset || x.fields[f].bytes != y.fields[f].bytes) {
        return false;
      }
    }
  }
  return true;
}

// Also that chunks make no difference.
std::string Show(absl::string_view bytes, const Limits& limits = {}) {
  const Message m = Parse(bytes, limits);
  for (const size_t step : {1, 2, 7}) {
    Parser parser(limits);
    for (size_t i = 0; i < bytes.size(); i += step) parser.Feed(bytes.substr(i, step));
    EXPECT_TRUE(SameMessage(m, parser.Finish())) << "in chunks of " << step;
  }
  EXPECT_EQ(m.bytes, bytes.size());
  EXPECT_EQ(m.root().body_end, bytes.size());
  std::string out;
  ShowPart(m, bytes, 0, &out);
  return out;
}

TEST(ParserTest, HeaderFields) {
  const std::string bytes = "A: 1\r\nB : 2\r\n fold\r\nno colon here\r\nC:\r\nA: 3\nBad name: x\r\n\r\nbody\r\n";
  const Message m = Parse(bytes);
  const Part& root = m.root();
  ASSERT_EQ(root.fields.size(), 6u);
  EXPECT_EQ(root.fields[0].name, "A");
  EXPECT_EQ(root.fields[0].value, " 1");
  EXPECT_EQ(root.fields[1].name, "B");
  EXPECT_EQ(root.fields[1].value, " 2\r\n fold");
  EXPECT_EQ(root.fields[1].offset, 6u);
  EXPECT_EQ(bytes.substr(root.fields[1].offset, root.fields[1].bytes), "B : 2\r\n fold\r\n");
  EXPECT_EQ(root.fields[2].name, "");
  EXPECT_EQ(root.fields[2].value, "no colon here");
  EXPECT_EQ(root.fields[3].value, "");
  EXPECT_EQ(bytes.substr(root.fields[4].offset, root.fields[4].bytes), "A: 3\n");
  EXPECT_EQ(root.fields[5].name, "");
  EXPECT_EQ(root.Find("a")->value, " 1");
  EXPECT_EQ(root.Find("z"), nullptr);
  EXPECT_EQ(bytes.substr(root.body_start), "body\r\n");
  EXPECT_EQ(root.lines, 1u);
}

TEST(ParserTest, SinglePart) {
  EXPECT_EQ(Show(""), "text/plain[]0");
  EXPECT_EQ(Show("\r\n"), "text/plain[]0");
  EXPECT_EQ(Show("\n"), "text/plain[]0");
  EXPECT_EQ(Show("\r\nbody"), "text/plain[body]0");
  EXPECT_EQ(Show("A: b\r\n"), "text/plain[]0");
  EXPECT_EQ(Show("A: b"), "text/plain[]0");
  EXPECT_EQ(Show("A: b\n\none\ntwo"), "text/plain[one%two]1");
  EXPECT_EQ(Show("just text\nand more\n"), "text/plain[]0");
  EXPECT_EQ(Show("Content-Type: image/png\r\n\r\nx\r\n"), "image/png[x$]1");
  EXPECT_EQ(Show("Content-Type: nonsense\r\n\r\nx"), "text/plain[x]0");
  EXPECT_EQ(Show(std::string("A\0: b\r\n\r\n\0\0", 11)), absl::StrCat("text/plain[", std::string("\0\0", 2), "]0"));
}

// RFC 2046 §5.1.1
TEST(ParserTest, Multipart) {
  const std::string head = "Content-Type: multipart/mixed; boundary=\"b\"\n\n";
  const std::pair<std::string, std::string> kCases[] = {
      {"preamble\n--b\n\none\n--b\nContent-Type: text/html\n\ntwo\n\n--b--\nepilogue\n",
       "multipart/mixed(text/plain[one]0 text/html[two$]1)"},
      {"--b\n\none\n--b--", "multipart/mixed(text/plain[one]0)"},
      {"--b\n\none", "multipart/mixed(text/plain[one]0)"},  // never closed
      {"--b\n\none\n", "multipart/mixed(text/plain[one$]1)"},
      {"--b  \t\n\none\n--b-- \n", "multipart/mixed(text/plain[one]0)"},
      {"--b\n\n--b--\n", "multipart/mixed(text/plain[]0)"},  // empty body
      {"--b\n\n\n--b--\n", "multipart/mixed(text/plain[]0)"},
      {"--b\n--b--\n", "multipart/mixed(text/plain[]0)"},  // no blank line
      {"--b\nContent-Type: text/x\n--b--\n", "multipart/mixed(text/x[]0)"},
      {"--b\n--b\n\nx\n--b--", "multipart/mixed(text/plain[]0 text/plain[x]0)"},
      {"nothing here\n", "multipart/mixed()"},
      {"--b--\n--b\n\nafter the end\n", "multipart/mixed()"},
      {"--b\n\none\n--b--\n--b\n\nno part\n", "multipart/mixed(text/plain[one]0)"},
      {"--b", "multipart/mixed(text/plain[]0)"},
      {"--bx\n\none\n--b--", "multipart/mixed(text/plain[one]0)"},  // the beginning decides
      {"--b\n\n --b\nx--b\n-b\n--\n--b--", "multipart/mixed(text/plain[ --b$x--b$-b$--]3)"},
  };
  for (const auto& [body, want] : kCases) {
    EXPECT_EQ(Show(Crlf(head + body)), want) << body;
    EXPECT_EQ(Show(head + body), absl::StrReplaceAll(want, {{"$", "%"}})) << body;
  }
}

TEST(ParserTest, MultipartWithoutBoundaryIsText) {
  EXPECT_EQ(Show("Content-Type: multipart/alternative;\r\n\r\nBlah\r\n"), "text/plain[Blah$]1");
  EXPECT_EQ(Show("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n"), "text/plain[--$]1");
  EXPECT_EQ(Show("Content-Type: multipart/mixed; boundary=\"  \"\r\n\r\n--\r\n"), "text/plain[--$]1");
}

TEST(ParserTest, NestedBoundaries) {
  const std::string outer =
      "Content-Type: multipart/mixed; boundary=A\n\n--A\nContent-Type: multipart/alternative; boundary=";
  // The parent's delimiter ends the child that was not closed.
  EXPECT_EQ(Show(Crlf(outer + "B\n\n--B\n\none\n--A\n\ntwo\n--A--\n")),
            "multipart/mixed(multipart/alternative(text/plain[one]0) text/plain[two]0)");
  // The child's epilogue is no part.
  EXPECT_EQ(Show(Crlf(outer + "B\n\n--B\n\none\n--B--\nepilogue\n--A\n\ntwo\n--A--\n")),
            "multipart/mixed(multipart/alternative(text/plain[one]0) text/plain[two]0)");
  // A prefix of the other: the longest wins, in both directions.
  EXPECT_EQ(Show(Crlf(outer + "AB\n\n--AB\n\none\n--AB--\n--A\n\ntwo\n--A--\n")),
            "multipart/mixed(multipart/alternative(text/plain[one]0) text/plain[two]0)");
  // The same: the innermost.
  EXPECT_EQ(Show(Crlf(outer + "A\n\n--A\n\none\n--A--\n--A\n\ntwo\n--A--\n")),
            "multipart/mixed(multipart/alternative(text/plain[one]0) text/plain[two]0)");
  // In the child's header.
  EXPECT_EQ(Show(Crlf(outer + "B\n--A\n\ntwo\n--A--\n")), "multipart/mixed(multipart/alternative() text/plain[two]0)");
}

TEST(ParserTest, LongBoundariesAreComparedSoFar) {
  const std::string b(300, 'x');
  EXPECT_EQ(Show(Crlf(absl::StrCat("Content-Type: multipart/mixed; boundary=", b, "\n\n--", b, "\n\none\n--", b,
                                   "\n\ntwo\n"))),
            "multipart/mixed(text/plain[one]0 text/plain[two$]1)");
}

// RFC 2046 §5.2.1
TEST(ParserTest, MessageInMessage) {
  const std::string bytes = Crlf(
      "Content-Type: multipart/mixed; boundary=A\n\n--A\nContent-Type: message/rfc822\n\n"
      "Subject: inner\nX-Other: y\nContent-Type: multipart/mixed; boundary=B\n\n--B\n\none\n--B--\n--A--\n");
  EXPECT_EQ(Show(bytes), "multipart/mixed(message/rfc822(multipart/mixed(text/plain[one]0)))");
  const Message m = Parse(bytes);
  ASSERT_EQ(m.parts.size(), 4u);
  // Of an inner message what ENVELOPE needs is kept, of a MIME part Content-*.
  ASSERT_EQ(m.parts[2].fields.size(), 2u);
  EXPECT_EQ(m.parts[2].fields[0].name, "Subject");
  EXPECT_EQ(m.parts[2].fields[1].name, "Content-Type");
  EXPECT_EQ(m.parts[1].body_start, m.parts[2].header_start);
  EXPECT_EQ(m.parts[1].body_end, m.parts[2].body_end);
  EXPECT_EQ(Show(Crlf("Content-Type: message/rfc822\n\nA: b\n\nx\n")), "message/rfc822(text/plain[x$]1)");
  EXPECT_EQ(Show("Content-Type: message/rfc822\r\n\r\n"), "message/rfc822(text/plain[]0)");
  EXPECT_EQ(Show("Content-Type: message/rfc822"), "message/rfc822(text/plain[]0)");
  EXPECT_EQ(Show(Crlf("Content-Type: multipart/mixed; boundary=A\n\n--A\nContent-Type: message/rfc822\n--A--\n")),
            "multipart/mixed(message/rfc822(text/plain[]0))");
}

// RFC 2046 §5.1.5
TEST(ParserTest, DigestDefaultsToMessages) {
  EXPECT_EQ(Show(Crlf("Content-Type: multipart/digest; boundary=A\n\n--A\n\nFrom: a\n\none\n--A\nContent-Type: "
                      "text/x\n\ntwo\n--A--\n")),
            "multipart/digest(message/rfc822(text/plain[one]0) text/x[two]0)");
}

TEST(ParserTest, ManyPartsAreBounded) {
  std::string bytes = "Content-Type: multipart/mixed; boundary=A\r\n\r\n";
  for (int i = 0; i < 50; ++i) absl::StrAppend(&bytes, "--A\r\n\r\n", i, "\r\n");
  bytes += "--A--\r\n";
  Limits limits;
  limits.max_parts = 4;
  const Message m = Parse(bytes, limits);
  EXPECT_EQ(m.parts.size(), 4u);
  EXPECT_TRUE(m.truncated);
  EXPECT_EQ(m.parts[3].body_end, bytes.size());
  EXPECT_EQ(Parse(bytes).parts.size(), 51u);
  EXPECT_FALSE(Parse(bytes).truncated);
}

TEST(ParserTest, DepthIsBounded) {
  std::string bytes;
  for (int i = 0; i < 300; ++i)
    absl::StrAppend(&bytes, "Content-Type: multipart/mixed; boundary=A", i, "E\r\n\r\n--A", i, "E\r\n");
  const Message m = Parse(bytes);
  EXPECT_TRUE(m.truncated);
  EXPECT_EQ(m.parts.size(), 101u);
  EXPECT_EQ(m.parts.back().kind, Part::Kind::kText);
  std::string messages;
  for (int i = 0; i < 300; ++i) messages += "Content-Type: message/rfc822\r\n\r\n";
  EXPECT_EQ(Parse(messages).parts.size(), 101u);
}

TEST(ParserTest, HeadersAreBounded) {
  std::string bytes = "First: x\r\n";
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&bytes, "X-", i, ": ", std::string(100, 'y'), "\r\n");
  bytes += "\r\nbody";
  const Message m = Parse(bytes);
  EXPECT_TRUE(m.truncated);
  size_t kept = 0;
  for (const Field& f : m.root().fields) kept += f.name.size() + f.value.size();
  EXPECT_LE(kept, 256u * 1024);
  EXPECT_LE(m.root().fields.size(), 2000u);
  EXPECT_EQ(m.root().body_start, bytes.size() - 4);
  // One huge field: its beginning; a huge fold likewise.
  const Message huge = Parse(absl::StrCat("Subject: ", std::string(1 << 20, 'x'), "\r\nTo: y\r\n\r\nbody"));
  EXPECT_TRUE(huge.truncated);
  EXPECT_LE(huge.root().Find("Subject")->value.size(), 1000u);
  EXPECT_EQ(huge.root().body_end - huge.root().body_start, 4u);
}

TEST(ParserTest, HeadersOfAllPartsTogetherAreBounded) {
  std::string bytes = "Content-Type: multipart/mixed; boundary=A\r\n\r\n";
  for (int i = 0; i < 2000; ++i) {
    absl::StrAppend(&bytes, "--A\r\nContent-Description: ", std::string(1000, 'y'),
                    "\r\nContent-Type: text/html; name=", std::string(1000, 'z'), "; charset=x\r\n\r\n", i, "\r\n");
  }
  const Message m = Parse(bytes);
  ASSERT_EQ(m.parts.size(), 2001u);  // the structure is still right
  size_t kept = 0;
  for (const Part& part : m.parts) {
    for (const Field& f : part.fields) kept += f.name.size() + f.value.size();
    for (const Param& p : part.type.params) kept += p.name.size() + p.value.size();
  }
  EXPECT_LE(kept, (1024u + 200) * 1024);
  EXPECT_EQ(m.parts.back().type.subtype, "html");
  EXPECT_EQ(m.parts.back().type.GetRaw("charset"), "x");
}

TEST(ParserTest, KeepsTheFirstTextForThePreview) {
  const Message m =
      Parse(Crlf("Content-Type: multipart/mixed; boundary=A\n\n--A\nContent-Disposition: "
                 "attachment\n\nno\n--A\nContent-Type: text/html\n\n<b>\n--A\n\nyes\n"
                 "--A\n\nlater\n--A--\n"));
  EXPECT_EQ(m.plain.bytes, "yes");
  EXPECT_EQ(m.plain.part, 3);
  EXPECT_EQ(m.html.bytes, "<b>");
  EXPECT_EQ(Parse("\r\n" + std::string(100000, 'x')).plain.bytes.size(), 16u * 1024);
}

}  // namespace
}  // namespace posthouse::message
