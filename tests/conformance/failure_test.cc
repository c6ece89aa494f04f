// What mail clients see while calls to the mailbox fail; and sessions that are too large for a transcript.
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/gateway/testing/transcript.h"
#include "tests/conformance/mail_host.h"

namespace posthouse::conformance {
namespace {

using gateway::LineMatches;
using gateway::Transcript;

constexpr char kMessage[] = "From: ann@a.example\r\nSubject: Hello\r\nTo: joe@a.example\r\n\r\nBody line\r\n";

class ImapTest : public testing::Test {
 protected:
  std::unique_ptr<Transcript> LogIn() {
    auto client = std::make_unique<Transcript>(host().gateway().imap_port());
    client->Play("S: * OK *\nC: l LOGIN joe@a.example secret\nS: l OK *");
    return client;
  }
  std::unique_ptr<Transcript> Select() {
    auto client = LogIn();
    host().SeenByAnother("INBOX");
    client->Send("s SELECT INBOX\r\n");
    client->SkipTo("s OK");
    return client;
  }
  MailHost& host() {
    if (host_ == nullptr) host_ = std::make_unique<MailHost>(settings_);
    return *host_;
  }
  void Fail(FailingCalls::Rule rule) { host().failing_calls().Fail(std::move(rule)); }

  config::v1::Gateway settings_;

 private:
  std::unique_ptr<MailHost> host_;
};

// ---- FETCH

TEST_F(ImapTest, LargeBodiesArriveWhole) {
  std::string body = "Subject: big\r\n\r\n";
  for (int i = 0; i < 40000; ++i) absl::StrAppend(&body, "line ", i, "\r\n");
  host().Deliver("INBOX", body);
  host().Deliver("INBOX", kMessage);
  auto client = Select();
  client->Play("C: a UID FETCH 1:2 (BODY.PEEK[])");
  ASSERT_EQ(client->Line(), absl::StrCat("* 1 FETCH (UID 1 BODY[] {", body.size(), "}"));
  EXPECT_EQ(client->Bytes(body.size()), body);
  client->Play("S: )\nS: * 2 FETCH (UID 2 BODY[] {69}");
  EXPECT_EQ(client->Bytes(69), kMessage);
  client->Play("S: )\nS: a OK *");
}

TEST_F(ImapTest, ManyRowsArriveInOrder) {
  for (int i = 0; i < 1000; ++i) host().Deliver("INBOX", "x");
  auto client = Select();
  client->Send("a FETCH 1:* FLAGS\r\n");
  for (int i = 1; i <= 1000; ++i) ASSERT_EQ(client->Line(), absl::StrCat("* ", i, " FETCH (FLAGS ())"));
  client->Play("S: a OK *");
}

// A literal that was begun cannot be taken back: the connection ends.
TEST_F(ImapTest, AFetchThatBreaksInsideALiteralClosesTheConnection) {
  const std::string body(3000000, 'x');
  host().Deliver("INBOX", body);
  auto client = Select();
  Fail({.method = "Fetch", .messages = 3});
  client->Play("C: a FETCH 1 BODY.PEEK[]\nS: * 1 FETCH (BODY[] {3000000}");
  const std::string got = client->Bytes(body.size());
  EXPECT_GT(got.size(), 0u);
  EXPECT_LT(got.size(), body.size());
  EXPECT_TRUE(client->Closed());
}

TEST_F(ImapTest, AFetchThatFailsBetweenMessagesIsANo) {
  host().Deliver("INBOX", kMessage);
  auto client = Select();
  Fail({.method = "Fetch"});
  client->Play("C: a FETCH 1 FLAGS\nS: a NO [UNAVAILABLE] *\nC: b NOOP\nS: b OK *");
}

TEST_F(ImapTest, ADamagedBodyFailsForItsMessageAndNotForTheRest) {
  host().Deliver("INBOX", kMessage);
  host().LoseBodies();
  host().Deliver("INBOX", kMessage);
  auto client = Select();
  client->Play("C: a FETCH 1:2 (UID BODY.PEEK[TEXT])\nS: * 2 FETCH (UID 2 BODY[TEXT] {11}\nS: Body line\nS: )");
  client->Play("S: a NO [CORRUPTION] *UID 1 *\nC: b FETCH 1 RFC822.SIZE\nS: * 1 FETCH (RFC822.SIZE 69)\nS: b OK *");
  client->Play("C: c SEARCH BODY line\nS: * SEARCH 2\nS: c OK *");
}

// ---- APPEND

TEST_F(ImapTest, LargeMessagesAreStoredWhole) {
  std::string message = "Subject: x\r\n\r\n";
  while (message.size() < 3000000) message += "0123456789abcdef0123456789abcdef\r\n";
  auto client = Select();
  client->Send(absl::StrCat("a APPEND INBOX {", message.size(), "+}\r\n", message, "\r\nb NOOP\r\n"));
  client->Play("S: * 1 EXISTS\nS: * 1 RECENT\nS: a OK [APPENDUID * 1] *\nS: b OK *\nC: c FETCH 1 BODY.PEEK[]");
  ASSERT_EQ(client->Line(), absl::StrCat("* 1 FETCH (BODY[] {", message.size(), "}"));
  EXPECT_TRUE(client->Bytes(message.size()) == message);
  client->Play("S: )\nS: c OK *");
}

TEST_F(ImapTest, AnAppendThatFailsStoresNothingAndKeepsTheConnection) {
  auto client = LogIn();
  Fail({.method = "Append", .code = grpc::StatusCode::RESOURCE_EXHAUSTED});
  client->Play("C: a APPEND INBOX {5+}\nC: hello\nS: a NO [OVERQUOTA] *");
  Fail({.method = "Append", .times = 4});  // it is tried again
  client->Play("C: b APPEND INBOX {5+}\nC: hello\nS: b NO [UNAVAILABLE] *");
  // A message that fails half way is still read to its end.
  Fail({.method = "Append", .code = grpc::StatusCode::RESOURCE_EXHAUSTED, .messages = 2});
  const std::string message(2000000, 'm');
  client->Send(absl::StrCat("c APPEND INBOX {", message.size(), "+}\r\n", message, "\r\n"));
  client->Play(R"(
    S: c NO [OVERQUOTA] *
    C: d STATUS INBOX (MESSAGES)
    S: * STATUS "INBOX" (MESSAGES 0)
    S: d OK *
  )");
}

// The message is asked for again, or by its operation id, and is there once.
TEST_F(ImapTest, AnAppendWhoseAnswerIsLostIsStoredOnce) {
  auto client = LogIn();
  uint32_t uid = 0;
  for (const size_t size : {size_t{5}, size_t{500000}, size_t{2000000}}) {
    ++uid;
    Fail({.method = "Append", .answer_lost = true});
    client->Send(absl::StrCat("a APPEND INBOX {", size, "+}\r\n", std::string(size, 'm'), "\r\n"));
    client->Play(absl::StrCat("S: a OK [APPENDUID * ", uid,
                              "] *\nC: b STATUS INBOX (MESSAGES)\nS: * STATUS \"INBOX\" (MESSAGES ", uid,
                              ")\nS: b OK *"));
  }
  // All answers are lost: the client must ask itself.
  Fail({.method = "Append", .times = 4, .answer_lost = true});
  client->Play("C: c APPEND INBOX {5+}\nC: hello\nS: c NO [UNAVAILABLE] *\nC: d STATUS INBOX (MESSAGES)");
  client->Play("S: * STATUS \"INBOX\" (MESSAGES 4)\nS: d OK *");
}

// ---- no space left

// docs/architecture.md, "Errors at the edge": what adds no mail is unavailable for now, not over quota, and nobody is
// told of too many keywords.
TEST_F(ImapTest, OnAFullStoreCommandsThatAddNoMailAreUnavailable) {
  host().Deliver("INBOX", kMessage);
  auto client = Select();
  const auto fail = [this](const char* method, grpc::StatusCode code) { Fail({.method = method, .code = code}); };
  fail("StoreFlags", grpc::StatusCode::RESOURCE_EXHAUSTED);
  client->Play("C: a STORE 1 +FLAGS (\\Answered)\nS: a NO [UNAVAILABLE] *");
  fail("CreateFolder", grpc::StatusCode::RESOURCE_EXHAUSTED);
  client->Play("C: b CREATE New\nS: b NO [UNAVAILABLE] *");
  fail("Subscribe", grpc::StatusCode::RESOURCE_EXHAUSTED);
  client->Play("C: c SUBSCRIBE Sent\nS: c NO [UNAVAILABLE] *");
  fail("RenameFolder", grpc::StatusCode::RESOURCE_EXHAUSTED);
  client->Play("C: d RENAME Sent Old\nS: d NO [UNAVAILABLE] *");
  // The account may have no further folder.
  fail("CreateFolder", grpc::StatusCode::OUT_OF_RANGE);
  client->Play("C: e CREATE New\nS: e NO [LIMIT] *");
}

// ---- changes of others

TEST_F(ImapTest, AChangeThatCannotBeReadNowIsToldLater) {
  auto client = Select();
  host().Deliver("INBOX", kMessage);
  // The hint and NOOP itself may each read once.
  Fail({.method = "GetChanges", .times = 1});
  client->Play("C: a NOOP\nS: a OK *\nC: b CAPABILITY\nS: * CAPA*\nS: * 1 EXISTS\nS: * 1 RECENT\nS: b OK *");
  Fail({.method = "ListFolders", .code = grpc::StatusCode::DEADLINE_EXCEEDED});
  client->Play("C: c LIST \"\" *\nS: c NO [UNAVAILABLE] *");
}

TEST_F(ImapTest, ALostHintCostsOnePollInterval) {
  settings_.mutable_poll_interval()->set_nanos(20000000);
  Fail({.method = "Watch", .times = 1000000});
  auto client = Select();
  client->Play("C: a IDLE\nS: + idling");
  host().Deliver("INBOX", kMessage);
  client->Play("S: * 1 EXISTS\nS: * 1 RECENT\nC: DONE\nS: a OK *");
}

// The first stream ends after its heartbeat, and so before it can bring a hint.
TEST_F(ImapTest, ABrokenHintStreamIsReopenedAndNothingIsMissed) {
  settings_.mutable_poll_interval()->set_seconds(3600);
  Fail({.method = "Watch", .messages = 1, .times = 3});
  auto client = Select();
  client->Play("C: a IDLE\nS: + idling");
  host().Deliver("INBOX", kMessage);
  client->Play("S: * 1 EXISTS\nS: * 1 RECENT\nC: DONE\nS: a OK *");
}

TEST_F(ImapTest, DrainingSaysBye) {
  auto idling = Select();
  idling->Play("C: a IDLE\nS: + idling");
  auto waiting = LogIn();
  host().gateway().Drain(absl::Seconds(20));
  idling->Play("S: a OK *\nS: * BYE Server is shutting down\nS: <closed>");
  waiting->Play("S: * BYE Server is shutting down\nS: <closed>");
}

// ---- POP3

class Pop3Test : public testing::Test {
 protected:
  std::unique_ptr<Transcript> LogIn(absl::string_view answer = "+OK *") {
    auto client = std::make_unique<Transcript>(host_.gateway().pop3_port());
    client->Play(absl::StrCat("S: +OK *\nC: USER joe@a.example\nS: +OK *\nC: PASS secret\nS: ", answer));
    return client;
  }
  // Up to the line that is a dot, without it.
  static std::string Lines(Transcript& client) {
    std::string all;
    for (std::string line = client.Line(); line != "." && line != "<nothing>"; line = client.Line()) {
      absl::StrAppend(&all, line, "\n");
      if (line == "<closed>") break;
    }
    return all;
  }
  MailHost host_;
};

// The code is of RFC 3206 §4.
TEST_F(Pop3Test, DrainingSaysTemporaryFailure) {
  auto waiting = LogIn();
  Transcript before_login(host_.gateway().pop3_port());
  before_login.Play("S: +OK *");
  host_.gateway().Drain(absl::Seconds(20));
  waiting->Play("S: -ERR [SYS/TEMP] *\nS: <closed>");
  before_login.Play("S: -ERR [SYS/TEMP] *\nS: <closed>");
}

// RFC 1939 §6
TEST_F(Pop3Test, QuitSaysWhetherTheDeletionIsDurable) {
  host_.Deliver("INBOX", kMessage);
  host_.failing_calls().Fail({.method = "Expunge"});
  LogIn()->Play("C: DELE 1\nS: +OK *\nC: QUIT\nS: -ERR [SYS/TEMP] *\nS: <closed>");
  LogIn("+OK 1 messages");
}

TEST_F(Pop3Test, ADamagedMessageIsAnErrorThatStays) {
  host_.Deliver("INBOX", kMessage);
  host_.LoseBodies();
  LogIn()->Play("C: RETR 1\nS: -ERR [SYS/PERM] *\nC: NOOP\nS: +OK*");
}

// RFC 1939 §6: only QUIT deletes.
TEST_F(Pop3Test, NothingIsDeletedWithoutQuit) {
  host_.Deliver("INBOX", kMessage);
  LogIn()->Play("C: DELE 1\nS: +OK *");
  // The first session has ended when its lock is free again.
  Transcript client(host_.gateway().pop3_port());
  client.Play("S: +OK *");
  std::string line;
  for (int tries = 0; tries < 10000 && !absl::StartsWith(line, "+OK"); ++tries) {
    client.Play("C: USER joe@a.example\nS: +OK *\nC: PASS secret");
    line = client.Line();
  }
  EXPECT_EQ(line, "+OK 1 messages");
}

// The client must not take a part for the whole.
TEST_F(Pop3Test, ABodyCutShortHasNoTerminator) {
  host_.Deliver("INBOX", "A: c\r\n\r\n" + std::string(3000000, 'x'));
  auto client = LogIn();
  host_.failing_calls().Fail({.method = "Fetch", .messages = 3});
  client->Play("C: RETR 1\nS: +OK 3000008 octets");
  const std::string got = Lines(*client);
  EXPECT_TRUE(absl::EndsWith(got, "<closed>\n")) << got.substr(0, 100);
  EXPECT_LT(got.size(), 3000000u);
}

TEST_F(Pop3Test, LongListsArriveWhole) {
  for (int i = 0; i < 1000; ++i) host_.Deliver("INBOX", "x");
  auto client = LogIn("+OK 1000 messages");
  client->Play("C: UIDL\nS: +OK 1000 messages");
  const std::string all = Lines(*client);
  EXPECT_TRUE(absl::EndsWith(all, ".1000\n")) << all.substr(all.size() - 100);
}

}  // namespace
}  // namespace posthouse::conformance
