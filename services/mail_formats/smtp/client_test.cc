#include "services/mail_formats/smtp/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/async/task.h"
#include "services/mail_formats/smtp/client_commands.h"
#include "services/mail_formats/smtp/testing/scripted_server.h"

namespace posthouse::smtp {
namespace {

using Kind = Outcome::Kind;
using testing::ElementsAre;
using testing::IsEmpty;

// "accepted MAIL 250", "temporary RCPT 450 4.2.1 (ours)", "connection end-of-data maybe"
std::string Text(const Outcome& o) {
  static constexpr const char* kKinds[] = {"accepted", "temporary", "permanent", "connection"};
  std::string out = absl::StrCat(kKinds[static_cast<int>(o.kind)], " ", ClientStepName(o.step));
  if (o.reply.code != 0) absl::StrAppend(&out, " ", o.reply.code);
  if (!o.reply.enhanced.empty()) absl::StrAppend(&out, " ", o.reply.enhanced);
  if (o.ours) out += " (ours)";
  if (o.maybe_accepted) out += " maybe";
  return out;
}

std::vector<std::string> Texts(const SendResult& result) {
  std::vector<std::string> out;
  for (const Outcome& o : result.recipients) out.push_back(Text(o));
  return out;
}

ClientMessage Message(std::vector<std::string> recipients,
                      std::vector<std::string> pieces = {"Subject: x\r\n\r\nbody\r\n"}) {
  ClientMessage message;
  message.reverse_path = "s@client.example";
  for (std::string& r : recipients) message.recipients.push_back({std::move(r), {}});
  auto left = std::make_shared<std::vector<std::string>>(pieces.rbegin(), pieces.rend());
  message.next = [left]() -> Task<absl::StatusOr<absl::Cord>> {
    if (left->empty()) co_return absl::Cord();
    absl::Cord piece(left->back());
    left->pop_back();
    co_return piece;
  };
  return message;
}

class ClientTest : public testing::Test {
 public:
  ~ClientTest() override {
    server_.reset();
    loops_.Stop();
  }
  void Script(std::vector<std::string> script) {
    server_ = std::make_unique<ScriptedServer>(loops_, std::move(script), tls_server_);
  }
  // The usual beginning, with these extensions.
  static std::vector<std::string> After(std::vector<std::string> extensions, std::vector<std::string> rest) {
    std::vector<std::string> script = {"S 220 mx.example ESMTP", "C EHLO client.example"};
    std::string ehlo = "S 250-mx.example hello";
    for (const std::string& e : extensions) absl::StrAppend(&ehlo, "\r\n250-", e);
    script.push_back(ehlo + "\r\n250 HELP");
    script.insert(script.end(), rest.begin(), rest.end());
    return script;
  }

  // Opens a session and runs `part` with it, on the loop.
  template <typename Part>
  void Session(Part part) {
    SyncWait(Play(std::move(part)));
  }
  template <typename Part>
  Task<void> Play(Part part) {
    co_await SwitchTo(loops_.at(0));
    auto connection = co_await net::Connect(loops_.at(0), {"127.0.0.1", server_->port()}, "", absl::Seconds(10));
    EXPECT_TRUE(connection.ok());
    OpenResult opened = co_await Client::Open(*std::move(connection), options_);
    co_await part(std::move(opened));
  }
  // One message in one session, then QUIT if still usable.
  std::vector<std::string> SendOne(ClientMessage message) {
    std::vector<std::string> texts;
    Session([&](OpenResult opened) -> Task<void> {
      if (opened.client == nullptr) {
        texts.push_back("open: " + Text(opened.outcome));
        co_return;
      }
      SendResult result = co_await opened.client->Send(std::move(message));
      texts = Texts(result);
      if (opened.client->usable()) co_await opened.client->Quit();
    });
    server_->WaitForEnd();
    return texts;
  }

  void UseTls() {
    const std::string dir = testing::TempDir();
    const net::CertificateFiles files{dir + "/client_test.crt", dir + "/client_test.key"};
    ASSERT_TRUE(net::WriteSelfSigned(files, {"mx.example"}, 10).ok());
    tls_server_ = *net::TlsServerContext::Create({files});
    options_.tls_context = *net::TlsClientContext::Create(net::VerifyPeer::kNone, "");
    options_.server_name = "mx.example";
  }

  net::EventLoops loops_{1};
  ClientOptions options_ = [] {
    ClientOptions options;
    options.helo_name = "client.example";
    return options;
  }();
  std::shared_ptr<net::TlsServerContext> tls_server_;
  std::unique_ptr<ScriptedServer> server_;
};

// RFC 5321 §3.3, without extensions: one command, one reply.
TEST_F(ClientTest, PlainTransactionInLockstep) {
  Script(After({}, {"C MAIL FROM:<s@client.example>", "S 250 ok", "C RCPT TO:<a@mx.example>", "S 250 ok", "C DATA",
                    "S 354 go", "D", "S 250 2.0.0 taken as 123", "C QUIT", "S 221 bye"}));
  EXPECT_THAT(SendOne(Message({"a@mx.example"}, {"Subject: x\r\n", "\r\n.dot\r\n..\r\nlast"})),
              ElementsAre("accepted end of data 250 2.0.0"));
  EXPECT_THAT(server_->problems(), IsEmpty());
  EXPECT_EQ(server_->data(), "Subject: x\r\n\r\n.dot\r\n..\r\nlast\r\n");
}

// RFC 2920: the group arrives before any of its replies was sent.
TEST_F(ClientTest, PipelinesTheEnvelope) {
  Script(After(
      {"PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"},
      {"C MAIL FROM:<s@client.example> SIZE=22 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb",
       "C RCPT TO:<a@mx.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2B1@x.example", "C RCPT TO:<пример@mx.example>",
       "C DATA", "S 250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 no such mailbox\r\n354 go", "D", "S 250 2.0.0 ok",
       "C QUIT", "S 221 bye"}));
  ClientMessage message = Message({"a@mx.example", "пример@mx.example"});
  message.parameters.size = 22;
  message.parameters.body = Body::kEightBitMime;
  message.parameters.smtputf8 = true;
  message.parameters.ret = Ret::kHeaders;
  message.parameters.envid = "a+b";
  message.recipients[0].parameters.notify = {.success = true, .delay = true};
  message.recipients[0].parameters.orcpt = Orcpt::FromString("rfc822;a+1@x.example");
  EXPECT_THAT(SendOne(std::move(message)), ElementsAre("accepted end of data 250 2.0.0", "permanent RCPT 550 5.1.1"));
  EXPECT_THAT(server_->problems(), IsEmpty());
}

TEST_F(ClientTest, ManyRecipientsGoInGroups) {
  std::vector<std::string> rest = {"C MAIL FROM:<s@client.example>"};
  std::vector<std::string> recipients;
  std::string replies = "S 250 ok";
  for (int i = 0; i < 250; ++i) {
    recipients.push_back(absl::StrCat("r", i, "@mx.example"));
    rest.push_back(absl::StrCat("C RCPT TO:<", recipients.back(), ">"));
    absl::StrAppend(&replies, i % 100 == 0 && i > 0 ? "S " : "\r\n", i == 7 ? "452 4.5.3 too many" : "250 ok");
    if (i % 100 == 99) {
      rest.push_back(std::exchange(replies, ""));
    }
  }
  rest.push_back("C DATA");
  for (const char* step : {"", "S 354 go", "D", "S 250 ok", "C QUIT", "S 221 bye"})
    rest.push_back(*step ? step : replies);
  Script(After({"PIPELINING"}, rest));
  const std::vector<std::string> texts = SendOne(Message(recipients));
  EXPECT_THAT(server_->problems(), IsEmpty());
  ASSERT_EQ(texts.size(), 250u);
  EXPECT_EQ(texts[7], "temporary RCPT 452 4.5.3");
  EXPECT_EQ(texts[6], "accepted end of data 250");
  EXPECT_EQ(texts[249], "accepted end of data 250");
}

// RFC 5321 §3.2
TEST_F(ClientTest, FallsBackToHelo) {
  Script({"S 220 old", "C EHLO client.example", "S 500 what?", "C HELO client.example", "S 250 hi",
          "C MAIL FROM:<s@client.example>", "S 250 ok", "C RCPT TO:<a@mx.example>", "S 250 ok", "C DATA", "S 354 go",
          "D", "S 250 ok", "C QUIT", "S 221 bye"});
  ClientMessage message = Message({"a@mx.example"});
  message.parameters.size = 10;
  EXPECT_THAT(SendOne(std::move(message)), ElementsAre("accepted end of data 250"));
  EXPECT_THAT(server_->problems(), IsEmpty());
}

TEST_F(ClientTest, OneConnectionCarriesSeveralMessages) {
  const std::vector<std::string> one = {"C MAIL FROM:<s@client.example>",
                                        "C RCPT TO:<a@mx.example>",
                                        "C DATA",
                                        "S 250 ok\r\n250 ok\r\n354 go",
                                        "D",
                                        "S 250 ok"};
  std::vector<std::string> rest = one;
  rest.insert(rest.end(), {"C RSET", "S 250 ok"});
  rest.insert(rest.end(), one.begin(), one.end());
  rest.insert(rest.end(), {"C QUIT", "S 221 bye"});
  Script(After({"PIPELINING"}, rest));
  Session([](OpenResult opened) -> Task<void> {
    SendResult first = co_await opened.client->Send(Message({"a@mx.example"}));
    EXPECT_THAT(Texts(first), ElementsAre("accepted end of data 250"));
    Outcome reset = co_await opened.client->Reset();
    EXPECT_EQ(Text(reset), "accepted RSET 250");
    SendResult second = co_await opened.client->Send(Message({"a@mx.example"}));
    EXPECT_THAT(Texts(second), ElementsAre("accepted end of data 250"));
    EXPECT_EQ(opened.client->messages_sent(), 2u);
    co_await opened.client->Quit();
  });
  server_->WaitForEnd();
  EXPECT_THAT(server_->problems(), IsEmpty());
}

struct EndCase {
  const char* name;
  std::vector<std::string> extensions;
  std::vector<std::string> rest;
  std::vector<std::string> outcomes;  // of a@ and b@
};

class Endings : public ClientTest, public testing::WithParamInterface<EndCase> {};

// Every way a transaction can end is data.
TEST_P(Endings, AreTold) {
  Script(After(GetParam().extensions, GetParam().rest));
  EXPECT_EQ(SendOne(Message({"a@mx.example", "b@mx.example"})), GetParam().outcomes);
  EXPECT_THAT(server_->problems(), IsEmpty());
}

constexpr char kMail[] = "C MAIL FROM:<s@client.example>";
constexpr char kA[] = "C RCPT TO:<a@mx.example>";
constexpr char kB[] = "C RCPT TO:<b@mx.example>";

INSTANTIATE_TEST_SUITE_P(
    Lockstep, Endings,
    testing::Values(
        EndCase{"mail refused",
                {},
                {kMail, "S 550 5.7.1 no", "C QUIT", "S 221 bye"},
                {"permanent MAIL 550 5.7.1", "permanent MAIL 550 5.7.1"}},
        EndCase{"mail deferred",
                {},
                {kMail, "S 451 4.7.1 later", "C QUIT", "S 221 bye"},
                {"temporary MAIL 451 4.7.1", "temporary MAIL 451 4.7.1"}},
        EndCase{"closing at mail", {}, {kMail, "S 421 bye", "W"}, {"temporary MAIL 421", "temporary MAIL 421"}},
        EndCase{"dropped at mail", {}, {kMail, "X"}, {"connection MAIL", "connection MAIL"}},
        EndCase{"nobody accepted",
                {},
                {kMail, "S 250 ok", kA, "S 550 no", kB, "S 450 later", "C RSET", "S 250 ok", "C QUIT", "S 221 bye"},
                {"permanent RCPT 550", "temporary RCPT 450"}},
        EndCase{"dropped at the second rcpt",
                {},
                {kMail, "S 250 ok", kA, "S 550 no", kB, "X"},
                {"permanent RCPT 550", "connection RCPT"}},
        EndCase{"dropped with one accepted",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "X"},
                {"connection RCPT", "connection RCPT"}},
        EndCase{"old too many",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "S 552 too many", "C DATA", "S 354 go", "D", "S 250 ok",
                 "C QUIT", "S 221 bye"},
                {"accepted end of data 250", "temporary RCPT 552"}},
        EndCase{"data refused",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "S 550 no", "C DATA", "S 554 no", "C RSET", "S 250 ok",
                 "C QUIT", "S 221 bye"},
                {"permanent DATA 554", "permanent RCPT 550"}},
        EndCase{"250 to data is out of step",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "S 250 ok", "C DATA", "S 250 what", "W"},
                {"temporary DATA 250", "temporary DATA 250"}},
        EndCase{"message refused",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "S 250 ok", "C DATA", "S 354 go", "D", "S 554 5.7.1 spam",
                 "C QUIT", "S 221 bye"},
                {"permanent end of data 554 5.7.1", "permanent end of data 554 5.7.1"}},
        EndCase{"message deferred",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "S 250 ok", "C DATA", "S 354 go", "D", "S 452 full", "C QUIT",
                 "S 221 bye"},
                {"temporary end of data 452", "temporary end of data 452"}},
        // RFC 5321 §4.5.3.2.6: now nobody knows.
        EndCase{"dropped after the dot",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "S 550 no", "C DATA", "S 354 go", "D", "X"},
                {"connection end of data maybe", "permanent RCPT 550"}},
        EndCase{"half a code after the dot",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "S 550 no", "C DATA", "S 354 go", "D", "s 250", "X"},
                {"connection end of data maybe", "permanent RCPT 550"}},
        // The code says who has the message; to send it again would double it.
        EndCase{"a code without an end after the dot",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "S 550 no", "C DATA", "S 354 go", "D", "s 250-o", "X"},
                {"accepted end of data 250", "permanent RCPT 550"}},
        EndCase{"a refusal without an end after the dot",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "S 250 ok", "C DATA", "S 354 go", "D", "s 554 5.7.1 sp", "X"},
                {"permanent end of data 554 5.7.1", "permanent end of data 554 5.7.1"}},
        EndCase{"an endless yes after the dot",
                {},
                {kMail, "S 250 ok", kA, "S 250 ok", kB, "S 250 ok", "C DATA", "S 354 go", "D",
                 "s 250 " + std::string(1100000, 'x'), "W"},
                {"accepted end of data 250", "accepted end of data 250"}},
        EndCase{"long replies",
                {},
                {kMail, "S 250 " + std::string(10000, 'x'), kA, "S 250 " + std::string(10000, 'x'), kB,
                 "S 550 5.1.1 " + std::string(10000, 'x'), "C DATA", "S 354 " + std::string(10000, 'x'), "D",
                 "S 250 2.0.0 " + std::string(10000, 'x'), "C QUIT", "S 221 bye"},
                {"accepted end of data 250 2.0.0", "permanent RCPT 550 5.1.1"}},
        EndCase{"not a reply", {}, {kMail, "S hello there", "W"}, {"connection MAIL", "connection MAIL"}},
        EndCase{"endless reply",
                {},
                {kMail, "s 250-" + std::string(1100000, 'x'), "W"},
                {"connection MAIL", "connection MAIL"}}));

INSTANTIATE_TEST_SUITE_P(Pipelined, Endings,
                         testing::Values(EndCase{"mail refused",
                                                 {"PIPELINING"},
                                                 {kMail, kA, kB, "C DATA",
                                                  "S 550 5.7.1 no\r\n503 no\r\n503 no\r\n503 no", "C QUIT",
                                                  "S 221 bye"},
                                                 {"permanent MAIL 550 5.7.1", "permanent MAIL 550 5.7.1"}},
                                         EndCase{"all refused",
                                                 {"PIPELINING"},
                                                 {kMail, kA, kB, "C DATA", "S 250 ok\r\n550 no\r\n450 no\r\n554 no",
                                                  "C RSET", "S 250 ok", "C QUIT", "S 221 bye"},
                                                 {"permanent RCPT 550", "temporary RCPT 450"}},
                                         // RFC 2920 §3.1
                                         EndCase{"all refused and yet 354",
                                                 {"PIPELINING"},
                                                 {kMail, kA, kB, "C DATA", "S 250 ok\r\n550 no\r\n450 no\r\n354 go",
                                                  "C .", "S 554 nobody", "C QUIT", "S 221 bye"},
                                                 {"permanent RCPT 550", "temporary RCPT 450"}},
                                         EndCase{"data deferred",
                                                 {"PIPELINING"},
                                                 {kMail, kA, kB, "C DATA", "S 250 ok\r\n250 ok\r\n550 no\r\n451 later",
                                                  "C RSET", "S 250 ok", "C QUIT", "S 221 bye"},
                                                 {"temporary DATA 451", "permanent RCPT 550"}},
                                         EndCase{"closing in the middle",
                                                 {"PIPELINING"},
                                                 {kMail, kA, kB, "C DATA", "S 250 ok\r\n250 ok\r\n421 bye", "W"},
                                                 {"temporary RCPT 421", "temporary RCPT 421"}},
                                         EndCase{"dropped in the middle",
                                                 {"PIPELINING"},
                                                 {kMail, kA, kB, "C DATA", "S 250 ok\r\n250 ok", "X"},
                                                 {"connection RCPT", "connection RCPT"}}));

struct OpenCase {
  std::vector<std::string> script;
  std::string outcome;
};

TEST_F(ClientTest, OpeningFailsInItsOwnWays) {
  const std::vector<OpenCase> cases = {
      {{"X"}, "open: connection greeting"},
      {{"S 554 5.3.2 go away", "C QUIT"}, "open: permanent greeting 554 5.3.2"},
      {{"S 421 4.3.2 busy", "C QUIT"}, "open: temporary greeting 421 4.3.2"},
      {{"S SSH-2.0-x", "W"}, "open: connection greeting"},
      {{"S 220 hi", "C EHLO client.example", "X"}, "open: connection EHLO"},
      {{"S 220 hi", "C EHLO client.example", "S 500 no", "C HELO client.example", "S 550 no", "C QUIT"},
       "open: permanent EHLO 550"},
      {{"S 220 hi", "C EHLO client.example", "S 451 4.7.1 later", "C QUIT"}, "open: temporary EHLO 451 4.7.1"},
  };
  for (const OpenCase& c : cases) {
    server_.reset();
    Script(c.script);
    EXPECT_THAT(SendOne(Message({"a@mx.example"})), ElementsAre(c.outcome));
    EXPECT_THAT(server_->problems(), IsEmpty()) << c.outcome;
  }
}

// Greetings and EHLO replies of any length that a host may write.
TEST_F(ClientTest, LongGreetingsAndEhloRepliesAreRead) {
  std::string ehlo = "S 250-mx.example\r\n250-SIZE 5000\r\n";
  for (int i = 0; i < 200; ++i) absl::StrAppend(&ehlo, "250-X-", i, " ", std::string(300, 'x'), "\r\n");
  Script({"S 220 " + std::string(10000, 'x'), "C EHLO client.example", ehlo + "250 HELP", kMail, "S 250 ok", kA,
          "S 250 ok", "C DATA", "S 354 go", "D", "S 250 ok", "C QUIT", "S 221 bye"});
  EXPECT_THAT(SendOne(Message({"a@mx.example"})), ElementsAre("accepted end of data 250"));
  EXPECT_THAT(server_->problems(), IsEmpty());
}

TEST_F(ClientTest, ASilentServerTimesOut) {
  options_.timeouts = ClientTimeouts().CappedAt(absl::Milliseconds(50));
  Script({"W"});
  Session([](OpenResult opened) -> Task<void> {
    EXPECT_EQ(opened.client, nullptr);
    EXPECT_EQ(opened.outcome.error.code(), absl::StatusCode::kDeadlineExceeded);
    co_return;
  });
}

// ---- what a server can never take

TEST_F(ClientTest, LimitsOfTheServerAreKept) {
  struct Case {
    std::vector<std::string> extensions;
    void (*change)(ClientMessage&);
    std::string outcome;
  };
  const std::vector<Case> cases = {
      {{"SIZE 1000"}, [](ClientMessage& m) { m.parameters.size = 1001; }, "permanent MAIL 552 5.3.4 (ours)"},
      {{}, [](ClientMessage& m) { m.parameters.smtputf8 = true; }, "permanent MAIL 550 5.6.7 (ours)"},
      {{}, [](ClientMessage& m) { m.recipients[0].address = "пример@mx.example"; }, "permanent RCPT 550 5.6.7 (ours)"},
      {{}, [](ClientMessage& m) { m.parameters.body = Body::kBinaryMime; }, "permanent MAIL 554 5.6.1 (ours)"},
      {{}, [](ClientMessage& m) { m.reverse_path = "a@b>\r\nRSET"; }, "permanent MAIL 553 5.1.7 (ours)"},
  };
  for (const Case& c : cases) {
    server_.reset();
    Script(After(c.extensions, {"C QUIT", "S 221 bye"}));
    ClientMessage message = Message({"a@mx.example"});
    c.change(message);
    EXPECT_THAT(SendOne(std::move(message)), ElementsAre(c.outcome));
    EXPECT_THAT(server_->problems(), IsEmpty());
  }
}

TEST_F(ClientTest, ABadAddressHarmsOnlyItself) {
  Script(After({"PIPELINING"},
               {kMail, kB, "C DATA", "S 250 ok\r\n250 ok\r\n354 go", "D", "S 250 ok", "C QUIT", "S 221 bye"}));
  EXPECT_THAT(SendOne(Message({"a@mx.example>\r\nRCPT TO:<x@mx.example", "b@mx.example"})),
              ElementsAre("permanent RCPT 553 5.1.3 (ours)", "accepted end of data 250"));
  EXPECT_THAT(server_->problems(), IsEmpty());
}

// RFC 6531 §3.2: who needs SMTPUTF8 does not take those beside him along.
TEST_F(ClientTest, AnInternationalRecipientHarmsOnlyItself) {
  Script(After({"PIPELINING"},
               {kMail, kB, "C DATA", "S 250 ok\r\n250 ok\r\n354 go", "D", "S 250 ok", "C QUIT", "S 221 bye"}));
  EXPECT_THAT(SendOne(Message({"пример@mx.example", "b@mx.example"})),
              ElementsAre("permanent RCPT 550 5.6.7 (ours)", "accepted end of data 250"));
  EXPECT_THAT(server_->problems(), IsEmpty());
}

// A parameter that only reports need is written in xtext or left out; no message fails for it.
TEST_F(ClientTest, OddDsnParametersDoNotFailAMessage) {
  Script(After({"PIPELINING", "DSN"},
               {absl::StrCat(kMail, " ENVID=a+09b"), absl::StrCat(kA, " ORCPT=rfc822;a+09+7F@x.example"), kB, "C DATA",
                "S 250 ok\r\n250 ok\r\n250 ok\r\n354 go", "D", "S 250 ok", "C QUIT", "S 221 bye"}));
  ClientMessage message = Message({"a@mx.example", "b@mx.example"});
  message.parameters.envid = "a\tb";
  message.recipients[0].parameters.orcpt = Orcpt::FromString("rfc822;a\t\x7f@x.example");
  message.recipients[1].parameters.orcpt =
      Orcpt::FromString("utf-8;п@x.example");  // not without SMTPUTF8 (RFC 6533 §3)
  EXPECT_THAT(SendOne(std::move(message)), ElementsAre("accepted end of data 250", "accepted end of data 250"));
  EXPECT_THAT(server_->problems(), IsEmpty());
}

// ---- the message

TEST_F(ClientTest, ALargeMessageStreams) {
  Script(After({"PIPELINING"},
               {kMail, kA, "C DATA", "S 250 ok\r\n250 ok\r\n354 go", "D", "S 250 ok", "C QUIT", "S 221 bye"}));
  std::vector<std::string> pieces;
  std::string whole;
  for (int i = 0; i < 200; ++i) {
    std::string piece;
    while (piece.size() < 50000) absl::StrAppend(&piece, ".line ", i, " ", piece.size(), "\r\n");
    whole += piece;
    pieces.push_back(std::move(piece));
  }
  EXPECT_THAT(SendOne(Message({"a@mx.example"}, pieces)), ElementsAre("accepted end of data 250"));
  EXPECT_TRUE(server_->data() == whole);
}

TEST_F(ClientTest, AMessageThatCannotBeReadIsNotSentAsAWhole) {
  Script(After({"PIPELINING"}, {kMail, kA, "C DATA", "S 250 ok\r\n250 ok\r\n354 go", "D"}));
  ClientMessage message = Message({"a@mx.example"});
  message.next = []() -> Task<absl::StatusOr<absl::Cord>> { co_return absl::DataLossError("bad block"); };
  EXPECT_THAT(SendOne(std::move(message)), ElementsAre("temporary message data 451 4.3.0 (ours)"));
  EXPECT_THAT(server_->problems(), testing::SizeIs(1));  // the data never ended
}

TEST_F(ClientTest, WhatAServerSaidBeforeItHungUpCounts) {
  Script(After({"PIPELINING"},
               {kMail, kA, "C DATA", "S 250 ok\r\n250 ok\r\n354 go", "B 1000", "S 552 5.3.4 too large", "X"}));
  std::vector<std::string> pieces(400, std::string(65536, 'x') + "\r\n");
  const std::vector<std::string> texts = SendOne(Message({"a@mx.example"}, pieces));
  ASSERT_EQ(texts.size(), 1u);
  // A reset may overtake the reply: then it is the connection that failed.
  EXPECT_TRUE(texts[0] == "permanent message data 552 5.3.4" || texts[0] == "connection message data") << texts[0];
}

// ---- STARTTLS (RFC 3207)

TEST_F(ClientTest, EncryptsWhenOfferedAndForgetsWhatWasSaidBefore) {
  UseTls();
  Script(After({"STARTTLS", "PIPELINING", "SIZE 1"},
               {"C STARTTLS", "S 220 go", "T", "C EHLO client.example", "S 250-mx.example\r\n250 SIZE 5000", kMail,
                "S 250 ok", kA, "S 250 ok", "C DATA", "S 354 go", "D", "S 250 ok", "C QUIT", "S 221 bye"}));
  bool tls = false;
  Session([&](OpenResult opened) -> Task<void> {
    tls = opened.client->connection().tls();
    EXPECT_EQ(opened.client->capabilities().size, 5000u);
    EXPECT_FALSE(opened.client->capabilities().pipelining);
    SendResult result = co_await opened.client->Send(Message({"a@mx.example"}));
    EXPECT_THAT(Texts(result), ElementsAre("accepted end of data 250"));
    co_await opened.client->Quit();
  });
  server_->WaitForEnd();
  EXPECT_TRUE(tls);
  EXPECT_THAT(server_->problems(), IsEmpty());
}

TEST_F(ClientTest, StartTlsFailsInItsOwnWays) {
  UseTls();
  struct Case {
    ClientTls tls;
    std::vector<std::string> extensions, rest;
    std::string outcome;
  };
  const std::vector<std::string> plain = {kMail,      "S 250 ok", kA,         "S 250 ok", "C DATA",
                                          "S 354 go", "D",        "S 250 ok", "C QUIT",   "S 221 bye"};
  std::vector<std::string> refused_then_plain = {"C STARTTLS", "S 454 4.7.0 not now"};
  refused_then_plain.insert(refused_then_plain.end(), plain.begin(), plain.end());
  const std::vector<Case> cases = {
      {ClientTls::kOpportunistic, {}, plain, "accepted end of data 250"},
      {ClientTls::kOpportunistic, {"STARTTLS"}, refused_then_plain, "accepted end of data 250"},
      {ClientTls::kNever, {"STARTTLS"}, plain, "accepted end of data 250"},
      {ClientTls::kRequired, {}, {"C QUIT"}, "open: temporary STARTTLS 451 4.7.4 (ours)"},
      {ClientTls::kRequired,
       {"STARTTLS"},
       {"C STARTTLS", "S 454 4.7.0 not now", "C QUIT"},
       "open: temporary STARTTLS 454 4.7.0"},
      {ClientTls::kOpportunistic, {"STARTTLS"}, {"C STARTTLS", "S 220 go", "S this is not TLS", "X"}, ""},
      // Replies injected in the clear are not read as if they came encrypted.
      {ClientTls::kOpportunistic,
       {"STARTTLS"},
       {"C STARTTLS", "S 220 go\r\n250 injected", "W"},
       "open: connection STARTTLS"},
  };
  for (const Case& c : cases) {
    server_.reset();
    options_.tls = c.tls;
    Script(After(c.extensions, c.rest));
    const std::vector<std::string> texts = SendOne(Message({"a@mx.example"}));
    ASSERT_EQ(texts.size(), 1u);
    if (c.outcome.empty()) {
      EXPECT_TRUE(texts[0] == "open: connection TLS handshake" || texts[0] == "open: connection STARTTLS") << texts[0];
    } else {
      EXPECT_EQ(texts[0], c.outcome);
    }
    EXPECT_THAT(server_->problems(), IsEmpty()) << c.outcome;
  }
}

// RFC 2033 §4.2: after the data each recipient has a reply of its own.
TEST_F(ClientTest, LmtpAnswersEachRecipient) {
  options_.lmtp = true;
  Script({"S 220 lmtp", "C LHLO client.example", "S 250-lmtp\r\n250 PIPELINING", kMail, kA, kB,
          "C RCPT TO:<c@mx.example>", "C DATA", "S 250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go", "D",
          "S 250 ok\r\n452 4.2.2 full", "C QUIT", "S 221 bye"});
  EXPECT_THAT(SendOne(Message({"a@mx.example", "b@mx.example", "c@mx.example"})),
              ElementsAre("accepted end of data 250", "permanent RCPT 550", "temporary end of data 452 4.2.2"));
  EXPECT_THAT(server_->problems(), IsEmpty());
}

TEST_F(ClientTest, LmtpRepliesThatNeverCameAreUnknown) {
  options_.lmtp = true;
  Script({"S 220 lmtp", "C LHLO client.example", "S 250-lmtp\r\n250 PIPELINING", kMail, kA, kB, "C DATA",
          "S 250 ok\r\n250 ok\r\n250 ok\r\n354 go", "D", "S 250 ok", "X"});
  EXPECT_THAT(SendOne(Message({"a@mx.example", "b@mx.example"})),
              ElementsAre("accepted end of data 250", "connection end of data maybe"));
}

TEST(ParseCapabilities, ReadsWhatServersAnnounce) {
  const Capabilities c =
      ParseCapabilities({"mx.example PIPELINING", "8bitmime", "SIZE", "AUTH=LOGIN plain", "STARTTLS", "X-FOO", ""});
  EXPECT_TRUE(c.esmtp && c.eight_bit_mime && c.starttls);
  EXPECT_FALSE(c.pipelining || c.smtputf8 || c.dsn);
  EXPECT_EQ(c.size, 0u);
  EXPECT_THAT(c.auth, ElementsAre("LOGIN", "PLAIN"));
}

}  // namespace
}  // namespace posthouse::smtp
