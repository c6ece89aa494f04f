// Remote delivery to hosts on loopback that reply as a test asks them to.
#include "services/queue/delivery/remote.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/async/thread_pool.h"
#include "services/common/log/log.h"
#include "services/common/net/connection.h"
#include "services/common/status/status.h"

namespace posthouse::queue {
namespace {

namespace rv1 = posthouse::routing::v1;
using Strings = std::vector<std::string>;
using Kind = Outcome::Kind;

constexpr absl::Duration kLong = absl::Seconds(30);

// An SMTP host. `answer(n, line)` is its reply to a line of its n-th connection (from 1);
// the line is "" for the greeting and "." for a message. "drop" closes the connection,
// "hang" sends nothing until the client leaves.
class Host {
 public:
  using Answer = std::function<std::string(int connection, const std::string& line)>;
  Host(net::EventLoops& loops, Answer answer) : answer_(std::move(answer)) {
    auto listener = net::Listener::Start(loops, net::ListenerOptions(),
                                         [this](std::unique_ptr<net::Connection> c) { return Serve(std::move(c)); });
    PH_CHECK(listener.ok());
    listener_ = *std::move(listener);
  }
  ~Host() {
    ThreadPool pool(1);
    SyncWait(DrainOn(pool, *listener_));
  }
  uint16_t port() const { return listener_->port(); }
  int connections() const {
    absl::MutexLock lock(&mutex_);
    return connections_;
  }
  void AwaitConnection() const {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(+[](const int* n) { return *n > 0; }, &connections_));
  }
  // Waits for the end of a "hang": whether the client ended it.
  bool AwaitClientLeft() const {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(+[](const std::optional<bool>* left) { return left->has_value(); }, &client_left_));
    return *client_left_;
  }
  Strings lines() const {
    absl::MutexLock lock(&mutex_);
    return lines_;
  }
  Strings messages() const {
    absl::MutexLock lock(&mutex_);
    return messages_;
  }

 private:
  static Task<void> DrainOn(Executor& executor, net::Listener& listener) {
    co_await SwitchTo(executor);
    co_await listener.Drain(absl::ZeroDuration());
  }
  Task<void> Serve(std::unique_ptr<net::Connection> connection) {
    int n = 0;
    {
      absl::MutexLock lock(&mutex_);
      n = ++connections_;
    }
    std::string line;
    while (true) {
      const std::string reply = answer_(n, line);
      if (reply == "drop") break;
      if (reply == "hang") {
        const absl::StatusOr<std::string> read = co_await connection->ReadSome(1, kLong);
        absl::MutexLock lock(&mutex_);
        client_left_ = !absl::IsDeadlineExceeded(read.status());
        break;
      }
      if (!(co_await connection->Write(reply + "\r\n", kLong)).ok()) break;
      if (line == "QUIT") break;
      if (line == "DATA" && reply[0] == '3') {
        std::string message;
        while (true) {
          absl::StatusOr<std::string> text = co_await connection->ReadLine(10000, kLong);
          if (!text.ok()) co_return;
          if (*text == ".") break;
          absl::StrAppend(&message, *text, "\r\n");
        }
        absl::MutexLock lock(&mutex_);
        messages_.push_back(message);
        line = ".";
        continue;
      }
      absl::StatusOr<std::string> next = co_await connection->ReadLine(10000, kLong);
      if (!next.ok()) break;
      line = *std::move(next);
      absl::MutexLock lock(&mutex_);
      lines_.push_back(line);
    }
    connection->Close();
  }

  const Answer answer_;
  std::unique_ptr<net::Listener> listener_;
  mutable absl::Mutex mutex_;
  int connections_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<bool> client_left_ ABSL_GUARDED_BY(mutex_);
  Strings lines_ ABSL_GUARDED_BY(mutex_), messages_ ABSL_GUARDED_BY(mutex_);
};

// Replies 2yz to every line, except to those that begin with a key of `but`.
Host::Answer Yes(std::map<std::string, std::string> but = {}) {
  return [but = std::move(but)](int, const std::string& line) -> std::string {
    for (const auto& [prefix, reply] : but) {
      if (line == prefix || (!prefix.empty() && absl::StartsWith(line, prefix))) return reply;
    }
    return line.empty() ? "220 hello" : line == "DATA" ? "354 go" : line == "QUIT" ? "221 bye" : "250 2.0.0 ok";
  };
}

class FakeRouting final : public Routing {
 public:
  Task<absl::StatusOr<std::shared_ptr<const rv1::ResolveDestinationResponse>>> ResolveDestination(
      std::string, std::string) override {
    co_return std::make_shared<const rv1::ResolveDestinationResponse>(response);
  }
  Task<absl::StatusOr<rv1::ResolveRecipientResponse>> ResolveRecipient(std::string, std::string) override {
    co_return absl::UnimplementedError("not asked");
  }
  Task<absl::StatusOr<rv1::ResolveRecipientResponse>> ResolveLocal(std::string, std::string) override {
    co_return absl::UnimplementedError("not asked");
  }
  rv1::ResolveDestinationResponse response;
};

class RemoteTest : public ::testing::Test {
 protected:
  ~RemoteTest() override {
    if (remote_ != nullptr) remote_->Abort();
    remote_ = nullptr;
    for (auto& host : hosts_) host = nullptr;
    loops_.Stop();
  }
  // Adds a host with the next preference; null: its port is closed.
  Host* Add(Host::Answer answer, rv1::TlsPolicy tls = rv1::TLS_POLICY_OPPORTUNISTIC) {
    uint16_t port = 0;
    auto server = std::make_unique<Host>(loops_, answer ? answer : Yes());
    port = server->port();
    if (!answer) server = nullptr;
    AddHost({"127.0.0.1"}, port, tls);
    hosts_.push_back(std::move(server));
    return hosts_.back().get();
  }
  void AddHost(Strings addresses, uint16_t port, rv1::TlsPolicy tls) {
    routing_.response.set_outcome(rv1::ResolveDestinationResponse::OUTCOME_HOSTS);
    routing_.response.set_site("example.com");
    rv1::Host* host = routing_.response.add_hosts();
    host->set_name(absl::StrCat("mx", routing_.response.hosts_size(), ".example.com"));
    host->set_port(port);
    host->set_tls(tls);
    for (const std::string& address : addresses) host->add_addresses(address);
  }
  RemoteDelivery& remote() {
    if (remote_ == nullptr) {
      options_.hostname = "client.example";
      remote_ = *RemoteDelivery::Create(loops_, routing_, options_);
    }
    return *remote_;
  }
  DeliveryAttempt Message(Strings recipients, const std::string& text = "Subject: x\r\n\r\nhello\r\n") {
    envelope_.set_reverse_path("s@client.example");
    envelope_.set_smtputf8(false);
    DeliveryAttempt t(envelope_);
    t.queue_id = *QueueId::FromText("01HF7YAT3VZZZZZZZZZZZZZZZZ");
    t.destination = Destination::Remote("example.com");
    for (size_t i = 0; i < recipients.size(); ++i) {
      t.targets.push_back({static_cast<int>(i), {}});
      t.targets.back().recipient.set_address(recipients[i]);
    }
    t.memory = std::make_shared<const std::string>(text);
    t.size_bytes = text.size();
    return t;
  }
  DeliveryResult Deliver(DeliveryAttempt attempt) { return SyncWait(Run(attempt)); }
  Task<DeliveryResult> Run(const DeliveryAttempt& attempt) {
    co_await SwitchTo(loops_.at(0));
    co_return co_await remote().Deliver(attempt);
  }
  // "relayed 250 2.0.0", "temporary 4.4.1"
  static Strings Texts(const DeliveryResult& result) {
    static constexpr const char* kKinds[] = {"delivered", "relayed", "temporary", "permanent"};
    Strings out;
    for (const Outcome& o : result.outcomes) {
      out.push_back(absl::StrCat(kKinds[static_cast<int>(o.kind)], " ",
                                 o.attempt.reply().code() == 0 ? "" : absl::StrCat(o.attempt.reply().code(), " "),
                                 o.status));
    }
    return out;
  }

  net::EventLoops loops_{2};
  FakeRouting routing_;
  RemoteOptions options_;
  v1::Envelope envelope_;  // of the message that Message() made last
  std::vector<std::unique_ptr<Host>> hosts_;
  std::unique_ptr<RemoteDelivery> remote_;
};

TEST_F(RemoteTest, RecipientsShareATransactionAndMessagesAConnection) {
  Host* host = Add(Yes({{"RCPT TO:<no@", "550 5.1.1 nobody"}, {"EHLO", "250-hi\r\n250-PIPELINING\r\n250 DSN"}}));
  DeliveryResult first = Deliver(Message({"a@example.com", "no@example.com", "b@example.com"}));
  EXPECT_EQ(Texts(first), (Strings{"relayed 250 2.0.0", "permanent 550 5.1.1", "relayed 250 2.0.0"}));
  EXPECT_TRUE(first.outcomes[0].dsn_handed_on);
  EXPECT_EQ(first.outcomes[0].attempt.host(), "mx1.example.com");
  EXPECT_EQ(first.reachability, Reachability::kSuccess);
  EXPECT_EQ(first.site, "example.com");
  EXPECT_EQ(Texts(Deliver(Message({"c@example.com"}))), Strings{"relayed 250 2.0.0"});
  EXPECT_EQ(host->connections(), 1);
  EXPECT_EQ(host->messages(), (Strings{"Subject: x\r\n\r\nhello\r\n", "Subject: x\r\n\r\nhello\r\n"}));
  EXPECT_EQ(remote().stats().opened, 1u);
  EXPECT_EQ(remote().stats().reused, 1u);
}

// ---- connections that were kept

TEST_F(RemoteTest, AKeptConnectionThatHasGoneIsReplaced) {
  // Some hosts announce it, others just close.
  for (const std::string last : {"drop", "421 4.4.2 idle for too long"}) {
    Host* host = Add([last](int n, const std::string& line) {
      return n == 1 && absl::StartsWith(line, "MAIL FROM:<second") ? last : Yes()(n, line);
    });
    EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"relayed 250 2.0.0"});
    DeliveryAttempt second = Message({"b@example.com"});
    envelope_.set_reverse_path("second@client.example");
    DeliveryResult result = Deliver(second);
    EXPECT_EQ(Texts(result), Strings{"relayed 250 2.0.0"});
    EXPECT_EQ(result.reachability, Reachability::kSuccess);
    EXPECT_EQ(host->connections(), 2);
    remote_->Abort();
    remote_ = nullptr;
    routing_.response.clear_hosts();
  }
}

// Also when the host had refused every recipient on it, so that no message was sent.
TEST_F(RemoteTest, AKeptConnectionWithoutAMessageIsReplacedToo) {
  Host* host = Add([](int n, const std::string& line) -> std::string {
    if (absl::StartsWith(line, "RCPT TO:<no@")) return "550 5.1.1 nobody";
    if (n == 1 && absl::StartsWith(line, "MAIL FROM:<second")) return "drop";
    return Yes()(n, line);
  });
  EXPECT_EQ(Texts(Deliver(Message({"no@example.com"}))), Strings{"permanent 550 5.1.1"});
  DeliveryAttempt second = Message({"b@example.com"});
  envelope_.set_reverse_path("second@client.example");
  EXPECT_EQ(Texts(Deliver(second)), Strings{"relayed 250 2.0.0"});
  EXPECT_EQ(host->connections(), 2);
}

// ---- several hosts, RFC 5321 §5.1

TEST_F(RemoteTest, TheSecondHostTakesOver) {
  for (const std::string first : {"", "drop", "421 4.3.2 busy", "554 5.3.2 no service here", "451 4.3.0 later"}) {
    Host* refuses = Add(first.empty() ? Host::Answer() : Yes({{"", first}}));
    Host* takes = Add(Yes());
    DeliveryResult result = Deliver(Message({"a@example.com"}));
    EXPECT_EQ(Texts(result), Strings{"relayed 250 2.0.0"}) << first;
    // The destination answers: it must not be blocked.
    EXPECT_EQ(result.reachability, Reachability::kSuccess) << first;
    EXPECT_EQ(takes->messages().size(), 1u);
    if (refuses != nullptr) EXPECT_EQ(refuses->connections(), 1);
    remote_->Abort();
    remote_ = nullptr;
    routing_.response.clear_hosts();
  }
}

// RFC 5321 §4.5.4.1: only the first message waits for a host that does not answer.
TEST_F(RemoteTest, ADeadHostIsTriedLastForAWhile) {
  Add(nullptr);
  Host* takes = Add(Yes());
  for (int i = 0; i < 3; ++i) Deliver(Message({"a@example.com"}));
  EXPECT_EQ(takes->messages().size(), 3u);
  EXPECT_EQ(remote().stats().failed, 1u);
  // When it is the only host, it is tried again.
  routing_.response.mutable_hosts()->DeleteSubrange(1, 1);
  DeliveryResult alone = Deliver(Message({"a@example.com"}));
  EXPECT_EQ(Texts(alone), Strings{"temporary 4.4.1"});
  EXPECT_EQ(alone.reachability, Reachability::kUnreachable);
  EXPECT_TRUE(absl::StartsWith(alone.outcomes[0].attempt.error(), "connecting to 127.0.0.1:"));
  EXPECT_EQ(remote().stats().failed, 2u);
}

TEST_F(RemoteTest, ManyDeadAddressesOfTheBestHostDoNotHideTheNext) {
  uint16_t closed = 0;
  {
    Host gone(loops_, Yes());
    closed = gone.port();
  }
  AddHost({"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7"}, closed,
          rv1::TLS_POLICY_OPPORTUNISTIC);
  Host* takes = Add(Yes());
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"relayed 250 2.0.0"});
  EXPECT_EQ(takes->messages().size(), 1u);
}

// A 4yz reply sends its recipient, and no other, to the next host.
TEST_F(RemoteTest, WhoIsDeferredGoesToTheNextHost) {
  Add(Yes({{"RCPT TO:<late@", "450 4.2.0 later"}, {"RCPT TO:<no@", "550 5.1.1 nobody"}}));
  Host* second = Add(Yes());
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com", "late@example.com", "no@example.com"}))),
            (Strings{"relayed 250 2.0.0", "relayed 250 2.0.0", "permanent 550 5.1.1"}));
  EXPECT_EQ(second->lines(),
            (Strings{"EHLO client.example", "MAIL FROM:<s@client.example>", "RCPT TO:<late@example.com>", "DATA"}));
}

// A 5yz reply of a backup host does not override the 4yz reply of a preferred one.
TEST_F(RemoteTest, ANoBehindALaterIsLater) {
  Add(Yes({{"RCPT", "451 4.7.1 greylisted"}}));
  Add(Yes({{"RCPT", "550 5.7.1 we do not relay"}}));
  Host* third = Add(Yes());
  DeliveryResult result = Deliver(Message({"a@example.com"}));
  EXPECT_EQ(Texts(result), Strings{"temporary 451 4.7.1"});
  EXPECT_EQ(result.reachability, Reachability::kSuccess);
  EXPECT_EQ(third->connections(), 0);  // two have been asked
}

TEST_F(RemoteTest, NobodyIsAskedTwiceWhenTheMessageMayHaveBeenTaken) {
  Host* first = Add(Yes({{".", "drop"}}));
  Host* second = Add(Yes());
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"temporary 4.4.2"});
  EXPECT_EQ(first->messages().size(), 1u);
  EXPECT_EQ(second->connections(), 0);
}

TEST_F(RemoteTest, ADestinationThatSendsUsAwayIsLeftAlone) {
  Add(Yes({{"MAIL", "421 4.3.2 too busy"}}));
  DeliveryResult result = Deliver(Message({"a@example.com"}));
  EXPECT_EQ(Texts(result), Strings{"temporary 421 4.3.2"});
  EXPECT_EQ(result.reachability, Reachability::kUnreachable);
}

// A host that is told to refuse us for a moment, or because of our address, refuses with 5yz.
TEST_F(RemoteTest, ARefusedSessionIsTriedAgain) {
  for (const std::string step : {"", "EHLO"}) {
    for (const std::string never : {"554 5.3.2 no", "521 5.3.2 never", "556 5.1.10 never"}) {
      Add(Yes({{step, never}, {"HELO", never}}));
      DeliveryResult result = Deliver(Message({"a@example.com"}));
      // RFC 7504: 521 and 556 say that it will not pass.
      EXPECT_EQ(Texts(result), Strings{never == "554 5.3.2 no" ? "temporary 554 4.3.2"
                                                               : absl::StrCat("permanent ", never.substr(0, 3),
                                                                              never[2] == '1' ? " 5.3.2" : " 5.1.10")});
      EXPECT_FALSE(result.outcomes[0].attempt.ours());
      remote_->Abort();
      remote_ = nullptr;
      routing_.response.clear_hosts();
    }
  }
}

TEST_F(RemoteTest, OnlyWhenEverybodySaysNeverIsItNever) {
  options_.bounce_refused_sessions = true;
  Add(Yes({{"", "554 5.3.2 no"}}));
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"permanent 554 5.3.2"});
  Add(nullptr);
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"temporary 4.4.1"});
}

// ---- TLS

// RFC 7435 §3; some hosts offer STARTTLS and hang up when it is used.
TEST_F(RemoteTest, OpportunisticTlsFallsBackToPlainText) {
  for (const std::string reply : {"drop", "421 4.7.0 no", "454 4.7.0 not now", "220 go", "501 5.5.4 what"}) {
    const auto answer = Yes({{"EHLO", "250-hi\r\n250 STARTTLS"}, {"STARTTLS", reply}});
    Host* host = Add([answer](int n, const std::string& line) {
      // A closed connection instead of a TLS hello: the handshake fails.
      return !line.empty() && line[0] == '\x16' ? std::string("drop") : answer(n, line);
    });
    options_.reply_timeout = absl::Seconds(2);  // also of a handshake that gets no answer
    EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"relayed 250 2.0.0"}) << reply;
    EXPECT_EQ(host->messages().size(), 1u);
    // A downgrade leaves a trace.
    EXPECT_EQ(remote().stats().tls_refused + remote().stats().tls_failed, 1u) << reply;
    EXPECT_EQ(remote().stats().tls_refused, reply[0] == '4' || reply[0] == '5' ? 1u : 0u) << reply;
    remote_->Abort();
    remote_ = nullptr;
    routing_.response.clear_hosts();
  }
  Add(Yes());  // a host that never announced STARTTLS
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"relayed 250 2.0.0"});
  EXPECT_EQ(remote().stats().tls_refused + remote().stats().tls_failed, 0u);
}

std::string* logged = nullptr;

TEST_F(RemoteTest, TheLogNamesTheHostAndTheReasonOfATlsFallback) {
  Add(Yes({{"EHLO", "250-hi\r\n250 STARTTLS"}, {"STARTTLS", "454 4.7.0 no key"}}));
  std::string lines;
  logged = &lines;
  log::SetSinkForTest([](absl::string_view line) { absl::StrAppend(logged, line, "\n"); });
  Deliver(Message({"a@example.com"}));
  log::SetSinkForTest(nullptr);
  EXPECT_TRUE(absl::StrContains(lines, "\"event\":\"tls_fallback\"")) << lines;
  EXPECT_TRUE(absl::StrContains(lines, "\"host\":\"mx1.example.com\"")) << lines;
  EXPECT_TRUE(absl::StrContains(lines, "STARTTLS refused: 454 4.7.0 no key")) << lines;
  EXPECT_TRUE(absl::StrContains(lines, "01HF7YAT3VZZZZZZZZZZZZZZZZ")) << lines;
}

TEST_F(RemoteTest, RequiredTlsDoesNot) {
  Host* plain = Add(Yes(), rv1::TLS_POLICY_REQUIRED);
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"temporary 451 4.7.4"});
  EXPECT_EQ(plain->messages().size(), 0u);
}

// "Encrypt or defer": the refusal of encryption bounces nothing.
TEST_F(RemoteTest, RequiredTlsThatIsRefusedDefersTheMessage) {
  Host* host = Add(Yes({{"EHLO", "250-hi\r\n250 STARTTLS"}, {"STARTTLS", "554 5.7.0 no"}}), rv1::TLS_POLICY_REQUIRED);
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"temporary 554 4.3.2"});
  EXPECT_EQ(host->messages().size(), 0u);
}

// ---- replies

// A host that stored the message gets it once, however much it says about it.
TEST_F(RemoteTest, ALongReplyKeepsItsMeaning) {
  const std::string chatter(10000, 'x');
  Host* host = Add(Yes({{"", "220 " + chatter},
                        {"EHLO", "250-hi\r\n250 " + chatter},
                        {"RCPT TO:<no@", "550 5.1.1 " + chatter},
                        {"DATA", "354 " + chatter},
                        {".", "250 2.0.0 " + chatter}}));
  DeliveryResult result = Deliver(Message({"a@example.com", "no@example.com"}));
  EXPECT_EQ(Texts(result), (Strings{"relayed 250 2.0.0", "permanent 550 5.1.1"}));
  EXPECT_EQ(result.reachability, Reachability::kSuccess);
  EXPECT_EQ(host->messages().size(), 1u);
}

// RFC 5321 §4.5.3.2.6: the reply to the message has a time of its own.
TEST_F(RemoteTest, TheReplyToTheMessageHasItsOwnTimeout) {
  options_.end_of_data_timeout = absl::Milliseconds(50);
  Host* host = Add(Yes({{".", "hang"}}));
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"temporary 4.4.2"});
  EXPECT_TRUE(host->AwaitClientLeft());
  const smtp::ClientTimeouts capped = smtp::ClientTimeouts().CappedAt(absl::Seconds(1));
  EXPECT_EQ(capped.end_of_data, absl::Minutes(10));
  EXPECT_EQ(capped.greeting, absl::Seconds(1));
}

// What the client decides by itself is no reply of the host.
TEST_F(RemoteTest, OurDecisionsAreMarkedAsOurs) {
  Add(Yes({{"EHLO", "250-hi\r\n250 SIZE 5"}}));
  DeliveryResult result = Deliver(Message({"a@example.com"}));
  EXPECT_EQ(Texts(result), Strings{"permanent 552 5.3.4"});
  EXPECT_TRUE(result.outcomes[0].attempt.ours());
  routing_.response.set_outcome(rv1::ResolveDestinationResponse::OUTCOME_NULL_MX);
  EXPECT_TRUE(Deliver(Message({"a@example.com"})).outcomes[0].attempt.ours());
}

// Every attempt meets six dead addresses; the backup has its turn all the same.
TEST_F(RemoteTest, ABackupBehindManyDeadHostsIsReached) {
  uint16_t closed = 0;
  {
    Host gone(loops_, Yes());
    closed = gone.port();
  }
  for (int i = 1; i <= 12; i += 2) {
    AddHost({absl::StrCat("127.0.0.", i), absl::StrCat("127.0.0.", i + 1)}, closed, rv1::TLS_POLICY_OPPORTUNISTIC);
  }
  options_.unreachable_for = absl::ZeroDuration();  // as when retries come hours apart
  Host* backup = Add(Yes());
  int attempts = 1;
  while (attempts < 10 && Texts(Deliver(Message({"a@example.com"}))) != Strings{"relayed 250 2.0.0"}) ++attempts;
  EXPECT_LE(attempts, 4);
  EXPECT_EQ(backup->messages().size(), 1u);
}

// ---- SMTPUTF8, RFC 6531 §3.6

TEST_F(RemoteTest, SmtpUtf8IsAskedForWhenItIsNeeded) {
  Host* host = Add(Yes());
  DeliveryAttempt ascii = Message({"a@example.com"}, "Subject: x\r\n\r\nb\xc3\xb6\r\n");
  envelope_.set_smtputf8(true);
  EXPECT_EQ(Texts(Deliver(ascii)), Strings{"relayed 250 2.0.0"});
  DeliveryAttempt header = Message({"a@example.com"}, "Subject: \xc3\xb6\r\n\r\nx\r\n");
  envelope_.set_smtputf8(true);
  EXPECT_EQ(Texts(Deliver(header)), Strings{"permanent 550 5.6.7"});
  DeliveryAttempt sender = Message({"a@example.com"});
  envelope_.set_smtputf8(true);
  envelope_.set_reverse_path("\xc3\xb6@client.example");
  EXPECT_EQ(Texts(Deliver(sender)), Strings{"permanent 550 5.6.7"});
  EXPECT_EQ(host->messages().size(), 1u);
  // The same when the message is not in memory.
  envelope_.set_reverse_path("s@client.example");
  const auto text = std::exchange(ascii.memory, nullptr);
  ascii.read = [text](uint64_t offset, uint64_t length) -> Task<absl::StatusOr<absl::Cord>> {
    co_return absl::Cord(absl::string_view(*text).substr(offset, length));
  };
  EXPECT_EQ(Texts(Deliver(ascii)), Strings{"relayed 250 2.0.0"});
}

// ---- what a host cannot take as it is

// RFC 6152 §3; RFC 5321 §4.5.3.1.6
TEST_F(RemoteTest, AMessageIsConvertedForTheHostThatNeedsIt) {
  const std::string header = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n";
  const std::string eight_bit = header + "Content-Transfer-Encoding: 8bit\r\n\r\ngr\xc3\xbcn\r\n";
  const std::string encoded = header + "Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BCn\r\n";
  const std::string long_line = "Subject: x\r\n\r\n" + std::string(5000, 'z') + "\r\n";
  Host* knows = Add(Yes({{"EHLO", "250-hi\r\n250-SIZE 100000\r\n250 8BITMIME"}}));
  Deliver(Message({"a@example.com"}, eight_bit));
  EXPECT_EQ(remote().stats().converted, 0u);
  Deliver(Message({"a@example.com"}, long_line));
  EXPECT_EQ(remote().stats().converted, 1u);
  ASSERT_EQ(knows->messages().size(), 2u);
  EXPECT_EQ(knows->messages()[0], eight_bit);
  for (const absl::string_view line : absl::StrSplit(knows->messages()[1], "\r\n")) EXPECT_LE(line.size(), 76u);
  // 8-bit bytes are announced, also when the client did not.
  EXPECT_THAT(knows->lines(), testing::Contains(absl::StrCat("MAIL FROM:<s@client.example> SIZE=", eight_bit.size(),
                                                             " BODY=8BITMIME")));

  routing_.response.clear_hosts();
  Host* old = Add(Yes({{"EHLO", "250-hi\r\n250 SIZE 100000"}}));
  // From memory, and in small pieces.
  for (const uint64_t piece : {0, 1, 7}) {
    DeliveryAttempt attempt = Message({"a@example.com"}, eight_bit);
    if (piece > 0) {
      attempt.read = [text = std::exchange(attempt.memory, nullptr), piece](
                         uint64_t offset, uint64_t length) -> Task<absl::StatusOr<absl::Cord>> {
        co_return absl::Cord(absl::string_view(*text).substr(offset, std::min(length, piece)));
      };
    }
    EXPECT_EQ(Texts(Deliver(std::move(attempt))), Strings{"relayed 250 2.0.0"});
    EXPECT_EQ(old->messages().back(), encoded);
  }
  EXPECT_THAT(old->lines(), testing::Contains(absl::StrCat("MAIL FROM:<s@client.example> SIZE=", encoded.size())));
  EXPECT_EQ(remote().stats().converted, 4u);
}

// ---- failures of our own

TEST_F(RemoteTest, AMessageThatIsLostFailsAndOneThatCannotBeReadNowDoesNot) {
  Add(Yes());
  for (const auto& [status, text] :
       std::vector<std::pair<absl::Status, std::string>>{{absl::NotFoundError("no blob"), "permanent 554 5.3.0"},
                                                         {absl::UnavailableError("store"), "temporary 451 4.3.0"},
                                                         {absl::DataLossError("bad block"), "temporary 451 4.3.0"}}) {
    DeliveryAttempt t = Message({"a@example.com"});
    t.memory = nullptr;
    t.read = [error = status](uint64_t, uint64_t) -> Task<absl::StatusOr<absl::Cord>> { co_return error; };
    EXPECT_EQ(Texts(Deliver(t)), Strings{text});
  }
}

TEST_F(RemoteTest, AbortCutsAHostThatNeverGreets) {
  Host* host = Add([](int, const std::string&) { return "hang"; });
  remote();
  std::thread cut([&] {
    host->AwaitConnection();
    remote_->Abort();
  });
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com"}))), Strings{"temporary 4.4.1"});
  EXPECT_TRUE(host->AwaitClientLeft());
  cut.join();
  EXPECT_EQ(Texts(Deliver(Message({"a@example.com"})))[0].substr(0, 9), "temporary");
}

// ---- no hosts

TEST_F(RemoteTest, ARoutingAnswerWithoutHosts) {
  using Response = rv1::ResolveDestinationResponse;
  const std::vector<std::pair<Response::Outcome, std::string>> cases = {
      {Response::OUTCOME_NO_SUCH_DOMAIN, "permanent 550 5.1.2"},
      {Response::OUTCOME_NULL_MX, "permanent 556 5.1.10"},  // RFC 7505 §4.1
      {Response::OUTCOME_LOOP, "permanent 554 5.4.6"},
      {Response::OUTCOME_TEMPORARY, "temporary 451 4.4.3"},
      {Response::OUTCOME_UNSPECIFIED, "temporary 451 4.4.3"},
      {Response::OUTCOME_HOSTS, "temporary 451 4.4.3"},  // and none is named
  };
  for (const auto& [outcome, text] : cases) {
    routing_.response.set_outcome(outcome);
    DeliveryResult result = Deliver(Message({"a@example.com"}));
    EXPECT_EQ(Texts(result), Strings{text});
    EXPECT_EQ(result.reachability, Reachability::kNeutral);
  }
}

}  // namespace
}  // namespace posthouse::queue
