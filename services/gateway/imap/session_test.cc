// Sessions before login, and what limits them. tests/conformance has sessions with a mailbox.
#include "services/gateway/imap/session.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/connection.h"
#include "services/common/rpc/channels.h"
#include "services/gateway/testing/fake_directory.h"
#include "services/gateway/testing/transcript.h"

namespace posthouse::gateway {
namespace {

Task<void> Serve(ImapShared* shared, std::unique_ptr<net::Connection> connection) {
  ImapSession session(*shared, std::move(connection));
  co_await session.Run();
}

class SessionTest : public testing::Test {
 protected:
  SessionTest() : metrics_(registry_), loops_(2) {
    settings_.allow_plaintext_auth = true;
    settings_.hostname = "mail.a.example";
    grpc::ServerBuilder builder;
    builder.RegisterService(&directory_);
    server_ = builder.BuildAndStart();
    channels_.directory = server_->InProcessChannel({});
    channels_.mailbox[Home()] = std::make_shared<rpc::Members>(channels_.directory);  // UNIMPLEMENTED, all of it
  }
  ~SessionTest() override {
    if (listener_ == nullptr) return;
    SyncWait(listener_->Drain(absl::Seconds(20)));
    watcher_->Stop();
    listener_.reset();  // before the loops
  }
  // Starts with the settings that the test has made by then.
  std::unique_ptr<Transcript> Connect() {
    if (listener_ == nullptr) Start();
    auto client = std::make_unique<Transcript>(listener_->port());
    client->Play("S: * OK [CAPABILITY IMAP4rev1 *] mail.a.example Posthouse ready");
    return client;
  }
  std::unique_ptr<Transcript> LogIn() {
    auto client = Connect();
    client->Play("C: l LOGIN joe@a.example secret\nS: l OK [CAPABILITY IMAP4rev1 * UIDPLUS *] *");
    return client;
  }

  FakeDirectory directory_;
  ImapSettings settings_;
  metrics::Registry registry_;
  std::unique_ptr<net::Listener> listener_;

 private:
  void Start() {
    LoginOptions options;
    options.failure_delay = absl::ZeroDuration();
    options.max_sessions_per_account = 3;
    mailbox_ = std::make_unique<MailboxClient>(channels_);
    logins_ = std::make_unique<Logins>(channels_.directory, metrics_, options);
    watcher_ = std::make_unique<ChangeWatcher>(*mailbox_, loops_.at(0));
    shared_ = std::make_unique<ImapShared>(*mailbox_, *logins_, metrics_, *watcher_, nullptr, settings_);
    ImapShared* const shared = shared_.get();
    listener_ = *net::Listener::Start(loops_, net::ListenerOptions(), [shared](std::unique_ptr<net::Connection> c) {
      return Serve(shared, std::move(c));
    });
  }

  Metrics metrics_;
  net::EventLoops loops_;
  std::unique_ptr<grpc::Server> server_;
  rpc::Channels channels_;
  std::unique_ptr<MailboxClient> mailbox_;
  std::unique_ptr<Logins> logins_;
  std::unique_ptr<ChangeWatcher> watcher_;
  std::unique_ptr<ImapShared> shared_;
};

// RFC 5530 §3
TEST_F(SessionTest, LoginFailuresHaveTheirOwnCodes) {
  auto client = Connect();
  directory_.FailNext({grpc::StatusCode::UNAVAILABLE, "down"});
  client->Play(R"(
    C: a LOGIN joe@a.example secret
    S: a NO [UNAVAILABLE] *
    C: b LOGIN joe@a.example wrong
    S: b NO [AUTHENTICATIONFAILED] *
  )");
  directory_.FailNext({grpc::StatusCode::RESOURCE_EXHAUSTED, "busy"});
  client->Play("C: c LOGIN joe@a.example secret\nS: c NO [LIMIT] *");
  directory_.FailNext({grpc::StatusCode::PERMISSION_DENIED, "suspended"});
  client->Play(R"(
    C: d LOGIN joe@a.example secret
    S: d NO [AUTHORIZATIONFAILED] *
    C: e LOGIN joe@a.example wrong
    S: * BYE Too many failed logins
    S: e NO [AUTHENTICATIONFAILED] *
    S: <closed>
  )");
  // A service level counts what is no fault of the client's.
  const std::string counts = registry_.Serialize();
  for (const char* line : {"result=\"unavailable\"} 1\n", "result=\"no\"} 4\n", "result=\"lost\"} 0\n"}) {
    EXPECT_NE(counts.find(absl::StrCat("posthouse_gateway_commands_total{command=\"login\",protocol=\"imap\",", line)),
              std::string::npos)
        << line;
  }
}

TEST_F(SessionTest, WithoutTlsTheDirectoryIsNotAsked) {
  settings_.allow_plaintext_auth = false;
  Connect()->Play("C: a LOGIN joe@a.example secret\nS: a NO [PRIVACYREQUIRED] *");
  EXPECT_EQ(directory_.logins(), 0);
}

TEST_F(SessionTest, SessionsPerAccountAreLimited) {
  auto one = LogIn();
  auto two = LogIn();
  auto three = LogIn();
  auto four = Connect();
  four->Play("C: a LOGIN joe@a.example secret\nS: a NO [LIMIT] *");
}

TEST_F(SessionTest, ASessionThatEndsMakesRoomForAnother) {
  auto one = LogIn();
  auto two = LogIn();
  auto three = LogIn();
  one->Play("C: a LOGOUT\nS: * BYE *\nS: a OK *\nS: <closed>");
  // The server gives the place back after it has closed the connection.
  std::string reply;
  for (int tries = 0; tries < 1000 && !LineMatches("a OK *", reply); ++tries) {
    auto four = Connect();
    four->Send("a LOGIN joe@a.example secret\r\n");
    reply = four->Line();
  }
  EXPECT_TRUE(LineMatches("a OK *", reply)) << reply;
}

// Clients that probe for extensions now and then are not cut off.
TEST_F(SessionTest, ErrorsInARowEndTheSession) {
  auto client = LogIn();
  for (int i = 0; i < 3; ++i) {
    for (int k = 0; k < 40; ++k) client->Play("C: a XLIST\nS: a BAD *");
    client->Play("C: b NOOP\nS: b OK *");
  }
  for (int k = 0; k < 49; ++k) client->Play("C: a XLIST\nS: a BAD *");
  client->Play("C: a XLIST\nS: a BAD *\nS: * BYE Too many errors\nS: <closed>");
}

TEST_F(SessionTest, TooSlowToLogIn) {
  settings_.login_timeout = absl::Milliseconds(50);
  Connect()->Play("S: * BYE Autologout; no login in time\nS: <closed>");
}

// RFC 3501 §5.4
TEST_F(SessionTest, IdleForTooLong) {
  settings_.idle_timeout = absl::Milliseconds(50);
  auto client = LogIn();
  client->Play("C: a IDLE\nS: + idling\nS: * BYE Autologout; idle for too long\nS: <closed>");
}

TEST_F(SessionTest, LongLinesAndLargeLiteralsAreBounded) {
  settings_.max_line_bytes = 8192;
  auto client = LogIn();
  client->Send(absl::StrCat("a ", std::string(100000, 'x'), "\r\n"));
  client->Play("S: a BAD *");
  client->Play("C: b SELECT {100000}\nS: b BAD *");
  client->Send(absl::StrCat("c SELECT {100000+}\r\n", std::string(100000, 'y'), "\r\n"));
  client->Play("S: c BAD *\nC: d NOOP\nS: d OK *");
  client->Send(absl::string_view("e NO\0OP\r\n", 9));
  client->Play("S: e BAD *\nC: f NOOP\nS: f OK *");
}

TEST_F(SessionTest, MetricsCountWhatHappened) {
  LogIn()->Play("C: a LOGOUT\nS: * BYE *\nS: a OK *\nS: <closed>");
  SyncWait(listener_->Drain(absl::Seconds(20)));
  const std::string text = registry_.Serialize();
  EXPECT_NE(text.find("posthouse_gateway_logins_total{protocol=\"imap\",result=\"ok\"} 1"), std::string::npos) << text;
  EXPECT_NE(text.find("posthouse_gateway_sessions{protocol=\"imap\"} 0"), std::string::npos) << text;
  EXPECT_NE(text.find("posthouse_gateway_command_seconds_count{command=\"logout\",protocol=\"imap\"} 1"),
            std::string::npos);
}

}  // namespace
}  // namespace posthouse::gateway
