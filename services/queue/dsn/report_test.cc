#include "services/queue/dsn/report.h"
#include "services/common/utf8/utf8.h"

#include <gtest/gtest.h>

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace posthouse::queue::dsn {
namespace {

const absl::Time kArrival = absl::FromUnixSeconds(1700000000);

Report Base() {
  Report report;
  report.hostname = "mx.example.net";
  report.queue_id = "01HF7YAT3VZZZZZZZZZZZZZZZZ";
  report.original_queue_id = "01HF7Y00000000000000000000";
  report.to = "sender@example.org";
  report.arrival = kArrival;
  report.now = kArrival + absl::Minutes(5);
  report.content = "Subject: hi\r\nFrom: sender@example.org\r\n\r\nbody\r\n";
  RecipientReport failed;
  failed.final_address = "user@example.com";
  failed.status = "5.1.1";
  failed.remote_mta = "mail.example.com";
  failed.diagnostic = "550 5.1.1 no such user";
  failed.last_attempt = kArrival + absl::Minutes(4);
  report.recipients.push_back(failed);
  return report;
}

// A MIME message taken apart again, by hand and strictly.
struct Parsed {
  std::map<std::string, std::string> header;
  struct Part {
    std::map<std::string, std::string> header;
    std::string body;
  };
  std::vector<Part> parts;
};
std::map<std::string, std::string> Fields(absl::string_view block) {
  std::map<std::string, std::string> fields;
  for (const absl::string_view line : absl::StrSplit(absl::StrReplaceAll(block, {{"\r\n ", " "}}), "\r\n")) {
    const std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(line, absl::MaxSplits(": ", 1));
    EXPECT_TRUE(fields.emplace(std::string(pair.first), std::string(pair.second)).second) << pair.first;
  }
  return fields;
}
Parsed Parse(absl::string_view message) {
  Parsed parsed;
  EXPECT_FALSE(absl::StrContains(absl::StrReplaceAll(message, {{"\r\n", ""}}), "\n"));
  for (const absl::string_view line : absl::StrSplit(message, "\r\n")) EXPECT_LE(line.size(), 998u);
  const size_t end = message.find("\r\n\r\n");
  parsed.header = Fields(message.substr(0, end));
  std::string boundary = parsed.header["Content-Type"];
  boundary = boundary.substr(boundary.find("boundary=\"") + 10);
  boundary.pop_back();
  const std::vector<absl::string_view> pieces = absl::StrSplit(message, absl::StrCat("\r\n--", boundary));
  EXPECT_EQ(pieces.back(), "--\r\n");
  for (size_t i = 1; i + 1 < pieces.size(); ++i) {
    const absl::string_view piece = absl::StripPrefix(pieces[i], "\r\n");
    const size_t blank = piece.find("\r\n\r\n");
    parsed.parts.push_back({Fields(piece.substr(0, blank)), std::string(piece.substr(blank + 4))});
  }
  return parsed;
}
TEST(ReportTest, GoldenFailure) {
  EXPECT_EQ(Compose(Base()).message, absl::StrReplaceAll(R"(Date: Tue, 14 Nov 2023 22:18:20 +0000
From: Mail Delivery System <MAILER-DAEMON@mx.example.net>
To: <sender@example.org>
Subject: Undelivered mail: returned to its sender
Message-ID: <01HF7YAT3VZZZZZZZZZZZZZZZZ@mx.example.net>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
 boundary="=_01HF7YAT3VZZZZZZZZZZZZZZZZ"

This is a report in MIME format.

--=_01HF7YAT3VZZZZZZZZZZZZZZZZ
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

This is the mail system at mx.example.net.

Your message could not be delivered to these recipients. Delivery will not be tried again:

  <user@example.com>
    Host mail.example.com replied: 550 5.1.1 no such user

The queue id of your message was 01HF7Y00000000000000000000.
The header of your message is attached.

--=_01HF7YAT3VZZZZZZZZZZZZZZZZ
Content-Description: Delivery report
Content-Type: message/delivery-status
Content-Transfer-Encoding: 7bit

Reporting-MTA: dns; mx.example.net
Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000
X-Posthouse-Queue-Id: 01HF7Y00000000000000000000

Final-Recipient: rfc822; user@example.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; mail.example.com
Diagnostic-Code: smtp; 550 5.1.1 no such user
Last-Attempt-Date: Tue, 14 Nov 2023 22:17:20 +0000

--=_01HF7YAT3VZZZZZZZZZZZZZZZZ
Content-Description: Header of the message
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 7bit

Subject: hi
From: sender@example.org


--=_01HF7YAT3VZZZZZZZZZZZZZZZZ--
)",
                                                         {{"\n", "\r\n"}}));
}

TEST(ReportTest, EnvelopeIdAndOriginalRecipientComeBack) {
  Report report = Base();
  report.envid = "QQ314159";
  report.recipients[0].orcpt = "rfc822;Alias@Example.com";
  report.recipients[0].original_address = "alias@example.com";
  const Parsed parsed = Parse(Compose(report).message);
  ASSERT_EQ(parsed.parts.size(), 3u);
  EXPECT_TRUE(absl::StrContains(parsed.parts[0].body, "for <alias@example.com>"));
  const std::vector<std::string> groups = absl::StrSplit(parsed.parts[1].body, "\r\n\r\n");
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(Fields(groups[0])["Original-Envelope-Id"], "QQ314159");  // RFC 3464 §2.2.1
  EXPECT_EQ(Fields(groups[1].substr(0, groups[1].size() - 2))["Original-Recipient"], "rfc822; Alias@Example.com");
}

TEST(ReportTest, SubjectsAndActions) {
  const struct {
    Action action;
    const char* subject;
    const char* name;
  } kCases[] = {{Action::kFailed, "Undelivered mail", "failed"},
                {Action::kDelayed, "Delayed mail", "delayed"},
                {Action::kDelivered, "Delivery report", "delivered"},
                {Action::kRelayed, "Delivery report", "relayed"}};
  for (const auto& c : kCases) {
    Report report = Base();
    report.recipients[0].action = c.action;
    report.recipients[0].retry_until = kArrival + absl::Hours(120);
    Parsed parsed = Parse(Compose(report).message);
    EXPECT_TRUE(absl::StartsWith(parsed.header["Subject"], c.subject));
    EXPECT_TRUE(absl::StrContains(parsed.parts[1].body, absl::StrCat("Action: ", c.name, "\r\n")));
    EXPECT_EQ(absl::StrContains(parsed.parts[1].body, "Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000"),
              c.action == Action::kDelayed);
  }
}

TEST(ReportTest, FullMessagesAreReturnedByteForByte) {
  Report report = Base();
  report.full = true;
  report.content = "Subject: hi\r\n\r\nbody\r\n.\r\n--=_x\r\nend without newline";
  Parsed parsed = Parse(Compose(report).message);
  EXPECT_EQ(parsed.parts[2].header["Content-Type"], "message/rfc822");
  EXPECT_EQ(parsed.parts[2].body, report.content);
}

TEST(ReportTest, EightBitBodiesNeed8BitMime) {
  Report report = Base();
  report.full = true;
  report.content =
      "Subject: hi\r\n\r\nb\xc3\xb6"
      "dy \xff\r\n";
  const Composed composed = Compose(report);
  EXPECT_TRUE(composed.eight_bit);
  EXPECT_FALSE(composed.smtputf8);
  Parsed parsed = Parse(composed.message);
  EXPECT_EQ(parsed.parts[2].header["Content-Transfer-Encoding"], "8bit");
  EXPECT_EQ(parsed.parts[2].body, report.content);
}

// A raw 8-bit header goes back to an ASCII sender through hosts that know nothing.
TEST(ReportTest, EightBitHeadersAreQuoted) {
  Report report = Base();
  report.full = true;  // cannot be: message/rfc822 has an ASCII header
  report.content =
      "Subject: gr\xc3\xbc\xc3\x9f"
      "e\r\n\r\nbody\r\n";
  const Composed composed = Compose(report);
  EXPECT_FALSE(composed.eight_bit);
  EXPECT_TRUE(IsAscii(composed.message));
  Parsed parsed = Parse(composed.message);
  EXPECT_EQ(parsed.parts[2].header["Content-Transfer-Encoding"], "quoted-printable");
  EXPECT_EQ(parsed.parts[2].body, "Subject: gr=C3=BC=C3=9Fe\r\n\r\n");
}

// Old programs write them, and a report with them would be refused in its turn.
TEST(ReportTest, OverlongHeaderLinesAreQuoted) {
  Report report = Base();
  report.content = "X-Long: " + std::string(3000, 'x') + "\r\nSubject: y\r\n\r\nbody\r\n";
  Parsed parsed = Parse(Compose(report).message);  // checks line lengths
  EXPECT_EQ(parsed.parts[2].header["Content-Transfer-Encoding"], "quoted-printable");
  EXPECT_EQ(absl::StrReplaceAll(parsed.parts[2].body, {{"=\r\n", ""}}),
            "X-Long: " + std::string(3000, 'x') + "\r\nSubject: y\r\n\r\n");
}

// RFC 6533
TEST(ReportTest, Utf8Addresses) {
  Report report = Base();
  report.recipients[0].final_address = "j\xc3\xbcrgen@example.com";
  const Composed to_ascii = Compose(report);
  EXPECT_TRUE(IsAscii(to_ascii.message));
  EXPECT_FALSE(to_ascii.smtputf8);
  EXPECT_TRUE(absl::StrContains(to_ascii.message, "Final-Recipient: utf-8; j\\x{FC}rgen@example.com\r\n"));

  report.to = "s\xc3\xa9nder@example.org";
  report.content = "Subject: \xc3\xa9\r\n\r\nx\r\n";
  const Composed to_utf8 = Compose(report);
  EXPECT_TRUE(to_utf8.smtputf8);
  EXPECT_TRUE(to_utf8.eight_bit);
  Parsed parsed = Parse(to_utf8.message);
  EXPECT_EQ(parsed.header["To"], "<s\xc3\xa9nder@example.org>");
  EXPECT_EQ(parsed.parts[1].header["Content-Type"], "message/global-delivery-status");
  EXPECT_TRUE(absl::StrContains(parsed.parts[1].body, "Final-Recipient: utf-8; j\xc3\xbcrgen@example.com\r\n"));
  EXPECT_EQ(parsed.parts[2].header["Content-Type"], "message/global-headers");
}

// A remote host's text must not write our header or our fields.
TEST(ReportTest, PeersCannotInjectLines) {
  Report report = Base();
  report.recipients[0].diagnostic = "550 no\r\nStatus: 2.0.0\r\n\r\n--=_01HF7YAT3VZZZZZZZZZZZZZZZZ--\r\n\xff";
  report.recipients[0].remote_mta = "evil\r\nAction: delivered";
  report.to = "a@b\r\nBcc: victim@example.org";
  Parsed parsed = Parse(Compose(report).message);
  EXPECT_EQ(parsed.header.count("Bcc"), 0u);
  ASSERT_EQ(parsed.parts.size(), 3u);
  const std::vector<std::string> groups = absl::StrSplit(parsed.parts[1].body, "\r\n\r\n");
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(Fields(groups[1].substr(0, groups[1].size() - 2))["Status"], "5.1.1");
}

TEST(ReportTest, LongRepliesAreFolded) {
  Report report = Base();
  report.recipients[0].diagnostic = absl::StrCat("550 ", std::string(3000, 'x'), " ", std::string(500, 'y'));
  Parse(Compose(report).message);  // checks line lengths
}

TEST(ReportTest, Header) {
  EXPECT_EQ(HeaderOf("A: b\r\n\r\nbody"), "A: b\r\n\r\n");
  EXPECT_EQ(HeaderOf("\r\nbody"), "\r\n");
  EXPECT_EQ(HeaderOf("A: b\r\n"), "A: b\r\n");
}

TEST(ReportTest, Utf8AddrXtext) {
  EXPECT_EQ(ToUtf8AddrXtext("a+b=c\\d@x"), "a\\x{2B}b\\x{3D}c\\x{5C}d@x");
  EXPECT_EQ(ToUtf8AddrXtext("\xe2\x82\xac\xf0\x9f\x98\x80\xff"), "\\x{20AC}\\x{1F600}\\x{FFFD}");
}

}  // namespace
}  // namespace posthouse::queue::dsn
