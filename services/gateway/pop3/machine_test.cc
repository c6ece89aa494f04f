#include "services/gateway/pop3/machine.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace posthouse::gateway::pop3 {
namespace {

class MachineTest : public testing::Test {
 protected:
  // The machine's replies to the client and its requests to the session.
  std::string Say(absl::string_view line) { return Show(machine_.OnLine(line)); }

  std::string Show(const Step& step) {
    switch (step.action) {
      case Step::Action::kReply:
        return step.reply;
      case Step::Action::kClose:
        return "close " + step.reply;
      case Step::Action::kStartTls:
        return "tls " + step.reply;
      case Step::Action::kLogin:
        return absl::StrCat("login ", step.username, "/", step.password);
      case Step::Action::kListing: {
        std::string out = step.reply;
        while (machine_.AppendListing(1, &out)) {
        }
        return out;
      }
      case Step::Action::kSend:
        return step.top ? absl::StrCat("top ", step.uid.value(), " ", step.lines)
                        : absl::StrCat("send ", step.uid.value());
      case Step::Action::kUpdate:
        return "update";
    }
    return "";
  }

  // UIDs 10, 20, 30 of 100, 200 and 300 bytes.
  void LogIn() {
    Say("USER u");
    Say("PASS p");
    EXPECT_EQ(
        Show(machine_.OnLogin(absl::OkStatus(), {UidValidity(7), {{Uid(10), 100}, {Uid(20), 200}, {Uid(30), 300}}})),
        "+OK 3 messages\r\n");
  }

  static Machine::Options Plain() {
    Machine::Options options;
    options.allow_plaintext_auth = true;
    options.tls_available = true;
    return options;
  }
  Machine machine_{Plain()};
};

// RFC 1939 §5
TEST_F(MachineTest, StatAndList) {
  LogIn();
  EXPECT_EQ(Say("STAT"), "+OK 3 600\r\n");
  EXPECT_EQ(Say("LIST"), "+OK 3 messages\r\n1 100\r\n2 200\r\n3 300\r\n.\r\n");
  EXPECT_EQ(Say("list 2"), "+OK 2 200\r\n");
  EXPECT_EQ(Say("LIST 4"), "-ERR no such message\r\n");
  EXPECT_EQ(Say("LIST 0"), "-ERR no such message\r\n");
  EXPECT_EQ(Say("LIST -1"), "-ERR no such message\r\n");
  EXPECT_EQ(Say("LIST +1"), "-ERR no such message\r\n");
  EXPECT_EQ(Say("LIST x"), "-ERR no such message\r\n");
  EXPECT_EQ(Say("LIST 99999999999999999999"), "-ERR no such message\r\n");
  EXPECT_EQ(Say("NOOP"), "+OK\r\n");
}

// RFC 1939 §7
TEST_F(MachineTest, UniqueIdsAreValidityAndUid) {
  LogIn();
  EXPECT_EQ(Say("UIDL"), "+OK 3 messages\r\n1 7.10\r\n2 7.20\r\n3 7.30\r\n.\r\n");
  EXPECT_EQ(Say("UIDL 3"), "+OK 3 7.30\r\n");
  EXPECT_EQ(Say("UIDL 4"), "-ERR no such message\r\n");
}

TEST_F(MachineTest, DeletedMessagesAreNotThere) {
  LogIn();
  EXPECT_EQ(Say("DELE 2"), "+OK message marked as deleted\r\n");
  EXPECT_EQ(Say("DELE 2"), "-ERR no such message\r\n");
  EXPECT_EQ(Say("RETR 2"), "-ERR no such message\r\n");
  EXPECT_EQ(Say("TOP 2 0"), "-ERR no such message\r\n");
  EXPECT_EQ(Say("UIDL 2"), "-ERR no such message\r\n");
  EXPECT_EQ(Say("STAT"), "+OK 2 400\r\n");
  EXPECT_EQ(Say("LIST"), "+OK 2 messages\r\n1 100\r\n3 300\r\n.\r\n");
  EXPECT_EQ(machine_.Deleted(), UidSet({{20, 20}}));
  EXPECT_EQ(Say("RSET"), "+OK 3 messages\r\n");
  EXPECT_EQ(Say("STAT"), "+OK 3 600\r\n");
  EXPECT_TRUE(machine_.Deleted().empty());
}

TEST_F(MachineTest, DeletedRangesSpanNeighbours) {
  LogIn();
  Say("DELE 1");
  Say("DELE 2");
  EXPECT_EQ(machine_.Deleted(), UidSet({{10, 20}}));
  Say("DELE 3");
  EXPECT_EQ(machine_.Deleted(), UidSet({{10, 30}}));
  Say("RSET");
  Say("DELE 1");
  Say("DELE 3");
  EXPECT_EQ(machine_.Deleted(), UidSet({{10, 10}, {30, 30}}));
}

TEST_F(MachineTest, RetrievedAndNotDeletedIsSeen) {
  LogIn();
  EXPECT_EQ(Say("RETR 1"), "send 10");
  machine_.OnSent(Uid(10));
  machine_.OnSent(Uid(20));
  Say("DELE 1");
  EXPECT_EQ(machine_.Retrieved(), UidSet({{20, 20}}));
}

TEST_F(MachineTest, Top) {
  LogIn();
  EXPECT_EQ(Say("TOP 1 5"), "top 10 5");
  EXPECT_EQ(Say("TOP 1 0"), "top 10 0");
  EXPECT_EQ(Say("TOP 1"), "-ERR syntax: TOP message lines\r\n");
  EXPECT_EQ(Say("TOP 1 -1"), "-ERR syntax: TOP message lines\r\n");
  EXPECT_EQ(Say("TOP 1 x"), "-ERR syntax: TOP message lines\r\n");
  EXPECT_EQ(Say("TOP"), "-ERR no such message\r\n");
}

// RFC 1939 §6
TEST_F(MachineTest, QuitUpdates) {
  LogIn();
  Say("DELE 1");
  EXPECT_EQ(Say("QUIT"), "update");
  EXPECT_EQ(machine_.state(), Machine::State::kUpdate);
  EXPECT_EQ(Say("NOOP"), "-ERR command not valid in this state\r\n");
  EXPECT_EQ(Show(machine_.OnUpdated(absl::OkStatus())), "close +OK signing off\r\n");
  EXPECT_EQ(Show(machine_.OnUpdated(absl::UnavailableError("x"))),
            "close -ERR [SYS/TEMP] some deleted messages not removed\r\n");
}

TEST_F(MachineTest, QuitBeforeLogin) { EXPECT_EQ(Say("QUIT"), "close +OK signing off\r\n"); }

TEST_F(MachineTest, CommandsOutOfTheirState) {
  for (const char* command : {"STAT", "LIST", "UIDL", "RETR 1", "TOP 1 1", "DELE 1", "NOOP", "RSET"}) {
    EXPECT_EQ(Say(command), "-ERR command not valid in this state\r\n") << command;
  }
  LogIn();
  for (const char* command : {"USER u", "PASS p", "AUTH PLAIN", "STLS"})
    EXPECT_EQ(Say(command), "-ERR command not valid in this state\r\n") << command;
}

// RFC 1939 §7
TEST_F(MachineTest, UserAndPass) {
  EXPECT_EQ(Say("PASS p"), "-ERR USER first\r\n");
  EXPECT_EQ(Say("USER"), "-ERR syntax: USER name\r\n");
  EXPECT_EQ(Say("user me@x.example"), "+OK send PASS\r\n");
  EXPECT_EQ(Say("PASS  two  blanks "), "login me@x.example/ two  blanks ");
  EXPECT_EQ(Say("PASS again"), "-ERR USER first\r\n");
  Say("USER u");
  EXPECT_EQ(Say("PASS"), "login u/");
}

// RFC 2449 §8, RFC 3206 §4
TEST_F(MachineTest, LoginErrorsHaveResponseCodes) {
  const std::pair<absl::Status, const char*> kCases[] = {
      {absl::UnauthenticatedError(""), "-ERR [AUTH]"},
      {absl::PermissionDeniedError(""), "-ERR [SYS/PERM]"},
      {absl::AbortedError(""), "-ERR [IN-USE]"},
      {absl::ResourceExhaustedError(""), "-ERR [SYS/TEMP]"},
      {absl::UnavailableError(""), "-ERR [SYS/TEMP]"},
      {absl::InternalError(""), "-ERR [SYS/TEMP]"},
      {absl::DeadlineExceededError(""), "-ERR [SYS/TEMP]"},
  };
  for (const auto& [status, want] : kCases) {
    EXPECT_EQ(Show(machine_.OnLogin(status, {})).substr(0, std::string(want).size()), want);
    EXPECT_EQ(machine_.state(), Machine::State::kAuthorization);
  }
}

TEST_F(MachineTest, GuessingIsCutOff) {
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(Show(machine_.OnLogin(absl::UnauthenticatedError(""), {})).substr(0, 4), "-ERR");
  EXPECT_EQ(Show(machine_.OnLogin(absl::UnauthenticatedError(""), {})), "close -ERR [AUTH] wrong name or password\r\n");
}

std::string B64(absl::string_view text) { return absl::Base64Escape(text); }

// RFC 5034
TEST_F(MachineTest, AuthPlain) {
  const std::string answer = B64(absl::string_view("\0u\0p", 4));
  EXPECT_EQ(Say("AUTH PLAIN"), "+ \r\n");
  EXPECT_EQ(Say(answer), "login u/p");
  EXPECT_EQ(Say("AUTH plain " + answer), "login u/p");
  EXPECT_EQ(Say("AUTH PLAIN"), "+ \r\n");
  EXPECT_EQ(Say("*"), "-ERR authentication cancelled\r\n");
  EXPECT_EQ(Say("AUTH PLAIN ="), "-ERR malformed SASL response\r\n");
  EXPECT_EQ(Say("AUTH PLAIN !!!"), "-ERR malformed SASL response\r\n");
  EXPECT_EQ(Say("AUTH"), "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n");
  EXPECT_EQ(Say("AUTH GSSAPI"), "-ERR mechanisms: PLAIN LOGIN\r\n");
}

TEST_F(MachineTest, AuthLogin) {
  EXPECT_EQ(Say("AUTH LOGIN"), "+ VXNlcm5hbWU6\r\n");
  EXPECT_EQ(Say(B64("u")), "+ UGFzc3dvcmQ6\r\n");
  EXPECT_EQ(Say(B64("p")), "login u/p");
  EXPECT_EQ(Say("AUTH LOGIN " + B64("u")), "+ UGFzc3dvcmQ6\r\n");
  EXPECT_EQ(Say("*"), "-ERR authentication cancelled\r\n");
  EXPECT_EQ(Say("AUTH LOGIN"), "+ VXNlcm5hbWU6\r\n");
  EXPECT_EQ(Say("no base64 !"), "-ERR malformed SASL response\r\n");
  EXPECT_EQ(Say("NOOP"), "-ERR command not valid in this state\r\n");  // no answer is awaited any more
}

// RFC 2595 §2, §4
TEST(MachineTlsTest, PasswordsNeedTls) {
  Machine::Options options;
  options.tls_available = true;
  Machine machine(options);
  EXPECT_EQ(machine.OnLine("USER u").reply.substr(0, 4), "-ERR");
  EXPECT_EQ(machine.OnLine("AUTH PLAIN").reply.substr(0, 4), "-ERR");
  std::string capa = machine.OnLine("CAPA").reply;
  EXPECT_NE(capa.find("\r\nSTLS\r\n"), std::string::npos);
  EXPECT_EQ(capa.find("USER"), std::string::npos);
  EXPECT_EQ(capa.find("SASL"), std::string::npos);
  EXPECT_EQ(machine.OnLine("STLS").action, Step::Action::kStartTls);
  machine.OnTls();
  EXPECT_EQ(machine.OnLine("STLS").reply.substr(0, 4), "-ERR");
  capa = machine.OnLine("CAPA").reply;
  EXPECT_EQ(capa.find("STLS"), std::string::npos);
  EXPECT_NE(capa.find("\r\nUSER\r\nSASL PLAIN LOGIN\r\n"), std::string::npos);
  EXPECT_EQ(machine.OnLine("USER u").reply.substr(0, 3), "+OK");
}

TEST_F(MachineTest, StlsForgetsTheUser) {
  Say("USER u");
  EXPECT_EQ(Say("STLS"), "tls +OK begin TLS negotiation\r\n");
  machine_.OnTls();
  EXPECT_EQ(Say("PASS p"), "-ERR USER first\r\n");
}

TEST(MachineTlsTest, NoStlsWithoutACertificate) {
  Machine machine{Machine::Options()};
  EXPECT_EQ(machine.OnLine("STLS").reply, "-ERR TLS is not available\r\n");
  EXPECT_EQ(machine.OnLine("CAPA").reply.find("STLS"), std::string::npos);
}

// RFC 2449 §5
TEST_F(MachineTest, CapaInBothStates) {
  const std::string common = "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\n";
  EXPECT_EQ(Say("CAPA"), common + "STLS\r\nUSER\r\nSASL PLAIN LOGIN\r\nIMPLEMENTATION Posthouse\r\n.\r\n");
  LogIn();
  EXPECT_EQ(Say("CAPA"), common + "USER\r\nSASL PLAIN LOGIN\r\nIMPLEMENTATION Posthouse\r\n.\r\n");
}

TEST_F(MachineTest, TooManyBadCommandsInARowClose) {
  for (int i = 0; i < 19; ++i) EXPECT_EQ(Say("GET / HTTP/1.1"), "-ERR unknown command\r\n");
  EXPECT_EQ(Say("USER u").substr(0, 3), "+OK");
  for (int i = 0; i < 19; ++i) EXPECT_EQ(Show(machine_.OnLineTooLong()), "-ERR line too long\r\n");
  EXPECT_EQ(Say(""), "close -ERR too many bad commands\r\n");
}

TEST_F(MachineTest, LineLimits) {
  EXPECT_EQ(machine_.MaxLine(), 12288u);
  LogIn();
  EXPECT_EQ(machine_.MaxLine(), 255u);
}

}  // namespace
}  // namespace posthouse::gateway::pop3
