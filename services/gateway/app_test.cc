// The process: listeners, TLS, drain, metrics. tests/conformance has sessions with a mailbox.
#include "services/gateway/app.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/net/connection.h"
#include "services/common/rpc/channels.h"
#include "services/common/runtime/testing/test_runtime.h"
#include "services/common/status/status.h"
#include "services/gateway/settings.h"
#include "services/gateway/testing/fake_directory.h"
#include "services/gateway/testing/transcript.h"

namespace posthouse::gateway {
namespace {

config::v1::Config TestConfig() {
  config::v1::Config config;
  config.set_hostname("mail.a.example");
  config.set_data_dir(
      absl::StrCat(getenv("TEST_TMPDIR"), "/", ::testing::UnitTest::GetInstance()->current_test_info()->name()));
  config.mutable_tls()->set_self_signed(true);
  auto* gateway = config.mutable_gateway();
  for (auto* endpoint :
       {gateway->mutable_imap(), gateway->mutable_imaps(), gateway->mutable_pop3(), gateway->mutable_pop3s()}) {
    endpoint->set_port(0);
  }
  return config;
}

class AppTest : public testing::Test {
 protected:
  void Start(const config::v1::Config& config) {
    runtime_ = runtime::NewTestRuntime(config);
    grpc::ServerBuilder builder;
    builder.RegisterService(&directory_);
    server_ = builder.BuildAndStart();
    rpc::Channels channels;
    channels.directory = server_->InProcessChannel({});
    channels.mailbox[Home()] = std::make_shared<rpc::Members>(channels.directory);  // UNIMPLEMENTED, all of it
    absl::StatusOr<std::unique_ptr<App>> app = App::Create(*runtime_, channels);
    ASSERT_TRUE(app.ok()) << app.status();
    app_ = *std::move(app);
  }
  std::unique_ptr<runtime::Runtime> runtime_;
  FakeDirectory directory_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<App> app_;
};

Task<absl::Status> StartTlsSession(net::EventLoop& loop, uint16_t port, std::string* seen) {
  PH_CO_ASSIGN_OR_RETURN(std::unique_ptr<net::Connection> c,
                         co_await net::Connect(loop, {"127.0.0.1", port}, "", absl::Seconds(10)));
  const auto line = [&c]() { return c->ReadLine(8192, absl::Seconds(10)); };
  PH_CO_ASSIGN_OR_RETURN(const std::string greeting, co_await line());
  absl::StrAppend(seen, greeting, "\n");
  // A command pipelined in the clear behind STARTTLS must not be executed (RFC 9051 §6.2.1).
  PH_CO_RETURN_IF_ERROR(co_await c->Write("a STARTTLS\r\nx LOGIN joe@a.example secret\r\n", absl::Seconds(10)));
  PH_CO_ASSIGN_OR_RETURN(const std::string begin, co_await line());
  absl::StrAppend(seen, begin, "\n");
  PH_CO_ASSIGN_OR_RETURN(const auto tls, net::TlsClientContext::Create(net::VerifyPeer::kNone, ""));
  PH_CO_RETURN_IF_ERROR(co_await c->StartTlsClient(tls, "mail.a.example", absl::Seconds(10)));
  for (const char* command : {"b CAPABILITY\r\n", "c LOGIN joe@a.example secret\r\n"}) {
    PH_CO_RETURN_IF_ERROR(co_await c->Write(command, absl::Seconds(10)));
    while (true) {
      PH_CO_ASSIGN_OR_RETURN(const std::string answer, co_await line());
      absl::StrAppend(seen, answer, "\n");
      if (answer[0] == command[0]) break;
    }
  }
  co_return absl::OkStatus();
}

TEST_F(AppTest, StartTls) {
  Start(TestConfig());
  std::string seen;
  net::EventLoop& loop = runtime_->loops().Next();
  const absl::Status status = SyncWait(StartTlsSession(loop, app_->imap_port(), &seen));
  ASSERT_TRUE(status.ok()) << status << "\n" << seen;
  EXPECT_TRUE(
      LineMatches("* OK [CAPABILITY *STARTTLS LOGINDISABLED] *\na OK Begin TLS\n"
                  "* CAPABILITY *AUTH=PLAIN AUTH=LOGIN\nb OK *\nc OK [CAPABILITY *] Logged in\n",
                  seen))
      << seen;
}

Task<absl::Status> TlsGreeting(net::EventLoop& loop, uint16_t port, std::string* seen) {
  PH_CO_ASSIGN_OR_RETURN(std::unique_ptr<net::Connection> c,
                         co_await net::Connect(loop, {"127.0.0.1", port}, "", absl::Seconds(10)));
  PH_CO_ASSIGN_OR_RETURN(const auto tls, net::TlsClientContext::Create(net::VerifyPeer::kNone, ""));
  PH_CO_RETURN_IF_ERROR(co_await c->StartTlsClient(tls, "mail.a.example", absl::Seconds(10)));
  PH_CO_ASSIGN_OR_RETURN(*seen, co_await c->ReadLine(8192, absl::Seconds(10)));
  co_return absl::OkStatus();
}

TEST_F(AppTest, ImplicitTls) {
  Start(TestConfig());
  std::string seen;
  const absl::Status status = SyncWait(TlsGreeting(runtime_->loops().Next(), app_->imaps_port(), &seen));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(LineMatches("* OK [CAPABILITY *AUTH=PLAIN*] *", seen)) << seen;
  EXPECT_EQ(seen.find("STARTTLS"), std::string::npos);
}

TEST_F(AppTest, AllPortsAreOpen) {
  Start(TestConfig());
  Transcript(app_->pop3_port()).Play("S: +OK POP3 *\nC: QUIT\nS: +OK *\nS: <closed>");
  EXPECT_NE(app_->pop3s_port(), 0);
  EXPECT_NE(app_->imaps_port(), 0);
}

TEST_F(AppTest, WithoutCertificateTheTlsPortsStayClosed) {
  config::v1::Config config = TestConfig();
  config.mutable_tls()->set_self_signed(false);
  Start(config);
  EXPECT_EQ(app_->imaps_port(), 0);
  EXPECT_NE(app_->imap_port(), 0);
  EXPECT_TRUE(app_->Ready().ok());
}

TEST_F(AppTest, DrainSaysByeAndEnds) {
  config::v1::Config config = TestConfig();
  config.mutable_gateway()->set_allow_plaintext_auth(true);
  Start(config);
  Transcript client(app_->imap_port());
  client.Play("S: * OK *\nC: a LOGIN joe@a.example secret\nS: a OK *");
  app_->Drain(absl::Seconds(20));
  EXPECT_FALSE(app_->Ready().ok());
  client.Play("S: * BYE Server is shutting down\nS: <closed>");
}

// Reads until the peer says no more; what it said.
Task<std::string> ReadToEnd(net::Connection* c) {
  std::string all;
  while (true) {
    const absl::StatusOr<std::string> some = co_await c->ReadSome(8192, absl::Seconds(10));
    if (!some.ok()) co_return all;
    all += *some;
  }
}
Task<absl::StatusOr<std::unique_ptr<net::Connection>>> DialTls(net::EventLoop& loop, uint16_t port) {
  co_await SwitchTo(loop);
  PH_CO_ASSIGN_OR_RETURN(std::unique_ptr<net::Connection> c,
                         co_await net::Connect(loop, {"127.0.0.1", port}, "", absl::Seconds(10)));
  PH_CO_ASSIGN_OR_RETURN(const auto tls, net::TlsClientContext::Create(net::VerifyPeer::kNone, ""));
  PH_CO_RETURN_IF_ERROR(co_await c->StartTlsClient(tls, "mail.a.example", absl::Seconds(10)));
  PH_CO_RETURN_IF_ERROR((co_await c->ReadLine(8192, absl::Seconds(10))).status());
  co_return c;
}

// One port's slow session does not use up the grace of the others.
TEST_F(AppTest, EveryPortIsDrainedAtOnce) {
  config::v1::Config config = TestConfig();
  config.mutable_gateway()->set_allow_plaintext_auth(true);
  Start(config);
  Transcript slow(app_->imap_port());  // in the middle of an exchange, and stays there
  slow.Play("S: * OK *\nC: a AUTHENTICATE PLAIN\nS: + ");
  net::EventLoop& loop = runtime_->loops().Next();
  auto secure = SyncWait(DialTls(loop, app_->imaps_port()));
  ASSERT_TRUE(secure.ok()) << secure.status();
  std::string said;
  std::thread reader([&] {
    said = SyncWait([](net::EventLoop& on, net::Connection* c) -> Task<std::string> {
      co_await SwitchTo(on);
      co_return co_await ReadToEnd(c);
    }(loop, secure->get()));
  });
  app_->Drain(absl::Milliseconds(500));
  reader.join();
  EXPECT_EQ(said, "* BYE Server is shutting down\r\n");
}

TEST_F(AppTest, ConnectionsAndTheCertificateAreMeasured) {
  Start(TestConfig());
  Transcript client(app_->imap_port());
  client.Play("S: * OK *");
  const std::string text = runtime_->registry().Serialize();
  EXPECT_NE(text.find("posthouse_gateway_open_connections{port=\"imap\"} 1"), std::string::npos);
  EXPECT_NE(text.find("posthouse_gateway_refused_connections_total{port=\"pop3s\"} 0"), std::string::npos);
  const size_t expiry = text.find("\nposthouse_gateway_certificate_not_after_timestamp_seconds ");
  ASSERT_NE(expiry, std::string::npos);
  EXPECT_GT(std::stod(text.substr(text.find(' ', expiry + 1))), static_cast<double>(absl::ToUnixSeconds(absl::Now())));
}

TEST_F(AppTest, APeerThatIsMissingStopsTheStart) {
  runtime_ = runtime::NewTestRuntime(TestConfig());
  EXPECT_EQ(App::Create(*runtime_, rpc::Channels()).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SettingsTest, DefaultsAndRefusals) {
  config::v1::Config config;
  absl::StatusOr<Settings> settings = ReadSettings(config);
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->imap.listener.port, 2143);
  EXPECT_EQ(settings->pop3s.listener.port, 2995);
  EXPECT_EQ(settings->max_line_bytes, 65536u);
  EXPECT_FALSE(settings->allow_plaintext_auth);
  config.mutable_gateway()->set_max_line_bytes(100);
  EXPECT_EQ(ReadSettings(config).status().message(), "gateway.max_line_bytes is 100: 8000 to 16MiB");
  config.mutable_gateway()->set_max_line_bytes(0);
  config.mutable_gateway()->mutable_imap()->set_proxy_port(12143);
  EXPECT_EQ(ReadSettings(config)->imap.listener.proxy_port, 12143);
  config.mutable_gateway()->mutable_imap()->set_proxy_port(70000);
  EXPECT_EQ(ReadSettings(config).status().message(), "gateway.imap.proxy_port is 70000: 0 to 65535");
  config.mutable_gateway()->mutable_imap()->clear_proxy_port();
  EXPECT_EQ(settings->drain_spread, std::nullopt);
  config.mutable_gateway()->mutable_drain_spread()->set_seconds(7);
  EXPECT_EQ(ReadSettings(config)->drain_spread, absl::Seconds(7));
  config.mutable_gateway()->mutable_drain_spread()->set_seconds(601);
  EXPECT_EQ(ReadSettings(config).status().message(), "gateway.drain_spread is 10m1s: 0s to 10m");
  config.mutable_gateway()->clear_drain_spread();
  config.mutable_gateway()->mutable_imap()->add_proxy_from("nonsense");
  EXPECT_FALSE(ReadSettings(config).ok());
}

}  // namespace
}  // namespace posthouse::gateway
