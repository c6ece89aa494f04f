#include "services/mail_formats/smtp/received.h"

#include <gtest/gtest.h>

namespace posthouse::smtp {
namespace {

ReceivedInfo Info() {
  ReceivedInfo info;
  info.client_name = "client.example";
  info.client_address = "192.0.2.1";
  info.by = "mx.example.org";
  info.at = absl::FromCivil(absl::CivilSecond(2026, 11, 23, 22, 59, 1), absl::UTCTimeZone());
  return info;
}

// RFC 5321 §4.4
TEST(Received, HasEveryClauseInOrder) {
  ReceivedInfo info = Info();
  info.tls = info.authenticated = true;
  info.tls_comment = "TLSv1.3, TLS_AES_256_GCM_SHA384";
  info.id = "abc";
  info.for_address = "user@example.org";
  EXPECT_EQ(FormatReceived(info),
            "Received: from client.example ([192.0.2.1])\r\n\tby mx.example.org (Posthouse) with ESMTPSA\r\n"
            "\t(TLSv1.3, TLS_AES_256_GCM_SHA384)\r\n\tid abc\r\n\tfor <user@example.org>;\r\n"
            "\tMon, 23 Nov 2026 22:59:01 +0000\r\n");
}

TEST(Received, LeavesOutWhatIsNotKnown) {
  ReceivedInfo info = Info();
  info.client_address = "2001:db8::1";
  EXPECT_EQ(FormatReceived(info),
            "Received: from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example.org (Posthouse) with ESMTP;\r\n"
            "\tMon, 23 Nov 2026 22:59:01 +0000\r\n");
}

TEST(Received, AHostileEhloNameForgesNothing) {
  ReceivedInfo info = Info();
  info.client_name = "x) by evil;(\tfoo\"";
  EXPECT_EQ(FormatReceived(info).substr(0, 60), "Received: from x??by?evil???foo? ([192.0.2.1])\r\n\tby mx.examp");
}

// RFC 6531 §3.7.3: no UTF-8 in a message of somebody who did not ask for it.
TEST(Received, AnInternationalNameNeedsSmtputf8) {
  ReceivedInfo info = Info();
  info.client_name = "bücher.example";
  EXPECT_EQ(FormatReceived(info).substr(0, 33), "Received: from b??cher.example ([");
  info.smtputf8 = true;
  EXPECT_EQ(FormatReceived(info).substr(0, 33), "Received: from bücher.example ([");
}

// RFC 3848, RFC 6531 §4.3
TEST(Received, WithKeywords) {
  struct Case {
    bool esmtp, lmtp, tls, auth, utf8;
    const char* keyword;
  };
  for (const Case& c :
       {Case{false, false, false, false, false, "SMTP"}, Case{true, false, false, false, false, "ESMTP"},
        Case{true, false, true, false, false, "ESMTPS"}, Case{true, false, false, true, false, "ESMTPA"},
        Case{true, false, true, true, false, "ESMTPSA"}, Case{true, false, false, false, true, "UTF8SMTP"},
        Case{true, false, true, true, true, "UTF8SMTPSA"}, Case{false, true, false, false, false, "LMTP"},
        Case{false, true, true, false, true, "UTF8LMTPS"}}) {
    ReceivedInfo info;
    info.esmtp = c.esmtp;
    info.lmtp = c.lmtp;
    info.tls = c.tls;
    info.authenticated = c.auth;
    info.smtputf8 = c.utf8;
    EXPECT_EQ(WithProtocol(info), c.keyword);
  }
}

}  // namespace
}  // namespace posthouse::smtp
