#include "services/mail_formats/smtp/command.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "services/mail_formats/smtp/xtext.h"

namespace posthouse::smtp {
namespace {

// All values that a line set, as one text to compare.
std::string Describe(const Command& c) {
  if (c.error.has_value()) return std::to_string(c.error->code) + " " + c.error->enhanced;
  std::string out(VerbName(c.verb));
  if (!c.argument.empty()) out += " arg=" + c.argument;
  if (c.verb == Verb::kMail || c.verb == Verb::kRcpt) out += " <" + (c.path ? c.path->ToString() : "") + ">";
  if (c.mail.size) out += " size=" + std::to_string(*c.mail.size);
  if (c.mail.body != Body::kSevenBit) out += " body=" + std::to_string(static_cast<int>(c.mail.body));
  if (c.mail.smtputf8) out += " utf8";
  if (c.mail.ret != Ret::kUnset) out += c.mail.ret == Ret::kFull ? " full" : " hdrs";
  if (!c.mail.envid.empty()) out += " envid=" + c.mail.envid;
  if (c.mail.auth) out += " auth=" + *c.mail.auth;
  if (c.rcpt.notify.given()) out += " notify=" + c.rcpt.notify.ToString();
  if (c.rcpt.orcpt.given()) out += " orcpt=" + c.rcpt.orcpt.ToString();
  if (c.verb == Verb::kBdat) out += " " + std::to_string(c.chunk_bytes) + (c.last ? " last" : "");
  if (c.initial_response) out += " initial=" + *c.initial_response;
  return out;
}

struct LineCase {
  std::string line;
  std::string expected;
};

class CommandLine : public testing::TestWithParam<LineCase> {};
TEST_P(CommandLine, Parses) { EXPECT_EQ(Describe(ParseCommand(GetParam().line)), GetParam().expected); }

// RFC 5321 §4.1.1
INSTANTIATE_TEST_SUITE_P(
    Rfc5321, CommandLine,
    testing::Values(
        LineCase{"EHLO client.example", "EHLO arg=client.example"},
        LineCase{"ehlo [192.0.2.1]", "EHLO arg=[192.0.2.1]"}, LineCase{"HELO  x ", "HELO arg=x"},
        LineCase{"LHLO x", "LHLO arg=x"}, LineCase{"EHLO", "501 5.5.4"}, LineCase{"EHLO a b", "501 5.5.4"},
        LineCase{"EHLO " + std::string(256, 'a'), "501 5.5.4"}, LineCase{"EHLO my_pc", "EHLO arg=my_pc"},
        LineCase{"EHLO \xff", "501 5.5.4"}, LineCase{"MAIL FROM:<a@b.example>", "MAIL <a@b.example>"},
        LineCase{"mail from:<>", "MAIL <>"}, LineCase{"Mail From: <a@b.example>", "MAIL <a@b.example>"},
        LineCase{"MAIL  FROM:   a@b.example", "MAIL <a@b.example>"},
        LineCase{"MAIL FROM:<a@b.example>  ", "MAIL <a@b.example>"}, LineCase{"MAIL FROM <a@b.example>", "501 5.5.4"},
        LineCase{"MAIL", "501 5.5.4"}, LineCase{"MAIL FROM:", "553 5.1.7"},
        LineCase{"MAIL FROM:<a@b.example>x", "553 5.1.7"}, LineCase{"MAIL FROM:<a b@c.example>", "553 5.1.7"},
        LineCase{"RCPT TO:<a@b.example>", "RCPT <a@b.example>"}, LineCase{"RCPT TO:<Postmaster>", "RCPT <Postmaster>"},
        LineCase{"rcpt to: a@b.example", "RCPT <a@b.example>"},
        LineCase{"RCPT TO:<@x.example:a@b.example>", "RCPT <a@b.example>"}, LineCase{"RCPT TO:<>", "553 5.1.3"},
        LineCase{"RCPT TO:<a@b..example>", "553 5.1.3"}, LineCase{"DATA", "DATA"}, LineCase{"DATA x", "501 5.5.4"},
        LineCase{"RSET", "RSET"}, LineCase{"QUIT ", "QUIT"}, LineCase{"QUIT now", "501 5.5.4"},
        LineCase{"NOOP anything", "NOOP arg=anything"}, LineCase{"VRFY user", "VRFY arg=user"},
        LineCase{"VRFY", "501 5.5.4"}, LineCase{"EXPN list", "EXPN arg=list"}, LineCase{"HELP", "HELP"},
        LineCase{"HELP MAIL", "HELP arg=MAIL"}, LineCase{"", "500 5.5.1"}, LineCase{"XYZZY", "500 5.5.1"},
        LineCase{"MAILFROM:<a@b.example>", "500 5.5.1"}, LineCase{"STARTTLS", "STARTTLS"},
        LineCase{"STARTTLS x", "501 5.5.4"}, LineCase{"GET / HTTP/1.1", "foreign arg=/ HTTP/1.1"}));

// RFC 5321 §2.3.8: no bare CR or LF, and nothing else that moves a cursor.
INSTANTIATE_TEST_SUITE_P(Controls, CommandLine,
                         testing::Values(LineCase{"NOOP\nMAIL FROM:<a@b.example>", "500 5.5.2"},
                                         LineCase{"NOOP\r", "500 5.5.2"},
                                         LineCase{std::string("NO\0OP", 5), "500 5.5.2"},
                                         LineCase{"NOOP \x7f", "500 5.5.2"}, LineCase{"NOOP \x1b[2J", "500 5.5.2"}));

INSTANTIATE_TEST_SUITE_P(
    Parameters, CommandLine,
    testing::Values(
        // RFC 1870
        LineCase{"MAIL FROM:<> SIZE=1000", "MAIL <> size=1000"}, LineCase{"MAIL FROM:<> size=0", "MAIL <> size=0"},
        LineCase{"MAIL FROM:<> SIZE=", "501 5.5.4"}, LineCase{"MAIL FROM:<> SIZE=-1", "501 5.5.4"},
        LineCase{"MAIL FROM:<> SIZE=99999999999999999999", "501 5.5.4"},
        LineCase{"MAIL FROM:<> SIZE=1 SIZE=2", "501 5.5.4"},
        // RFC 6152, RFC 3030, RFC 6531
        LineCase{"MAIL FROM:<> BODY=8bitmime", "MAIL <> body=1"}, LineCase{"MAIL FROM:<> BODY=7BIT", "MAIL <>"},
        LineCase{"MAIL FROM:<> BODY=BINARYMIME", "MAIL <> body=2"}, LineCase{"MAIL FROM:<> BODY=9BIT", "501 5.5.4"},
        LineCase{"MAIL FROM:<> SMTPUTF8", "MAIL <> utf8"}, LineCase{"MAIL FROM:<> SMTPUTF8=1", "501 5.5.4"},
        LineCase{"MAIL FROM:<пример@b.example> SMTPUTF8", "MAIL <пример@b.example> utf8"},
        LineCase{"MAIL FROM:<пример@b.example>", "553 5.6.7"},
        // RFC 3461 §4
        LineCase{"MAIL FROM:<> RET=HDRS ENVID=QQ+3D314", "MAIL <> hdrs envid=QQ=314"},
        LineCase{"MAIL FROM:<> RET=full", "MAIL <> full"}, LineCase{"MAIL FROM:<> RET=SOME", "501 5.5.4"},
        LineCase{"MAIL FROM:<> ENVID=a+0Ab", "501 5.5.4"}, LineCase{"MAIL FROM:<> ENVID=a+G1", "501 5.5.4"},
        LineCase{"MAIL FROM:<> ENVID=" + std::string(101, 'x'), "501 5.5.4"},
        LineCase{"RCPT TO:<a@b.example> NOTIFY=NEVER", "RCPT <a@b.example> notify=NEVER"},
        LineCase{"RCPT TO:<a@b.example> notify=success,DELAY,failure ORCPT=rfc822;A+2Bb@c.example",
                 "RCPT <a@b.example> notify=SUCCESS,FAILURE,DELAY orcpt=rfc822;A+b@c.example"},
        LineCase{"RCPT TO:<a@b.example> NOTIFY=NEVER,DELAY", "501 5.5.4"},
        LineCase{"RCPT TO:<a@b.example> NOTIFY=", "501 5.5.4"},
        LineCase{"RCPT TO:<a@b.example> NOTIFY=SOON", "501 5.5.4"},
        LineCase{"RCPT TO:<a@b.example> ORCPT=a@b.example", "501 5.5.4"},
        LineCase{"RCPT TO:<a@b.example> ORCPT=rfc822;", "501 5.5.4"},
        LineCase{"RCPT TO:<a@b.example> ORCPT=rfc822;a+0D+0A", "501 5.5.4"},
        LineCase{"RCPT TO:<a@b.example> ORCPT=utf-8;пример@b.example",
                 "RCPT <a@b.example> orcpt=utf-8;пример@b.example"},
        // RFC 4954 §5
        LineCase{"MAIL FROM:<> AUTH=<>", "MAIL <> auth=<>"},
        LineCase{"MAIL FROM:<> AUTH=e+3Dmc2@b.example", "MAIL <> auth=e=mc2@b.example"},
        // RFC 5321 §4.1.1.11, and parameters of the other command
        LineCase{"MAIL FROM:<> XFOO=1", "555 5.5.4"}, LineCase{"MAIL FROM:<> NOTIFY=NEVER", "555 5.5.4"},
        LineCase{"RCPT TO:<a@b.example> SIZE=1", "555 5.5.4"}));

// RFC 3030 §2, RFC 4954 §4
INSTANTIATE_TEST_SUITE_P(BdatAndAuth, CommandLine,
                         testing::Values(LineCase{"BDAT 100", "BDAT 100"}, LineCase{"BDAT 0 last", "BDAT 0 last"},
                                         LineCase{"BDAT", "501 5.5.4"}, LineCase{"BDAT x", "501 5.5.4"},
                                         LineCase{"BDAT 1 FIRST", "501 5.5.4"}, LineCase{"BDAT 1 LAST x", "501 5.5.4"},
                                         LineCase{"BDAT 18446744073709551616", "501 5.5.4"},
                                         LineCase{"AUTH plain", "AUTH arg=PLAIN"},
                                         LineCase{"AUTH PLAIN AGEAYg==", "AUTH arg=PLAIN initial=AGEAYg=="},
                                         LineCase{"AUTH PLAIN =", "AUTH arg=PLAIN initial=="},
                                         LineCase{"AUTH", "501 5.5.4"}, LineCase{"AUTH PLAIN a b", "501 5.5.4"}));

TEST(Xtext, RoundTripsEveryOctet) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const std::string encoded = EncodeXtext(all);
  for (const char c : encoded) EXPECT_TRUE(c > 32 && c < 127 && c != '=');
  EXPECT_EQ(DecodeXtext(encoded), all);
  EXPECT_EQ(EncodeXtext("a+b=c d"), "a+2Bb+3Dc+20d");
  for (const char* bad : {"a b", "a=b", "a+", "a+2", "a+2G", "\x80", "a\tb"})
    EXPECT_EQ(DecodeXtext(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace posthouse::smtp
