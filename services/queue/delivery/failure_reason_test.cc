#include "services/queue/delivery/failure_reason.h"

#include <gtest/gtest.h>

#include <string>

namespace posthouse::queue {
namespace {

std::string Reason(const std::string& status, uint32_t code, const std::string& text, const std::string& error = "") {
  Outcome outcome;
  outcome.status = status;
  outcome.attempt.mutable_reply()->set_code(code);
  outcome.attempt.mutable_reply()->set_text(text);
  outcome.attempt.set_error(error);
  return FailureReasonName(FailureReasonOf(outcome));
}

TEST(FailureReasonTest, FollowsStepStatusAndReply) {
  EXPECT_EQ(Reason("4.4.3", 451, "domain lookup failed, try again later"), "dns");
  EXPECT_EQ(Reason("5.1.10", 556, "domain accepts no mail (null MX)"), "dns");
  EXPECT_EQ(Reason("4.4.1", 0, "", "connecting to 192.0.2.1:25: Connection refused"), "connect");
  EXPECT_EQ(Reason("4.4.2", 0, "", "end of data: connection lost"), "connect");
  EXPECT_EQ(Reason("4.4.2", 0, "", "TLS handshake: wrong version number"), "tls");
  EXPECT_EQ(Reason("4.3.2", 454, "TLS not available", "STARTTLS: refused"), "tls");
  EXPECT_EQ(Reason("4.2.0", 450, "Greylisted, see http://postgrey.example"), "greylist");
  EXPECT_EQ(Reason("4.7.1", 451, "Please try again later (Graylisting)"), "greylist");
  EXPECT_EQ(Reason("5.7.1", 554, "blocked"), "policy");
  EXPECT_EQ(Reason("4.2.2", 452, "mailbox full"), "quota");
  EXPECT_EQ(Reason("5.1.1", 550, "no such mailbox"), "address");
  EXPECT_EQ(Reason("5.1.20", 550, "?"), "address");
  EXPECT_EQ(Reason("4.2.1", 450, "mailbox is not at this store"), "mailbox");
  EXPECT_EQ(Reason("5.3.4", 552, "message too large"), "too_large");
  EXPECT_EQ(Reason("5.4.6", 554, "mail for the domain loops back to this host"), "loop");
  EXPECT_EQ(Reason("4.3.0", 451, "mailbox not available, try again later"), "system");
  EXPECT_EQ(Reason("5.5.4", 501, "bad parameters"), "protocol");
  EXPECT_EQ(Reason("5.6.1", 554, "no"), "content");
}

TEST(FailureReasonTest, AHostWithoutEnhancedCodesIsReadByItsReply) {
  EXPECT_EQ(Reason("4.0.0", 452, "disk full"), "quota");
  EXPECT_EQ(Reason("4.0.0", 421, "busy"), "system");
  EXPECT_EQ(Reason("5.0.0", 550, "no"), "other");
  EXPECT_EQ(Reason("", 0, ""), "other");
}

}  // namespace
}  // namespace posthouse::queue
