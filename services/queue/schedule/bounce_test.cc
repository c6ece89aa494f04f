#include "services/queue/schedule/bounce.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace posthouse::queue {
namespace {

// The message/delivery-status part and the text of a report on one failed recipient.
std::string ReportWith(const v1::Attempt& last) {
  v1::Item item;
  item.mutable_envelope()->set_reverse_path("s@client.example");
  v1::ItemRecipient* recipient = item.add_recipients();
  recipient->mutable_recipient()->set_address("a@example.org");
  recipient->set_state(v1::RECIPIENT_STATE_FAILED);
  *recipient->mutable_last() = last;
  BounceOptions options;
  options.hostname = "mail.client.example";
  const std::vector<Notice> notices = {{0, dsn::Action::kFailed}};
  return dsn::Compose(MakeReport(item, notices, "Subject: x\r\n\r\n", false,
                                 *QueueId::FromText("01HF7YAT3VZZZZZZZZZZZZZZZZ"), absl::FromUnixSeconds(1700000000),
                                 options))
      .message;
}

v1::Attempt Attempt(uint32_t code, const std::string& enhanced, const std::string& text, const std::string& host,
                    bool ours, const std::string& error = "") {
  v1::Attempt attempt;
  attempt.set_host(host);
  if (code != 0) {
    attempt.mutable_reply()->set_code(code);
    attempt.mutable_reply()->set_enhanced(enhanced);
    attempt.mutable_reply()->set_text(text);
  }
  attempt.set_ours(ours);
  attempt.set_error(error);
  return attempt;
}

// RFC 3464 §2.3.5, §2.3.6
TEST(BounceTest, AHostSignsItsOwnWords) {
  const std::string report = ReportWith(Attempt(550, "5.1.1", "nobody", "mx.example.org", false));
  EXPECT_TRUE(absl::StrContains(report, "\r\nRemote-MTA: dns; mx.example.org\r\n")) << report;
  EXPECT_TRUE(absl::StrContains(report, "\r\nDiagnostic-Code: smtp; 550 5.1.1 nobody\r\n"));
  EXPECT_TRUE(absl::StrContains(report, "Host mx.example.org replied: 550 5.1.1 nobody\r\n"));
}

TEST(BounceTest, NoHostSignsOurWords) {
  const struct {
    v1::Attempt last;
    std::string code;
  } kCases[] = {
      // SIZE, SMTPUTF8: the host was asked nothing about this message.
      {Attempt(552, "5.3.4", "message too large", "mx.example.org", true),
       "host mx.example.org: 552 5.3.4 message too large"},
      {Attempt(550, "5.1.2", "domain does not exist", "", true, "no.example does not exist"),
       "550 5.1.2 domain does not exist (no.example does not exist)"},
      // Written by an earlier version.
      {Attempt(556, "5.1.10", "null MX", "", false), "556 5.1.10 null MX"},
      {Attempt(0, "", "", "mx.example.org", false, "greeting: timed out"), "host mx.example.org: greeting: timed out"},
  };
  for (const auto& c : kCases) {
    const std::string report = ReportWith(c.last);
    EXPECT_FALSE(absl::StrContains(report, "Remote-MTA")) << report;
    EXPECT_FALSE(absl::StrContains(report, "smtp;")) << report;
    EXPECT_FALSE(absl::StrContains(report, "replied:")) << report;
    EXPECT_TRUE(absl::StrContains(report, "\r\nDiagnostic-Code: X-Posthouse; " + c.code + "\r\n")) << report;
  }
}

}  // namespace
}  // namespace posthouse::queue
