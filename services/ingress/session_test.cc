// Ingress from the outside: real sockets, real gRPC to fake peers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/ingress/v1/ingress.grpc.pb.h"
#include "services/common/net/tls.h"
#include "services/common/runtime/testing/test_runtime.h"
#include "services/ingress/app.h"
#include "services/ingress/testing/fake_peers.h"
#include "services/ingress/testing/smtp_client.h"

namespace posthouse::ingress {
namespace {

using std::string_literals::operator""s;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::Not;
using testing::SizeIs;

std::string Plain(absl::string_view user, absl::string_view password) {
  return absl::Base64Escape(absl::StrCat(std::string(1, '\0'), user, std::string(1, '\0'), password));
}

class SessionTest : public testing::Test {
 protected:
  ~SessionTest() override {
    clients_.clear();
    app_.reset();
    peers_.reset();
    runtime_.reset();
    client_loops_.Stop();
  }

  void Start() {
    const std::string dir = testing::TempDir();
    const net::CertificateFiles files{dir + "/mx.crt", dir + "/mx.key"};
    ASSERT_TRUE(net::WriteSelfSigned(files, {"mx.example"}, 10).ok());
    auto& certificate = *config_.mutable_tls()->add_certificates();
    certificate.set_certificate_file(files.certificate_chain);
    certificate.set_private_key_file(files.private_key);
    config_.set_hostname("mx.example");
    config_.mutable_rpc()->set_in_process_only(true);
    auto& ingress = *config_.mutable_ingress();
    ingress.mutable_smtp()->set_port(0);
    ingress.mutable_submission()->set_port(0);
    ingress.mutable_submissions()->set_port(0);
    runtime_ = runtime::NewTestRuntime(config_);
    peers_ = std::make_unique<FakePeers>(runtime_->loops());
    auto app = App::Create(*runtime_, peers_->channels());
    ASSERT_TRUE(app.ok()) << app.status();
    app_ = *std::move(app);
  }

  SmtpTestClient& Connect(Port port = Port::kMx) {
    if (app_ == nullptr) Start();
    const uint16_t number = port == Port::kMx           ? app_->smtp_port()
                            : port == Port::kSubmission ? app_->submission_port()
                                                        : app_->submissions_port();
    clients_.push_back(std::make_unique<SmtpTestClient>(client_loops_.at(0), number, port == Port::kSubmissions));
    return *clients_.back();
  }
  // A session that has said all before the message.
  SmtpTestClient& Envelope(const std::string& recipient = "user@mx.example") {
    SmtpTestClient& client = Connect();
    EXPECT_EQ(client.Code(), "220");
    EXPECT_EQ(client.Say("EHLO client.example"), "250");
    EXPECT_EQ(client.Say("MAIL FROM:<sender@client.example>"), "250 2.1.0");
    EXPECT_EQ(client.Say("RCPT TO:<" + recipient + ">"), "250 2.1.5");
    return client;
  }
  SmtpTestClient& ReadyForData() {
    SmtpTestClient& client = Envelope();
    EXPECT_EQ(client.Say("DATA"), "354");
    return client;
  }
  SmtpTestClient& LoggedIn() {
    SmtpTestClient& client = Connect(Port::kSubmissions);
    EXPECT_EQ(client.Code(), "220");
    EXPECT_EQ(client.Say("EHLO client.example"), "250");
    EXPECT_EQ(client.Say("AUTH PLAIN " + Plain("user@mx.example", "secret")), "235 2.7.0");
    return client;
  }

  // The stored message without the Received: field on top, which must be well-formed.
  static std::string Body(const Enqueued& message) {
    const size_t end = message.data.find("+0000\r\n");
    EXPECT_TRUE(absl::StartsWith(message.data, "Received: from ")) << message.data.substr(0, 100);
    return end == std::string::npos ? message.data : message.data.substr(end + 7);
  }

  config::v1::Config config_;
  std::unique_ptr<runtime::Runtime> runtime_;
  std::unique_ptr<FakePeers> peers_;
  std::unique_ptr<App> app_;
  net::EventLoops client_loops_{1};
  std::vector<std::unique_ptr<SmtpTestClient>> clients_;
};

// RFC 5321 appendix D.1
TEST_F(SessionTest, ATypicalTransaction) {
  EXPECT_EQ(Connect().Play(R"(
    S: 220 mx.example ESMTP
    C: EHLO bar.example
    S: 250 HELP
    C: MAIL FROM:<Smith@bar.example>
    S: 250 2.1.0
    C: RCPT TO:<user@mx.example>
    S: 250 2.1.5
    C: RCPT TO:<Green@mx.example>
    S: 550 5.1.1
    C: RCPT TO:<alias@mx.example>
    S: 250 2.1.5
    C: DATA
    S: 354
    C: Subject: Blah
    C:
    C: ..and a dot
    C: .
    S: 250 2.0.0 Queued as Q1
    C: QUIT
    S: 221 2.0.0
    S: closed)"),
            "");
  const std::vector<Enqueued> messages = peers_->messages();
  ASSERT_THAT(messages, SizeIs(1));
  EXPECT_EQ(Body(messages[0]), "Subject: Blah\r\n\r\n.and a dot\r\n");
  EXPECT_EQ(messages[0].writes, 1);  // header, data and commit in one
  EXPECT_EQ(messages[0].key.size(), 18u);
  const queue::v1::Envelope& e = messages[0].envelope;
  EXPECT_EQ(e.reverse_path(), "Smith@bar.example");
  EXPECT_EQ(e.client_name(), "bar.example");
  EXPECT_EQ(e.client_address(), "127.0.0.1");
  EXPECT_EQ(e.tenant(), "tenant");
  EXPECT_EQ(e.authenticated_as(), "");
  EXPECT_EQ(e.traceparent().size(), 55u);
  // user@, and the target of alias@ that is not user@ with what the client said.
  ASSERT_EQ(e.recipients_size(), 2);
  EXPECT_EQ(e.recipients(0).address(), "user@mx.example");
  EXPECT_EQ(e.recipients(1).original(), "alias@mx.example");
  EXPECT_EQ(e.recipients(1).address(), "other@mx.example");
  EXPECT_EQ(e.recipients(1).resolved().local().account().account_id(), "other@mx.example");
}

// RFC 5321 §4.4
TEST_F(SessionTest, TheReceivedFieldTellsTheWay) {
  SmtpTestClient& client = ReadyForData();
  EXPECT_EQ(client.Say("Subject: x\r\n\r\nbody\r\n."), "250 2.0.0");
  EXPECT_THAT(peers_->messages()[0].data,
              MatchesRegex("Received: from client\\.example \\(\\[127\\.0\\.0\\.1\\]\\)\r\n"
                           "\tby mx\\.example \\(Posthouse\\) with ESMTP\r\n\tid [0-9a-f]+\r\n"
                           "\tfor <user@mx\\.example>;\r\n\t[A-Z][a-z][a-z], [0-9: A-Za-z]+ \\+0000\r\n"
                           "Subject: x\r\n\r\nbody\r\n"));
  EXPECT_THAT(peers_->messages()[0].envelope.traceparent(),
              HasSubstr(peers_->messages()[0].data.substr(peers_->messages()[0].data.find("id ") + 3, 32)));
}

// RFC 2920: a whole session in one segment is answered in order.
TEST_F(SessionTest, PipelinedGroups) {
  SmtpTestClient& client = Connect();
  client.Send(
      "EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<nobody@mx.example>\r\nRCPT TO:<user@mx.example>\r\nDATA\r\n");
  for (const char* code : {"220", "250", "250 2.1.0", "550 5.1.1", "250 2.1.5", "354"}) EXPECT_EQ(client.Code(), code);
  client.Send("Subject: 1\r\n\r\n1\r\n.\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<user@mx.example>\r\nDATA\r\n");
  for (const char* code : {"250 2.0.0", "250 2.1.0", "250 2.1.5", "354"}) EXPECT_EQ(client.Code(), code);
  client.Send("Subject: 2\r\n\r\n2\r\n.\r\nRSET\r\nQUIT\r\n");
  for (const char* code : {"250 2.0.0", "250 2.0.0", "221 2.0.0", "closed"}) EXPECT_EQ(client.Code(), code);
  ASSERT_THAT(peers_->messages(), SizeIs(2));
  EXPECT_EQ(Body(peers_->messages()[0]), "Subject: 1\r\n\r\n1\r\n");
  EXPECT_EQ(Body(peers_->messages()[1]), "Subject: 2\r\n\r\n2\r\n");
  EXPECT_NE(peers_->messages()[0].key, peers_->messages()[1].key);
}

// RFC 3030 §4
TEST_F(SessionTest, ChunkedMessages) {
  SmtpTestClient& client = Envelope();
  client.Send("BDAT 14\r\nSubject: x\r\n\r\nBDAT 5\r\n.\r\nabBDAT 5 LAST\r\nc\r\n.d");
  for (const char* code : {"250 2.0.0", "250 2.0.0", "250 2.0.0"}) EXPECT_EQ(client.Code(), code);
  EXPECT_EQ(Body(peers_->messages()[0]), "Subject: x\r\n\r\n.\r\nabc\r\n.d\r\n");
  // Out of order: read, refused, and still in step.
  client.Send("BDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\nNOOP\r\n");
  for (const char* code : {"503 5.5.1", "503 5.5.1", "250 2.0.0"}) EXPECT_EQ(client.Code(), code);
  // Bare LF in a chunk is as bad as in data.
  EXPECT_EQ(client.Say("MAIL FROM:<a@b.example>"), "250 2.1.0");
  EXPECT_EQ(client.Say("RCPT TO:<user@mx.example>"), "250 2.1.5");
  client.Send("BDAT 3 LAST\r\na\nbNO");
  EXPECT_EQ(client.Code(), "550 5.6.0");  // at once, though half a command follows
  EXPECT_EQ(client.Say("OP"), "250 2.0.0");
  EXPECT_THAT(peers_->messages(), SizeIs(1));
}

// RFC 3030 §4.2: what was given up between chunks is in no later message.
TEST_F(SessionTest, RsetAndEhloBetweenChunksForgetTheChunks) {
  for (const std::string command : {"RSET", "EHLO again"}) {
    SmtpTestClient& client = Envelope("user@mx.example");
    const size_t before = app_ == nullptr ? 0 : peers_->messages().size();
    client.Send("BDAT 21\r\nSubject: old\r\n\r\nold\r\n");
    EXPECT_EQ(client.Code(), "250 2.0.0");
    EXPECT_EQ(client.Say(command), command == "RSET" ? "250 2.0.0" : "250");
    EXPECT_EQ(client.Say("MAIL FROM:<other@client.example>"), "250 2.1.0");
    EXPECT_EQ(client.Say("RCPT TO:<alias@mx.example>"), "250 2.1.5");
    client.Send("BDAT 21 LAST\r\nSubject: new\r\n\r\nnew\r\n");
    EXPECT_EQ(client.Code(), "250 2.0.0") << command;
    const std::vector<Enqueued> messages = peers_->messages();
    ASSERT_EQ(messages.size(), before + 1);
    EXPECT_EQ(Body(messages.back()), "Subject: new\r\n\r\nnew\r\n");
    EXPECT_EQ(messages.back().envelope.reverse_path(), "other@client.example");
    EXPECT_EQ(messages.back().envelope.recipients(0).original(), "alias@mx.example");
  }
  EXPECT_EQ(app_->metrics().Messages(MessageEnd::kCutOff).Value(), 2);
}

TEST_F(SessionTest, LargeMessagesStream) {
  std::string message = "Subject: large\r\n\r\n";
  for (int i = 0; message.size() < (5u << 20); ++i)
    absl::StrAppend(&message, "line ", i, " of a large message\r\n.", i, "\r\n");
  SmtpTestClient& client = ReadyForData();
  client.Send(absl::StrReplaceAll(message, {{"\r\n.", "\r\n.."}}) + ".\r\n");
  EXPECT_EQ(client.Code(), "250 2.0.0");
  ASSERT_THAT(peers_->messages(), SizeIs(1));
  EXPECT_TRUE(Body(peers_->messages()[0]) == message);
  EXPECT_GT(peers_->messages()[0].writes, 10);
}

TEST_F(SessionTest, ASlowQueueSlowsTheClientAndLosesNothing) {
  std::string message = "Subject: slow\r\n\r\n";
  while (message.size() < (3u << 20)) message += "0123456789\r\n";
  SmtpTestClient& client = ReadyForData();
  peers_->HoldEnqueues(true);
  std::thread sender([&] { client.Send(message + ".\r\n"); });
  SmtpTestClient& other = Connect();  // others are served meanwhile
  EXPECT_EQ(other.Code(), "220");
  EXPECT_EQ(other.Say("NOOP"), "250 2.0.0");
  peers_->HoldEnqueues(false);
  sender.join();
  EXPECT_EQ(client.Code(), "250 2.0.0");
  EXPECT_TRUE(Body(peers_->messages()[0]) == message);
}

// ---- memory

class MemoryTest : public SessionTest {
 protected:
  MemoryTest() { config_.mutable_ingress()->set_message_memory_bytes(1 << 20); }
  // Waits until sessions hold at least, or at most, so much.
  bool Reached(uint64_t low, uint64_t high) {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (absl::Now() < deadline) {
      if (app_->memory().used() >= low && app_->memory().used() <= high) return true;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return false;
  }
};

TEST_F(MemoryTest, HalfSentMessagesTakeNoMoreThanTheirShare) {
  const std::string half = "Subject: half\r\n\r\n" + std::string(60000, 'x');
  std::vector<SmtpTestClient*> strangers;
  for (int i = 0; i < 40; ++i) {
    strangers.push_back(&ReadyForData());
    strangers.back()->Send(half);
  }
  ASSERT_TRUE(Reached((1 << 20) - 128 * 1024, 1 << 20)) << app_->memory().used();
  // One more is told at the end of its data; its session goes on.
  SmtpTestClient& client = ReadyForData();
  EXPECT_EQ(client.Say(half + "\r\n."), "452 4.3.1");
  EXPECT_LE(app_->memory().used(), 1u << 20);
  EXPECT_EQ(app_->metrics().Refused(Stage::kData, Reason::kMemory).Value(), 1);
  for (SmtpTestClient* stranger : strangers) stranger->Close();
  ASSERT_TRUE(Reached(0, 0));
  EXPECT_EQ(client.Say("MAIL FROM:<sender@client.example>"), "250 2.1.0");
  EXPECT_EQ(client.Say("RCPT TO:<user@mx.example>"), "250 2.1.5");
  EXPECT_EQ(client.Say("DATA"), "354");
  EXPECT_EQ(client.Say(half + "\r\n."), "250 2.0.0");
}

TEST_F(MemoryTest, CopiesForASecondTryAreDroppedBeforeMailIsRefused) {
  std::string message = "Subject: large\r\n\r\n";
  for (int i = 0; message.size() < 900000; ++i) absl::StrAppend(&message, "line ", i, "\r\n");
  std::vector<SmtpTestClient*> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(&ReadyForData());
    clients.back()->Send(message);
    EXPECT_LE(app_->memory().used(), 1u << 20);
  }
  for (SmtpTestClient* client : clients) {
    EXPECT_EQ(client->Say("last line\r\n."), "250 2.0.0");
    EXPECT_LE(app_->memory().used(), 1u << 20);
  }
  for (const Enqueued& sent : peers_->messages()) EXPECT_TRUE(Body(sent) == message + "last line\r\n");
  EXPECT_THAT(peers_->messages(), SizeIs(4));
  EXPECT_TRUE(Reached(0, 0));
}

// ---- what the queue answers

TEST_F(SessionTest, OnlyTheQueueSays250) {
  struct Case {
    std::vector<absl::Status> failures;
    std::string reply;
    size_t streams;
  };
  const std::vector<Case> cases = {
      {{absl::ResourceExhaustedError("full")}, "452 4.3.1", 1},
      {{absl::InternalError("bug")}, "451 4.3.0", 1},
      {{absl::OutOfRangeError("5001 recipients")}, "452 4.5.3", 1},
      {{absl::InvalidArgumentError("no recipients")}, "554 5.3.0", 1},  // and the next time again
      {{absl::DataLossError("disk")}, "451 4.3.0", 1},
      {{absl::UnavailableError("restarting")}, "250 2.0.0", 2},
      {{absl::UnavailableError("down"), absl::UnavailableError("down")}, "451 4.3.0", 2},
  };
  Start();
  size_t before = 0;
  for (const Case& c : cases) {
    peers_->FailEnqueues(c.failures);
    SmtpTestClient& client = ReadyForData();
    EXPECT_EQ(client.Say("Subject: x\r\n\r\nbody\r\n."), c.reply);
    const std::vector<Enqueued> streams = peers_->streams();
    ASSERT_EQ(streams.size() - before, c.streams);
    // A second try is the same message under the same key.
    EXPECT_EQ(streams.front().data.size(), streams.back().data.size());
    if (c.streams == 2) {
      EXPECT_EQ(streams[before].key, streams[before + 1].key);
      EXPECT_EQ(streams[before].data, streams[before + 1].data);
    }
    before = streams.size();
    EXPECT_EQ(client.Say("MAIL FROM:<>"), "250 2.1.0");  // the session goes on
  }
}

TEST_F(SessionTest, AStreamIsReplayedUpToOneMebibyte) {
  struct Case {
    size_t bytes;
    std::string reply;
    size_t streams;
  };
  Start();
  size_t before = 0;
  for (const Case& c : {Case{700000, "250 2.0.0", 2}, Case{3000000, "451 4.3.0", 1}}) {
    peers_->FailEnqueues({absl::UnavailableError("restarting")});
    std::string message = "Subject: x\r\n\r\n";
    while (message.size() < c.bytes) message += "0123456789012345678901234567890123456789\r\n";
    SmtpTestClient& client = ReadyForData();
    client.Send(message + ".\r\n");
    EXPECT_EQ(client.Code(), c.reply);
    const std::vector<Enqueued> streams = peers_->streams();
    EXPECT_EQ(streams.size() - before, c.streams);
    if (c.streams == 2) EXPECT_TRUE(Body(streams.back()) == message);
    before = streams.size();
  }
}

TEST_F(SessionTest, RoutingThatFailsIsATemporaryFailure) {
  Start();
  peers_->FailRouting(true);
  SmtpTestClient& client = Connect();
  EXPECT_EQ(client.Play(R"(
    S: 220
    C: EHLO c
    S: 250
    C: MAIL FROM:<a@b.example>
    S: 250
    C: RCPT TO:<user@mx.example>
    S: 451 4.4.3
    C: DATA
    S: 554 5.5.1)"),
            "");
  peers_->FailRouting(false);
  EXPECT_EQ(client.Say("RCPT TO:<user@mx.example>"), "250 2.1.5");  // the failure was not remembered
  EXPECT_EQ(client.Say("RCPT TO:<x@broken.example>"), "451 4.4.3");
  EXPECT_EQ(client.Say("RCPT TO:<suspended@mx.example>"), "450 4.2.1");
  EXPECT_EQ(client.Say("RCPT TO:<deep@mx.example>"), "554 5.4.6");
  EXPECT_EQ(client.Say("RCPT TO:<many@mx.example>"), "554 5.5.3");
}

TEST_F(SessionTest, OverQuotaIsToldInTheSession) {
  Start();
  peers_->SetUsage("full@mx.example", 5000, 5000);
  peers_->SetUsage("part@mx.example", 1000, 3000);
  SmtpTestClient& client = Connect();
  EXPECT_EQ(client.Play(R"(
    S: 220
    C: EHLO c
    S: 250
    C: MAIL FROM:<a@b.example>
    S: 250
    C: RCPT TO:<full@mx.example>
    S: 452 4.2.2
    C: RCPT TO:<part@mx.example>
    S: 250 2.1.5
    C: DATA
    S: 354)"),
            "");
  // Known at the end of data only: full for now, or too large for the whole quota.
  EXPECT_EQ(client.Say("Subject: x\r\n\r\n" + std::string(2500, 'x') + "\r\n."), "452 4.2.2");
  for (const char* line : {"MAIL FROM:<a@b.example>", "RCPT TO:<part@mx.example>"}) client.Say(line);
  EXPECT_EQ(client.Say("DATA"), "354");
  EXPECT_EQ(client.Say("Subject: x\r\n\r\n" + std::string(3500, 'x') + "\r\n."), "552 5.2.2");
  client.Say("MAIL FROM:<a@b.example> SIZE=3500");
  EXPECT_EQ(client.Say("RCPT TO:<part@mx.example>"), "552 5.2.2");
  // Somebody else can have it: the queue tells the sender about the other one.
  EXPECT_EQ(client.Say("RSET"), "250 2.0.0");
  for (const char* line : {"MAIL FROM:<a@b.example>", "RCPT TO:<part@mx.example>", "RCPT TO:<user@mx.example>"}) {
    client.Say(line);
  }
  EXPECT_EQ(client.Say("DATA"), "354");
  EXPECT_EQ(client.Say("Subject: x\r\n\r\n" + std::string(2500, 'x') + "\r\n."), "250 2.0.0");
  EXPECT_EQ(app_->metrics().Refused(Stage::kRcpt, Reason::kOverQuota).Value(), 2);
  EXPECT_EQ(app_->metrics().Refused(Stage::kData, Reason::kOverQuota).Value(), 2);
  // An address of several recipients is refused when none of them has room, and decided by each RCPT alone.
  EXPECT_EQ(client.Say("MAIL FROM:<a@b.example> SIZE=2500"), "250 2.1.0");
  EXPECT_EQ(client.Say("RCPT TO:<shared@mx.example>"), "452 4.2.2");
  EXPECT_EQ(client.Say("RCPT TO:<user@mx.example>"), "250 2.1.5");
  client.Say("RSET");
  EXPECT_EQ(client.Say("MAIL FROM:<a@b.example> SIZE=500"), "250 2.1.0");
  EXPECT_EQ(client.Say("RCPT TO:<shared@mx.example>"), "250 2.1.5");
  EXPECT_EQ(client.Say("DATA"), "354");
  EXPECT_EQ(client.Say("Subject: x\r\n\r\n" + std::string(2500, 'x') + "\r\n."), "452 4.2.2");  // SIZE was wrong
  EXPECT_EQ(app_->metrics().Refused(Stage::kRcpt, Reason::kOverQuota).Value(), 3);
  // A client that cannot try again hands the message to the queue, which does.
  SmtpTestClient& user = LoggedIn();
  for (const char* line : {"MAIL FROM:<user@mx.example>", "RCPT TO:<part@mx.example>"}) user.Say(line);
  EXPECT_EQ(user.Say("DATA"), "354");
  EXPECT_EQ(user.Say("Subject: x\r\n\r\n" + std::string(2500, 'x') + "\r\n."), "250 2.0.0");
}

// The queue delivers a message a moment after its 250, and the answer of the store may be a moment old.
TEST_F(SessionTest, AMessageThatWasAcceptedCountsBeforeTheStoreHasIt) {
  Start();
  peers_->SetUsage("part@mx.example", 1000, 3000);
  SmtpTestClient& client = Connect();
  EXPECT_EQ(client.Code(), "220");
  client.Say("EHLO c");
  const auto send = [&client](size_t size) {
    for (const char* line : {"MAIL FROM:<a@b.example>", "RCPT TO:<part@mx.example>", "DATA"}) client.Say(line);
    return client.Say("Subject: x\r\n\r\n" + std::string(size, 'x') + "\r\n.");
  };
  EXPECT_EQ(send(1200), "250 2.0.0");
  EXPECT_EQ(send(1200), "452 4.2.2");
  EXPECT_EQ(send(200), "250 2.0.0");
  EXPECT_EQ(peers_->usage_calls(), 1);
  // A mailbox that is full is asked each time: its owner may have made room.
  peers_->SetUsage("full@mx.example", 5000, 5000);
  client.Say("MAIL FROM:<a@b.example>");
  EXPECT_EQ(client.Say("RCPT TO:<full@mx.example>"), "452 4.2.2");
  peers_->SetUsage("full@mx.example", 1000, 5000);
  EXPECT_EQ(client.Say("RCPT TO:<full@mx.example>"), "250 2.1.5");
}

TEST_F(SessionTest, AMailboxThatIsDownIsAskedOnceAndTakesMail) {
  Start();
  peers_->FailMailbox(true);
  for (int i = 0; i < 3; ++i) Envelope("full@mx.example");
  EXPECT_EQ(peers_->usage_calls(), 1);
}

TEST_F(SessionTest, RecipientsAreAskedForOnce) {
  for (int i = 0; i < 3; ++i) Envelope();
  EXPECT_EQ(peers_->resolutions(), 1);
}

// Without the directory's change stream an answer from the cache may be as old as the cache allows, so the queue is
// not told that it is fresh.
TEST_F(SessionTest, TheQueueLearnsThatRecipientsWereResolvedJustNow) {
  for (int i = 0; i < 2; ++i) {
    SmtpTestClient& client = ReadyForData();
    EXPECT_EQ(client.Say("Subject: x\r\n\r\nhello\r\n."), "250 2.0.0");
  }
  EXPECT_EQ(peers_->resolutions(), 1);
  ASSERT_EQ(peers_->messages().size(), 2u);
  EXPECT_TRUE(peers_->messages()[0].tells_when_resolved);
  EXPECT_FALSE(peers_->messages()[1].tells_when_resolved);
}

// ---- limits

TEST_F(SessionTest, TooLargeMessagesAreReadAndRefused) {
  config_.mutable_ingress()->set_max_message_bytes(100000);
  SmtpTestClient& client = ReadyForData();
  client.Send("Subject: x\r\n\r\n" + std::string(150000, 'x') + "\r\n.\r\n");
  EXPECT_EQ(client.Code(), "552 5.3.4");
  EXPECT_EQ(client.Say("NOOP"), "250 2.0.0");
  EXPECT_THAT(peers_->messages(), IsEmpty());
}

TEST_F(SessionTest, DataWithoutEndIsCutOff) {
  config_.mutable_ingress()->set_max_message_bytes(100000);
  SmtpTestClient& client = ReadyForData();
  // The server may close while we write: only that it ends counts.
  for (int i = 0; i < 100 && client.TrySend(std::string(100000, 'x')); ++i) {
  }
  const std::string last = client.Code();
  EXPECT_TRUE(last == "421 4.3.4" || last == "closed") << last;
}

TEST_F(SessionTest, LongLinesAreRefusedInBoundedMemory) {
  SmtpTestClient& client = Connect();
  client.Code();
  client.Send("NOOP " + std::string(10 << 20, 'x') + "\r\n");
  EXPECT_EQ(client.Code(), "500 5.5.2");
  EXPECT_EQ(client.Say("NOOP"), "250 2.0.0");
}

// RFC 5321 §6.3
TEST_F(SessionTest, LoopsAreCut) {
  std::string header;
  for (int i = 0; i < 51; ++i) header += "Received: from a by b; date\r\n";
  SmtpTestClient& client = ReadyForData();
  EXPECT_EQ(client.Say(header + "\r\nbody\r\n."), "554 5.4.6");
  EXPECT_THAT(peers_->messages(), IsEmpty());
}

TEST_F(SessionTest, SilentClientsAreToldAndDropped) {
  config_.mutable_ingress()->mutable_command_timeout()->set_nanos(50000000);
  SmtpTestClient& client = Connect();
  EXPECT_EQ(client.Code(), "220");
  EXPECT_EQ(client.Code(), "421 4.4.2");
  EXPECT_EQ(client.Code(), "closed");
}

TEST_F(SessionTest, DataThatDripsIsCutOff) {
  config_.mutable_ingress()->mutable_data_timeout()->set_nanos(200000000);
  SmtpTestClient& client = ReadyForData();
  client.Send("Subject: x\r\n\r\n");
  const absl::Time start = absl::Now();
  // Each byte well within the time for a block, 25 bytes a second.
  while (absl::Now() - start < absl::Seconds(30) && client.TrySend("x")) absl::SleepFor(absl::Milliseconds(40));
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  const std::string last = client.Code();
  EXPECT_TRUE(last == "421 4.4.2" || last == "closed") << last;
  EXPECT_THAT(peers_->messages(), IsEmpty());
}

// Bytes that a refused message drops count as well.
TEST_F(SessionTest, BareLineEndsWithoutEndAreCutOff) {
  config_.mutable_ingress()->set_max_message_bytes(100000);
  SmtpTestClient& client = ReadyForData();
  int sent = 0;
  while (sent < 100 && client.TrySend(std::string(100000, '\n'))) ++sent;
  EXPECT_LT(sent, 100);
}

TEST_F(SessionTest, PostmasterNeedsNoDomainOfOurs) {
  EXPECT_EQ(Connect().Play(R"(
    S: 220
    C: EHLO c
    S: 250
    C: MAIL FROM:<>
    S: 250
    C: RCPT TO:<PostMaster>
    S: 250 2.1.5
    C: DATA
    S: 354
    C: Subject: x
    C: .
    S: 250 2.0.0)"),
            "");
  EXPECT_EQ(peers_->messages()[0].envelope.recipients(0).address(), "user@mx.example");
}

TEST_F(SessionTest, AClientThatVanishesInTheDataStoresNothing) {
  SmtpTestClient& client = ReadyForData();
  client.Send("Subject: x\r\n\r\n" + std::string(500000, 'x'));
  client.Close();
  peers_->WaitForStreams(1);
  EXPECT_THAT(peers_->messages(), IsEmpty());
  std::vector<Refusal> found;
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (found.empty() && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
    found = app_->refusals().Find({.text = "user@mx.example"});
  }
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_STREQ(ReasonName(found[0].reason), "cut_off");
}

// ---- TLS, AUTH, submission

TEST_F(SessionTest, StartTlsThenLogin) {
  SmtpTestClient& client = Connect(Port::kSubmission);
  EXPECT_EQ(client.Play(R"(
    S: 220
    C: EHLO c
    S: 250
    C: MAIL FROM:<user@mx.example>
    S: 530 5.7.0
    C: AUTH PLAIN AAAA
    S: 538 5.7.11
    C: STARTTLS
    S: 220 2.0.0)"),
            "");
  ASSERT_TRUE(client.StartTls());
  EXPECT_EQ(client.Say("MAIL FROM:<user@mx.example>"), "530 5.7.0");
  client.Send("EHLO c\r\n");
  EXPECT_THAT(client.Reply(), HasSubstr("250-AUTH PLAIN LOGIN\r\n"));
  EXPECT_EQ(client.Say("AUTH LOGIN"), "334");
  EXPECT_EQ(client.Say(absl::Base64Escape("user@mx.example")), "334");
  EXPECT_EQ(client.Say(absl::Base64Escape("wrong")), "535 5.7.8");
  EXPECT_EQ(client.Say("AUTH PLAIN " + Plain("user@mx.example", "secret")), "235 2.7.0");
  EXPECT_EQ(peers_->last_login_address(), "127.0.0.1");
  EXPECT_EQ(client.Say("MAIL FROM:<boss@mx.example>"), "553 5.7.1");
  EXPECT_EQ(client.Say("MAIL FROM:<boss+x@mx.example>"), "553 5.7.1");
  EXPECT_EQ(client.Say("MAIL FROM:<user+x@mx.example>"), "250 2.1.0");
  EXPECT_EQ(client.Say("RSET"), "250 2.0.0");
  EXPECT_EQ(client.Say("MAIL FROM:<user@mx.example>"), "250 2.1.0");
  EXPECT_EQ(client.Say("RCPT TO:<friend@foreign.example>"), "250 2.1.5");
  EXPECT_EQ(client.Say("DATA"), "354");
  EXPECT_EQ(client.Say("Subject: x\r\nBcc: secret@foreign.example\r\n\r\nbody\r\n."), "250 2.0.0");
  const Enqueued message = peers_->messages()[0];
  EXPECT_EQ(message.envelope.authenticated_as(), "user@mx.example");
  EXPECT_EQ(message.envelope.recipients(0).resolved().remote().domain(), "foreign.example");
  EXPECT_THAT(message.data, HasSubstr(" with ESMTPSA\r\n\t(TLSv1.3, "));
  EXPECT_THAT(Body(message),
              MatchesRegex("Subject: x\r\nDate: [^\r]+\r\nMessage-ID: <[0-9a-f]+@mx\\.example>\r\n\r\nbody\r\n"));
}

TEST_F(SessionTest, StrangersMailIsNotCompleted) {
  SmtpTestClient& client = ReadyForData();
  EXPECT_EQ(client.Say("Bcc: x@y.example\r\n\r\nbody\r\n."), "250 2.0.0");
  EXPECT_EQ(Body(peers_->messages()[0]), "Bcc: x@y.example\r\n\r\nbody\r\n");
}

TEST_F(SessionTest, SubmissionNormalisesLineEnds) {
  SmtpTestClient& client = LoggedIn();
  for (const char* line : {"MAIL FROM:<user@mx.example>", "RCPT TO:<user@mx.example>"}) client.Say(line);
  EXPECT_EQ(client.Say("DATA"), "354");
  EXPECT_EQ(client.Say("Date: d\nMessage-ID: <m>\n\nbody\n.\nmore\r\n."), "250 2.0.0");
  EXPECT_EQ(Body(peers_->messages()[0]), "Date: d\r\nMessage-ID: <m>\r\n\r\nbody\r\n.\r\nmore\r\n");
}

// RFC 3207 §4.2 and CVE-2011-0411: what came in the clear is never run under TLS.
TEST_F(SessionTest, PlaintextBehindStartTlsIsThrownAway) {
  SmtpTestClient& client = Connect();
  client.Code();
  client.Say("EHLO c");
  client.Send("STARTTLS\r\nRSET\r\nMAIL FROM:<evil@b.example>\r\n");
  EXPECT_EQ(client.Code(), "220 2.0.0");
  ASSERT_TRUE(client.StartTls());
  EXPECT_EQ(client.Say("EHLO c"), "250");  // the first answer under TLS is to the first command under TLS
  EXPECT_EQ(client.Say("RCPT TO:<user@mx.example>"), "503 5.5.1");
}

// ---- smuggling and relaying

// The 24 of the smuggling matrix: none of them ends the data.
TEST_F(SessionTest, NothingIsSmuggled) {
  const std::vector<std::pair<const char*, std::string>> cases = {
      {"LF.LF", "\n.\n"},
      {"LF.CRLF", "\n.\r\n"},
      {"CRLF.LF", "\r\n.\n"},
      {"CR.CR", "\r.\r"},
      {"CR.CRLF", "\r.\r\n"},
      {"CRLF.CR", "\r\n.\r"},
      {"LF.CR", "\n.\r"},
      {"CR.LF", "\r.\n"},
      {"LFCR.LFCR", "\n\r.\n\r"},
      {"CRLF.NULCRLF", "\r\n.\0\r\n"s},
      {"CRLFNUL.CRLF", "\r\n\0.\r\n"s},
      {"CRLF.CRCRLF", "\r\n.\r\r\n"},
      {"CRCRLF.CRCRLF", "\r\r\n.\r\r\n"},
      {"CRLF.SPCRLF", "\r\n. \r\n"},
      {"CRLF.TABCRLF", "\r\n.\t\r\n"},
      {"CRLFSP.CRLF", "\r\n .\r\n"},
      {"CRLF..CRLF", "\r\n..\r\n"},
      {"VT.VT", "\x0b.\x0b"},
      {"NEL.NEL", "\x85.\x85"},
      {"LS.LS", "\u2028.\u2028"},
      {"CRLF.LFCRLF", "\r\n.\n\r\n"},
      {"LFLF.LFLF", "\n\n.\n\n"},
  };
  Start();
  for (const bool submission : {false, true}) {
    for (const auto& [name, sequence] : cases) {
      SmtpTestClient& client = submission ? LoggedIn() : Connect();
      if (!submission) client.Code();
      client.Say("EHLO smuggle.example");
      EXPECT_EQ(client.Say("MAIL FROM:<user@mx.example>"), "250 2.1.0");
      EXPECT_EQ(client.Say("RCPT TO:<user@mx.example>"), "250 2.1.5");
      EXPECT_EQ(client.Say("DATA"), "354");
      const size_t before = peers_->messages().size();
      client.Send(absl::StrCat("Subject: ", name, "\r\n\r\nfirst", sequence,
                               "MAIL FROM:<user@mx.example>\r\nRCPT TO:<user@mx.example>\r\nDATA\r\n"
                               "Subject: smuggled\r\n\r\nx\r\n.\r\nNOOP\r\n"));
      // One reply for one message, and then NOOP's.
      const std::string reply = client.Code();
      EXPECT_TRUE(reply == "250 2.0.0" || (!submission && reply == "550 5.6.0")) << name << ": " << reply;
      EXPECT_EQ(client.Code(), "250 2.0.0") << name;
      EXPECT_EQ(client.Say("QUIT"), "221 2.0.0") << name;
      EXPECT_EQ(peers_->messages().size() - before, reply == "250 2.0.0" ? 1u : 0u) << name;
    }
  }
}

TEST_F(SessionTest, StrangersCannotRelayButTrustedNetworksCan) {
  const std::string transcript = R"(
    S: 220
    C: EHLO c
    S: 250
    C: MAIL FROM:<user@mx.example>
    S: 250
    C: RCPT TO:<x@foreign.example>
    S: )";
  EXPECT_EQ(Connect().Play(transcript + "554 5.7.1"), "");
  app_.reset();
  clients_.clear();
  config_.mutable_ingress()->add_relay_networks("127.0.0.0/8");
  EXPECT_EQ(Connect().Play(transcript + "250 2.1.5"), "");
}

// A balancer that hides the clients: what it is trusted with, all of the Internet could do.
TEST_F(SessionTest, ATrustedAddressThatStandsForManyClientsRelaysNoMore) {
  config_.mutable_ingress()->add_relay_networks("10.0.0.0/8");
  config_.mutable_ingress()->mutable_smtp()->add_proxy_from("127.0.0.1");
  std::vector<std::string> replies;
  for (size_t i = 0; i <= LostAddresses::kManyNames; ++i) {
    SmtpTestClient& client = Connect();
    client.Send("PROXY TCP4 10.244.0.1 10.244.0.9 5555 25\r\n");
    client.Code();
    client.Say(absl::StrCat("EHLO host", i, ".example"));
    client.Say("MAIL FROM:<user@mx.example>");
    replies.push_back(client.Say("RCPT TO:<x@foreign.example>"));
    client.Say("QUIT");
  }
  EXPECT_EQ(replies.front(), "250 2.1.5");
  EXPECT_EQ(replies[LostAddresses::kManyNames - 1], "554 5.7.1");
  EXPECT_EQ(replies.back(), "554 5.7.1");
}

// Every way to write somebody else's address into ours: it is a local name that nobody
// has, a foreign address, or no address.
TEST_F(SessionTest, NoSpellingOfAForeignAddressIsRelayed) {
  config_.mutable_ingress()->set_max_errors(1000);
  SmtpTestClient& client = Connect();
  client.Code();
  client.Say("EHLO relay.example");
  for (const char* from : {"", "x@relay.example", "user@mx.example", "x@[127.0.0.1]", "postmaster@mx.example"}) {
    ASSERT_EQ(client.Say(absl::StrCat("MAIL FROM:<", from, ">")), "250 2.1.0") << from;
    for (const char* to : {
             "<victim@foreign.example>",
             "victim@foreign.example",
             "<victim%foreign.example@mx.example>",
             "<victim%foreign.example@[127.0.0.1]>",
             "<victim%foreign.example>",
             "<\"victim@foreign.example\">",
             "<\"victim@foreign.example\"@mx.example>",
             "<\"victim%foreign.example\"@mx.example>",
             "<\"victim@foreign.example\"@[127.0.0.1]>",
             "<victim@foreign.example@mx.example>",
             "<victim@foreign.example@[127.0.0.1]>",
             "<@mx.example:victim@foreign.example>",
             "<@[127.0.0.1]:victim@foreign.example>",
             "<@foreign.example,@mx.example:victim@foreign.example>",
             "<foreign.example!victim>",
             "<foreign.example!victim@mx.example>",
             "<foreign.example!victim@[127.0.0.1]>",
             "<victim@foreign.example.mx.example.foreign.example>",
             "<victim@xmx.example>",
             "<user@mx.example@foreign.example>",
             "<user@mx.example.>x@foreign.example",
             "<victim@[IPv6:::1]>",
             "<user\\@mx.example@foreign.example>",
             "<user@mx.example\t@foreign.example>",
         }) {
      const std::string code = client.Say(absl::StrCat("RCPT TO:", to));
      EXPECT_EQ(code[0], '5') << from << " " << to << " " << code;
    }
    EXPECT_EQ(client.Say("DATA"), "554 5.5.1");
    EXPECT_EQ(client.Say("RSET"), "250 2.0.0");
  }
  EXPECT_THAT(peers_->streams(), IsEmpty());
}

TEST_F(SessionTest, TheProxyHeaderNamesTheClient) {
  config_.mutable_ingress()->mutable_smtp()->add_proxy_from("127.0.0.1");
  SmtpTestClient& client = Connect();
  client.Send("PROXY TCP4 192.0.2.77 192.0.2.1 5555 25\r\n");
  for (const char* expected : {"220"}) EXPECT_EQ(client.Code(), expected);
  for (const char* line : {"EHLO c", "MAIL FROM:<>", "RCPT TO:<user@mx.example>"}) client.Say(line);
  EXPECT_EQ(client.Say("DATA"), "354");
  EXPECT_EQ(client.Say("x: y\r\n\r\n."), "250 2.0.0");
  EXPECT_EQ(peers_->messages()[0].envelope.client_address(), "192.0.2.77");
}

// ---- drain

TEST_F(SessionTest, DrainSays421AndFinishesMessages) {
  SmtpTestClient& idle = Connect();
  EXPECT_EQ(idle.Code(), "220");
  SmtpTestClient& busy = ReadyForData();
  busy.Send("Subject: x\r\n\r\nhalf");
  std::thread drain([&] { app_->Drain(absl::Seconds(60)); });
  EXPECT_EQ(idle.Code(), "421 4.3.2");
  EXPECT_EQ(idle.Code(), "closed");
  EXPECT_FALSE(app_->Ready().ok());
  busy.Send(" and half\r\n.\r\n");
  EXPECT_EQ(busy.Code(), "250 2.0.0");
  EXPECT_EQ(busy.Code(), "421 4.3.2");
  drain.join();
  EXPECT_EQ(Body(peers_->messages()[0]), "Subject: x\r\n\r\nhalf and half\r\n");
}

// What is not read when the time of the drain is up is told so, not cut in silence.
TEST_F(SessionTest, AMessageThatOutlastsTheDrainGets421) {
  SmtpTestClient& client = ReadyForData();
  client.Send("Subject: x\r\n\r\nhalf");
  app_->Drain(absl::Milliseconds(200));
  EXPECT_EQ(client.Code(), "421 4.3.2");
  EXPECT_EQ(client.Code(), "closed");
  EXPECT_THAT(peers_->messages(), IsEmpty());
  EXPECT_EQ(app_->metrics().Refused(Stage::kSession, Reason::kDraining).Value(), 1);
}

// A session that waits for the queue when the drain gives up goes on to its end, on its own.
TEST_F(SessionTest, ASessionInTheQueuesHandsMayOutliveTheApp) {
  SmtpTestClient& client = ReadyForData();
  peers_->HoldEnqueues(true);
  client.Send("Subject: x\r\n\r\nbody\r\n.\r\n");
  peers_->WaitForBegun(1);
  app_->Drain(absl::ZeroDuration());
  app_.reset();
  peers_->HoldEnqueues(false);
  EXPECT_EQ(client.Code(), "closed");
  // Kept, though its client was not told.
  const std::string accepted = "posthouse_ingress_messages_total{result=\"accepted\"} 1";
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (absl::Now() < deadline && !absl::StrContains(runtime_->registry().Serialize(), accepted)) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_THAT(runtime_->registry().Serialize(), HasSubstr(accepted));
  EXPECT_THAT(peers_->messages(), SizeIs(1));
}

// Nor is anything begun for it that its app has stopped.
TEST_F(SessionTest, NoSecondTryAfterTheDrain) {
  SmtpTestClient& client = ReadyForData();
  peers_->FailEnqueues({absl::UnavailableError("restarting")});
  peers_->HoldEnqueues(true);
  client.Send("Subject: x\r\n\r\nbody\r\n.\r\n");
  peers_->WaitForBegun(1);
  app_->Drain(absl::ZeroDuration());
  app_.reset();
  peers_->HoldEnqueues(false);
  const std::string deferred = "posthouse_ingress_messages_total{result=\"deferred\"} 1";
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (absl::Now() < deadline && !absl::StrContains(runtime_->registry().Serialize(), deferred)) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_THAT(runtime_->registry().Serialize(), HasSubstr(deferred));
  EXPECT_THAT(peers_->streams(), SizeIs(1));
}

TEST_F(SessionTest, ConnectionsOverTheLimitAreTold) {
  config_.mutable_ingress()->mutable_smtp()->set_max_connections(1);
  EXPECT_EQ(Connect().Code(), "220");
  EXPECT_EQ(Connect().Code(), "421 4.3.2");
  EXPECT_THAT(runtime_->registry().Serialize(),
              HasSubstr("posthouse_ingress_refused_connections_total{port=\"mx\",reason=\"limit\"} 1"));
}

// ---- refusals

TEST_F(SessionTest, WhatWasRefusedCanBeTraced) {
  Start();
  const auto admin = ingress::v1::IngressAdminService::NewStub(app_->rpc().InProcessChannel());
  const auto find = [&](const ingress::v1::FindRefusalsRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
    ingress::v1::FindRefusalsResponse response;
    EXPECT_TRUE(admin->FindRefusals(&context, request, &response).ok());
    return response;
  };
  SmtpTestClient& client = ReadyForData();
  EXPECT_EQ(client.Say("Subject: x\r\n\r\nbare\nline\r\n."), "550 5.6.0");
  EXPECT_EQ(client.Say("MAIL FROM:<other@client.example>"), "250 2.1.0");
  EXPECT_EQ(client.Say("RCPT TO:<nobody@mx.example>"), "550 5.1.1");
  peers_->FailEnqueues({absl::ResourceExhaustedError("disk full")});
  EXPECT_EQ(client.Say("RCPT TO:<user@mx.example>"), "250 2.1.5");
  EXPECT_EQ(client.Say("DATA"), "354");
  EXPECT_EQ(client.Say("Subject: x\r\n\r\nbody\r\n."), "452 4.3.1");

  ingress::v1::FindRefusalsRequest request;
  request.set_address("Nobody@mx.example");
  ingress::v1::FindRefusalsResponse response = find(request);
  ASSERT_EQ(response.refusals_size(), 1);
  EXPECT_EQ(response.remembered(), 3u);
  const ingress::v1::Refusal unknown = response.refusals(0);
  EXPECT_EQ(unknown.stage(), "rcpt");
  EXPECT_EQ(unknown.reason(), "no_such_mailbox");
  EXPECT_EQ(unknown.port(), "mx");
  EXPECT_EQ(unknown.client_address(), "127.0.0.1");
  EXPECT_EQ(unknown.helo(), "client.example");
  EXPECT_EQ(unknown.reverse_path(), "other@client.example");
  EXPECT_EQ(unknown.reply(), "550 5.1.1 No such mailbox");

  request.set_address("user@mx.example");
  response = find(request);
  ASSERT_EQ(response.refusals_size(), 2);  // newest first
  EXPECT_EQ(response.refusals(0).reason(), "queue_full");
  EXPECT_THAT(response.refusals(0).error(), HasSubstr("disk full"));
  EXPECT_EQ(response.refusals(0).trace_id(), unknown.trace_id());
  EXPECT_EQ(response.refusals(1).reason(), "bare_line_end");
  request.set_trace_id(unknown.trace_id());
  EXPECT_EQ(find(request).refusals_size(), 2);
  Metrics& m = app_->metrics();
  EXPECT_EQ(m.Refused(Stage::kRcpt, Reason::kNoSuchMailbox).Value(), 1);
  EXPECT_EQ(m.Refused(Stage::kData, Reason::kQueueFull).Value(), 1);
  EXPECT_EQ(m.Refused(Stage::kData, Reason::kBareLineEnd).Value(), 1);
}

TEST_F(SessionTest, RefusedConnectionsAndTimeOutsAreReportedToo) {
  config_.mutable_ingress()->mutable_smtp()->set_max_connections_per_address(1);
  config_.mutable_ingress()->mutable_command_timeout()->set_nanos(300000000);
  SmtpTestClient& client = Connect();
  EXPECT_EQ(client.Code(), "220");
  EXPECT_EQ(Connect().Code(), "421 4.3.2");
  EXPECT_EQ(client.Code(), "421 4.4.2");
  EXPECT_EQ(client.Code(), "closed");
  EXPECT_EQ(app_->metrics().Refused(Stage::kConnect, Reason::kAddressLimit).Value(), 1);
  EXPECT_EQ(app_->metrics().Refused(Stage::kSession, Reason::kTimeout).Value(), 1);
  EXPECT_THAT(app_->refusals().Find({.by = RefusalQuery::By::kClient, .text = "127.0.0.1"}), SizeIs(2));
}

// ---- settings and metrics

TEST_F(SessionTest, ReloadChangesLimitsOfNewSessions) {
  SmtpTestClient& old = Connect();
  old.Code();
  config::v1::Config changed = config_;
  changed.mutable_ingress()->set_max_message_bytes(70000);
  EXPECT_TRUE(app_->Reload(changed).ok());
  old.Send("EHLO c\r\n");
  EXPECT_THAT(old.Reply(), HasSubstr("SIZE 52428800\r\n"));
  SmtpTestClient& client = Connect();
  client.Code();
  client.Send("EHLO c\r\n");
  EXPECT_THAT(client.Reply(), HasSubstr("SIZE 70000\r\n"));
}

TEST_F(SessionTest, MetricsCountWhatHappened) {
  SmtpTestClient& client = ReadyForData();
  EXPECT_EQ(client.Say("Subject: x\r\n\r\nbody\r\n."), "250 2.0.0");
  EXPECT_EQ(client.Say("MAIL FROM:<a@b.example>"), "250 2.1.0");
  EXPECT_EQ(client.Say("RCPT TO:<nobody@mx.example>"), "550 5.1.1");
  EXPECT_EQ(client.Say("QUIT"), "221 2.0.0");
  EXPECT_EQ(client.Code(), "closed");
  Metrics& m = app_->metrics();
  EXPECT_EQ(m.Messages(MessageEnd::kAccepted).Value(), 1);
  EXPECT_EQ(m.message_bytes.Value(), 20);
  EXPECT_EQ(m.recipients.Value(), 1);
  EXPECT_EQ(m.Connections(Port::kMx).Value(), 1);
  EXPECT_EQ(m.Command(smtp::Verb::kRcpt).Value(), 2);
  EXPECT_EQ(m.Replies(5).Value(), 1);
  EXPECT_EQ(m.Replies(3).Value(), 1);
  const std::string text = runtime_->registry().Serialize();
  EXPECT_THAT(text, HasSubstr("posthouse_ingress_accept_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("posthouse_ingress_messages_total{result=\"cut_off\"} 0"));
  EXPECT_THAT(text, Not(HasSubstr("posthouse_ingress_certificate_not_after_timestamp_seconds 0\n")));
}

}  // namespace
}  // namespace posthouse::ingress
