// Sessions until login. tests/conformance has sessions with a maildrop.
#include "services/gateway/pop3/session.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/channels.h"
#include "services/common/status/status.h"
#include "services/gateway/logins.h"
#include "services/gateway/mailbox_client.h"
#include "services/gateway/metrics.h"
#include "services/gateway/testing/fake_directory.h"
#include "services/gateway/testing/transcript.h"

namespace posthouse::gateway::pop3 {
namespace {

constexpr absl::Duration kLong = absl::Seconds(30);

class SessionTest : public testing::Test {
 protected:
  SessionTest() {
    config_.allow_plaintext_auth = true;
    grpc::ServerBuilder builder;
    builder.RegisterService(&directory_);
    server_ = builder.BuildAndStart();
    rpc::Channels channels;
    channels.directory = server_->InProcessChannel({});
    channels.mailbox[Home()] = std::make_shared<rpc::Members>(channels.directory);  // UNIMPLEMENTED, all of it
    LoginOptions options;
    options.failure_delay = absl::ZeroDuration();
    mailbox_ = std::make_unique<MailboxClient>(channels);
    logins_ = std::make_unique<Logins>(channels.directory, metrics_, options);
    services_.reset(new Services{*mailbox_, *logins_, metrics_, locks_});
  }
  ~SessionTest() override {
    if (listener_ != nullptr) SyncWait(listener_->Drain(kLong));
  }
  // Starts with the settings that the test has made by then.
  uint16_t Port() {
    if (listener_ == nullptr) {
      auto config = std::make_shared<const Config>(config_);
      listener_ = *net::Listener::Start(loops_, {}, [this, config](std::unique_ptr<net::Connection> c) {
        return ServePop3(std::move(c), config, *services_);
      });
    }
    return listener_->port();
  }

  net::EventLoops loops_{1};
  metrics::Registry registry_;
  Metrics metrics_{registry_};
  FakeDirectory directory_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<MailboxClient> mailbox_;
  std::unique_ptr<Logins> logins_;
  DropLocks locks_;
  std::unique_ptr<Services> services_;
  Config config_;
  std::unique_ptr<net::Listener> listener_;
};

TEST_F(SessionTest, WrongPasswordsEndTheSession) {
  config_.max_login_failures = 2;
  Transcript client(Port());
  client.Play(R"(
    S: +OK POP3 ready
    C: USER joe@a.example
    S: +OK *
    C: PASS wrong
    S: -ERR [AUTH] wrong name or password
    C: USER nobody
    S: +OK *
    C: PASS secret
    S: -ERR [AUTH] wrong name or password
    S: <closed>
  )");
}

TEST_F(SessionTest, AMailboxThatFailsDoesNotLookLikeAWrongPassword) {
  Transcript client(Port());
  client.Play("S: +OK *\nC: USER joe@a.example\nS: +OK *\nC: PASS secret\nS: -ERR [SYS/TEMP] *");
  const std::string counts = registry_.Serialize();
  for (const char* line : {"command=\"user\",protocol=\"pop3\",result=\"ok\"} 1\n",
                           "command=\"pass\",protocol=\"pop3\",result=\"unavailable\"} 1\n"}) {
    EXPECT_NE(counts.find(absl::StrCat("posthouse_gateway_commands_total{", line)), std::string::npos) << line;
  }
}

// Commands that are allowed before login do not keep the connection open.
TEST_F(SessionTest, TooSlowToLogIn) {
  config_.login_timeout = absl::Milliseconds(300);
  Transcript client(Port());
  std::string line = client.Line();
  for (int tries = 0; tries < 1000000 && line != "<closed>"; ++tries) {
    client.Send("CAPA\r\n");
    do {
      line = client.Line();
    } while (line != "." && line != "<closed>" && line != "<nothing>");
  }
  EXPECT_EQ(line, "<closed>");
}

TEST_F(SessionTest, LongLinesAreRefused) {
  Transcript client(Port());
  client.Play(absl::StrCat("S: +OK *\nC: USER ", std::string(20000, 'x'), "\nS: -ERR line too long"));
}

Task<absl::Status> StartTls(net::EventLoop& loop, uint16_t port, std::string* seen) {
  co_await SwitchTo(loop);
  PH_CO_ASSIGN_OR_RETURN(std::unique_ptr<net::Connection> c,
                         co_await net::Connect(loop, {"127.0.0.1", port}, "", kLong));
  const auto line = [&c]() { return c->ReadLine(8192, kLong); };
  PH_CO_RETURN_IF_ERROR((co_await line()).status());
  PH_CO_RETURN_IF_ERROR(co_await c->Write("USER u\r\n", kLong));
  PH_CO_ASSIGN_OR_RETURN(const std::string refused, co_await line());
  // A command that is pipelined after STLS in the clear must not be run.
  PH_CO_RETURN_IF_ERROR(co_await c->Write("STLS\r\nUSER injected\r\n", kLong));
  PH_CO_ASSIGN_OR_RETURN(const std::string begin, co_await line());
  PH_CO_ASSIGN_OR_RETURN(const auto tls, net::TlsClientContext::Create(net::VerifyPeer::kNone, ""));
  PH_CO_RETURN_IF_ERROR(co_await c->StartTlsClient(tls, "pop.example", kLong));
  PH_CO_RETURN_IF_ERROR(co_await c->Write("PASS p\r\nUSER u\r\n", kLong));
  PH_CO_ASSIGN_OR_RETURN(const std::string no_user, co_await line());
  PH_CO_ASSIGN_OR_RETURN(const std::string user, co_await line());
  absl::StrAppend(seen, refused, "|", begin, "|", no_user, "|", user);
  co_return absl::OkStatus();
}

// RFC 2595 §4
TEST_F(SessionTest, Stls) {
  const std::string base = absl::StrCat(getenv("TEST_TMPDIR"), "/pop3");
  const net::CertificateFiles files{base + ".crt", base + ".key"};
  ASSERT_TRUE(net::WriteSelfSigned(files, {"pop.example"}, 10).ok());
  config_.tls = *net::TlsServerContext::Create({files});
  config_.allow_plaintext_auth = false;
  std::string seen;
  const absl::Status status = SyncWait(StartTls(loops_.at(0), Port(), &seen));
  ASSERT_TRUE(status.ok()) << status << "\n" << seen;
  EXPECT_EQ(seen, "-ERR TLS required, use STLS first|+OK begin TLS negotiation|-ERR USER first|+OK send PASS");
}

TEST_F(SessionTest, SessionsAndCommandsAreCounted) {
  Transcript client(Port());
  client.Play("S: +OK *\nC: USER joe\nS: +OK *\nC: FROB\nS: -ERR *\nC: CAPA\nS: +OK*");
  client.SkipTo(".");
  EXPECT_EQ(metrics_.Sessions("pop3").Value(), 1);
  client.Play("C: QUIT\nS: +OK *\nS: <closed>");
  SyncWait(listener_->Drain(kLong));
  EXPECT_EQ(metrics_.Sessions("pop3").Value(), 0);
  const std::string text = registry_.Serialize();
  for (const char* command : {"user", "other", "capa", "quit"}) {
    EXPECT_NE(text.find(absl::StrCat("posthouse_gateway_command_seconds_count{command=\"", command,
                                     "\",protocol=\"pop3\"} 1")),
              std::string::npos)
        << command << "\n"
        << text;
  }
}

}  // namespace
}  // namespace posthouse::gateway::pop3
