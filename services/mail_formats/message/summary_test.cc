#include "services/mail_formats/message/summary.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "services/mail_formats/message/part_table.h"

namespace posthouse::message {
namespace {

std::string PreviewOf(absl::string_view bytes) { return Preview(Parse(bytes)); }

// RFC 8970 §3.1
TEST(PreviewTest, TextFirstThenHtml) {
  const std::pair<std::string, std::string> kCases[] = {
      {"\r\n  Hello\r\n\r\n  world \r\n", "Hello world"},
      {"", ""},
      {"Content-Type: image/png\r\n\r\nxyz", ""},
      {"Content-Type: text/plain; charset=koi8-r\r\nContent-Transfer-Encoding: base64\r\n\r\n8NLJ18XU", "Привет"},
      {"Content-Type: text/html\r\n\r\n<html><head><title>t</title></head><style>a{}</style><body><p>One "
       "&amp;\r\n<b>t&#119;o</b>&nbsp;<!-- no -->"
       "<script>x</script>&#x2019;&bogus;</p>",
       "One & two ’&bogus;"},
      {"Content-Type: text/html\r\n\r\n<style>never closed", ""},
      {"Content-Type: text/html\r\n\r\n<header>x</header> a < b", "x a"},
      {"Content-Type: multipart/alternative; boundary=A\r\n\r\n--A\r\n\r\n \r\n--A\r\nContent-Type: "
       "text/html\r\n\r\n<p>html\r\n--A--",
       "html"},
  };
  for (const auto& [in, want] : kCases) EXPECT_EQ(PreviewOf(in), want) << in;
}

TEST(PreviewTest, AtMost200Characters) {
  std::string text = "Content-Type: text/plain; charset=utf-8\r\n\r\n";
  for (int i = 0; i < 300; ++i) text += "ä";
  EXPECT_EQ(PreviewOf(text).size(), 400u);
  EXPECT_EQ(PreviewOf("\r\n" + std::string(5000, ' ') + "late").size(), 4u);
}

std::string Thread(absl::string_view header) { return ThreadId(Parse(absl::StrCat(header, "\r\n\r\n")).root()); }

TEST(ThreadIdTest, TheRootOfTheReferencesDecides) {
  const std::string root = Thread("Message-ID: <root@x>");
  EXPECT_EQ(root.size(), 20u);
  EXPECT_EQ(Thread("Message-ID: <2@x>\r\nIn-Reply-To: <root@x>"), root);
  EXPECT_EQ(Thread("Message-ID: <3@x>\r\nIn-Reply-To: <2@x>\r\nReferences: <root@x>\r\n <2@x>"), root);
  EXPECT_NE(Thread("Message-ID: <other@x>"), root);
  EXPECT_EQ(Thread("Subject: none"), "");
  // Stored with messages: the hash never changes.
  EXPECT_EQ(Thread("Message-ID: <abc@example.com>"), Thread("References: <abc@example.com>"));
  EXPECT_EQ(root, "Tdkzbmxzysmjwicoaamn");
}

TEST(SummaryTest, AllAtOnce) {
  const Message m =
      Parse("Date: Thu, 01 Jan 1970 00:00:10 +0000\r\nSubject: Re: x\r\nMessage-ID: <a@b>\r\n\r\nbody\r\n");
  const Summary s = Summarise(m);
  EXPECT_EQ(s.preview, "body");
  EXPECT_EQ(s.message_id, "a@b");
  EXPECT_EQ(s.base_subject, "x");
  EXPECT_EQ(s.date->time, absl::FromUnixSeconds(10));
  EXPECT_EQ(s.envelope.substr(0, 2), "(\"");
  EXPECT_EQ(s.body, R"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1))");
  EXPECT_TRUE(PartTable::Parse(s.part_table).ok());
  EXPECT_EQ(s.thread_id, ThreadId(m.root()));
}

}  // namespace
}  // namespace posthouse::message
