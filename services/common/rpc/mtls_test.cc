// mTLS between services: who gets in, who does not, and certificates that change.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/log/log.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/channels.h"
#include "services/common/rpc/credentials.h"
#include "services/common/rpc/server.h"
#include "services/common/rpc/streaming.h"
#include "services/common/rpc/testing/who_am_i.h"
#include "services/common/testing/test_ca.h"

namespace posthouse::rpc {
namespace {

using ::testing::HasSubstr;
namespace q = queue::v1;

std::string TemporaryDirectory() {
  const char* directory = std::getenv("TEST_TMPDIR");
  return directory != nullptr ? directory : "/tmp";
}

class MtlsTest : public ::testing::Test {
 protected:
  MtlsTest() : ca_(TemporaryDirectory(), "ours"), loops_(1), runner_(loops_, registry_), service_(runner_) {}
  ~MtlsTest() override {
    if (server_ != nullptr) server_->Shutdown(absl::ZeroDuration());
  }

  TlsFiles Files(const posthouse::testing::TestCa::Files& files, const std::string& ca) {
    return {files.certificate, files.private_key, ca};
  }
  TlsFiles Issue(const std::string& name) { return Files(ca_.Issue(name, name, {"127.0.0.1", name}), ca_.ca_file()); }

  absl::Status Start(const TlsFiles& tls, std::vector<std::string> allowed = {}) {
    ServerOptions options;
    options.tls = tls;
    options.allowed_peers = std::move(allowed);
    auto server = RpcServer::Start(options, {&service_}, registry_);
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    return absl::OkStatus();
  }

  // The name the server knows a client with these files by.
  absl::StatusOr<std::string> Ask(const TlsFiles& tls) {
    auto channel = Dial(absl::StrCat("127.0.0.1:", server_->port()), tls);
    if (!channel.ok()) return channel.status();
    return Ask(*channel);
  }
  static absl::StatusOr<std::string> Ask(const std::shared_ptr<grpc::Channel>& channel) {
    const auto stub = q::QueueAdminService::NewStub(channel);
    auto response = SyncWait(Call<q::GetItemResponse>(CallOptions(), q::GetItemRequest(),
                                                      [&](auto* context, auto* request, auto* resp, auto done) {
                                                        stub->async()->GetItem(context, request, resp, std::move(done));
                                                      }));
    if (!response.ok()) return response.status();
    return response->header();
  }

  posthouse::testing::TestCa ca_;
  metrics::Registry registry_;
  net::EventLoops loops_;
  ServerRunner runner_;
  WhoAmI service_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(MtlsTest, PeersWithOurCertificatesTalk) {
  ASSERT_TRUE(Start(Issue("queue")).ok());
  const auto name = Ask(Issue("ingress"));
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(*name, "ingress");
}

TEST_F(MtlsTest, TheCertificatesExpiryIsAMetric) {
  ASSERT_TRUE(Start(Issue("queue")).ok());
  const std::string text = registry_.Serialize();
  const size_t at = text.find("\nposthouse_rpc_certificate_not_after_timestamp_seconds ");
  ASSERT_NE(at, std::string::npos) << text;
  double when = 0;
  ASSERT_EQ(std::sscanf(text.c_str() + at, "\nposthouse_rpc_certificate_not_after_timestamp_seconds %lf", &when), 1);
  EXPECT_GT(when, absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  EXPECT_EQ(CertificateNotAfter("/nonexistent"), absl::InfinitePast());
}

// The metric is of the certificate in use, as gRPC keeps that when the new files are of no use.
TEST_F(MtlsTest, AFailedChangeOfTheCertificateIsCountedOnceAndKeepsItsExpiry) {
  const TlsFiles files = Issue("queue");
  ASSERT_TRUE(Start(files).ok());
  const std::string before = registry_.Serialize();
  EXPECT_THAT(before, HasSubstr("\nposthouse_rpc_certificate_reload_failures_total 0\n"));
  const size_t at = before.find("\nposthouse_rpc_certificate_not_after_timestamp_seconds ");
  const std::string expiry = before.substr(at, before.find('\n', at + 1) - at);
  std::ofstream(files.certificate_chain) << "not a certificate";
  for (int i = 0; i < 2; ++i) {
    const std::string after = registry_.Serialize();
    EXPECT_THAT(after, HasSubstr("\nposthouse_rpc_certificate_reload_failures_total 1\n"));
    EXPECT_THAT(after, HasSubstr(expiry));
  }
}

TEST_F(MtlsTest, ACertificateThatIsNotValidNowIsRefusedWithItsFileAndDate) {
  const auto issue = [this](int from, int to) {
    return Files(ca_.Issue("late", "queue", {"127.0.0.1"}, from, to), ca_.ca_file());
  };
  absl::Status status = Start(issue(-7200, -3600));
  EXPECT_THAT(std::string(status.message()), HasSubstr("late.pem expired on "));
  status = Start(issue(3600, 7200));
  EXPECT_THAT(std::string(status.message()), HasSubstr("late.pem is valid only from "));
  EXPECT_TRUE(Start(issue(60, 7200)).ok());  // issued just now, by a clock a little ahead of ours
}

TEST_F(MtlsTest, AWrongNameIsNamedWithTheNamesThatTheCertificateHas) {
  ASSERT_TRUE(Start(Files(ca_.Issue("wrong", "queue", {"queue-0", "192.0.2.1"}), ca_.ca_file())).ok());
  const auto channel = Dial(absl::StrCat("127.0.0.1:", server_->port()), Issue("ingress"));
  ASSERT_TRUE(channel.ok());
  const absl::Status status = Ask(*channel).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is for queue-0, 192.0.2.1, not for 127.0.0.1"));
}

TEST_F(MtlsTest, APortThatIsTakenIsNamedWithItsKey) {
  ASSERT_TRUE(Start(Issue("queue")).ok());
  ServerOptions options;
  options.port = server_->port();
  metrics::Registry registry;
  absl::Status status = RpcServer::Start(options, {&service_}, registry).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("rpc.port: cannot listen on 127.0.0.1:",
                                                                    options.port, ": another process uses the port")));
  options.address = "192.0.2.1";
  options.tls = Issue("queue");
  status = RpcServer::Start(options, {&service_}, registry).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("this machine does not have the address; change rpc.address"));
}

std::string& Logged() {
  static auto& lines = *new std::string;
  return lines;
}
absl::Mutex& LogMutex() {
  static auto& mutex = *new absl::Mutex;
  return mutex;
}

// gRPC's complaints are lines of our log.
TEST_F(MtlsTest, FailedHandshakesAreLinesOfTheLog) {
  ASSERT_TRUE(Start(Issue("queue")).ok());
  log::SetSinkForTest([](absl::string_view line) {
    absl::MutexLock lock(&LogMutex());
    Logged().append(line.data(), line.size());
  });
  posthouse::testing::TestCa other(TemporaryDirectory(), "theirs");
  EXPECT_FALSE(Ask(Files(other.Issue("ingress", "ingress", {"127.0.0.1"}), ca_.ca_file())).ok());
  log::SetSinkForTest(nullptr);
  absl::MutexLock lock(&LogMutex());
  EXPECT_THAT(Logged(), HasSubstr("\"event\":\"grpc\",\"error\":"));
}

TEST_F(MtlsTest, OnlyAllowedPeersGetIn) {
  ASSERT_TRUE(Start(Issue("queue"), {"ingress", "routing"}).ok());
  EXPECT_EQ(*Ask(Issue("ingress")), "ingress");
  const auto refused = Ask(Issue("gateway"));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("gateway is not an allowed peer"));
  // A DNS name of the certificate counts as well as its common name.
  const TlsFiles by_san = Files(ca_.Issue("pod", "some-pod-7", {"127.0.0.1", "routing"}), ca_.ca_file());
  EXPECT_TRUE(Ask(by_san).ok());
}

TEST_F(MtlsTest, AnotherAuthoritysClientIsRefused) {
  ASSERT_TRUE(Start(Issue("queue")).ok());
  posthouse::testing::TestCa other(TemporaryDirectory(), "theirs");
  const TlsFiles stranger = Files(other.Issue("ingress", "ingress", {"127.0.0.1"}), ca_.ca_file());
  EXPECT_EQ(Ask(stranger).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(MtlsTest, AnotherAuthoritysServerIsRefused) {
  ASSERT_TRUE(Start(Issue("queue")).ok());
  posthouse::testing::TestCa other(TemporaryDirectory(), "theirs");
  TlsFiles client = Issue("ingress");
  client.ca = other.ca_file();
  EXPECT_EQ(Ask(client).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(MtlsTest, AServerWithAnotherNameIsRefused) {
  ASSERT_TRUE(Start(Files(ca_.Issue("queue", "queue", {"queue.example"}), ca_.ca_file())).ok());
  EXPECT_EQ(Ask(Issue("ingress")).status().code(), absl::StatusCode::kUnavailable);
}

// An address that a name resolved to: the certificate must be the name's.
TEST_F(MtlsTest, AnAddressIsCheckedForTheNameItCameFrom) {
  ASSERT_TRUE(Start(Files(ca_.Issue("queue", "queue", {"queue.example"}), ca_.ca_file())).ok());
  const std::string address = absl::StrCat("127.0.0.1:", server_->port());
  EXPECT_EQ(*Ask(*DialAddress(address, "queue.example", Issue("ingress"))), "ingress");
  EXPECT_EQ(Ask(*DialAddress(address, "other.example", Issue("ingress"))).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(MtlsTest, PlaintextIsRefusedByATlsServer) {
  ASSERT_TRUE(Start(Issue("queue")).ok());
  EXPECT_EQ(Ask(TlsFiles()).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(MtlsTest, TheInProcessChannelNeedsNoCertificate) {
  ASSERT_TRUE(Start(Issue("queue"), {"ingress"}).ok());
  EXPECT_TRUE(Ask(server_->InProcessChannel()).ok());
}

// Both sides pick up new files: a new server certificate from another authority is
// trusted once the client's CA file names it.
TEST_F(MtlsTest, ChangedFilesAreReloaded) {
  const TlsFiles server_files = Issue("queue");
  TlsFiles client_files = Issue("ingress");
  ASSERT_TRUE(Start(server_files).ok());
  ASSERT_TRUE(Ask(client_files).ok());
  // The authority of the same directory and name again: new key, same file names.
  posthouse::testing::TestCa renewed(TemporaryDirectory(), "ours");
  const TlsFiles again = Files(renewed.Issue("queue", "queue", {"127.0.0.1"}), renewed.ca_file());
  ASSERT_EQ(again.certificate_chain, server_files.certificate_chain);
  const TlsFiles new_client = Files(renewed.Issue("new", "new", {"127.0.0.1"}), renewed.ca_file());
  // gRPC looks at the files every second. Until then handshakes fail, and the channel tries again.
  const auto channel = Dial(absl::StrCat("127.0.0.1:", server_->port()), new_client);
  ASSERT_TRUE(channel.ok()) << channel.status();
  ASSERT_TRUE((*channel)->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(60)));
  const absl::StatusOr<std::string> name = Ask(*channel);
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(*name, "new");
}

TEST_F(MtlsTest, BadFilesStopTheStart) {
  const TlsFiles good = Issue("queue");
  struct Case {
    TlsFiles files;
    const char* message;
  };
  const Case cases[] = {
      {{good.certificate_chain, "", good.ca}, "all three or none"},
      {{"", "", good.ca}, "all three or none"},
      {{good.certificate_chain, good.private_key, "/nonexistent/ca.pem"}, "cannot read /nonexistent/ca.pem"},
      {{good.certificate_chain, good.certificate_chain, good.ca}, "has no PEM private key"},
      {{good.private_key, good.private_key, good.ca}, "has no PEM certificate"},
      {{good.certificate_chain, Issue("other").private_key, good.ca}, "is not the key of the certificate"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(std::string(Start(c.files).message()), HasSubstr(c.message));
    EXPECT_THAT(std::string(Dial("127.0.0.1:1", c.files).status().message()), HasSubstr(c.message));
  }
}

TEST_F(MtlsTest, PlaintextStaysOnTheMachine) {
  ServerOptions options;
  options.address = "0.0.0.0";
  EXPECT_EQ(RpcServer::Start(options, {&service_}, registry_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Dial("dns:///queue.example:7402", TlsFiles()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Dial("192.0.2.1:7402", TlsFiles()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Dial("localhost:7402", TlsFiles()).ok());
}

TEST_F(MtlsTest, AllowedPeersWithoutMtlsIsAContradiction) {
  EXPECT_EQ(Start(TlsFiles(), {"ingress"}).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(MtlsTest, APortInUseIsAnError) {
  ASSERT_TRUE(Start(TlsFiles()).ok());
  ServerOptions options;
  options.port = server_->port();
  const auto second = RpcServer::Start(options, {&service_}, registry_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

TEST(CredentialsTest, HostsOfTargets) {
  struct Case {
    const char* target;
    const char* host;
    bool loopback;
  };
  const Case cases[] = {
      {"127.0.0.1:7401", "127.0.0.1", true},
      {"127.8.9.10:1", "127.8.9.10", true},
      {"[::1]:7401", "::1", true},
      {"ipv6:[::1]:7401", "::1", true},
      {"ipv4:10.0.0.1:7401", "10.0.0.1", false},
      {"localhost:1", "localhost", true},
      {"dns:///localhost:1", "localhost", true},
      {"dns:///queue.posthouse.svc:7402", "queue.posthouse.svc", false},
      {"dns://8.8.8.8/queue:7402", "queue", false},
      {"127.0.0.1.example.org:1", "127.0.0.1.example.org", false},
      {"2001:db8::1", "2001:db8::1", false},
      {"queue", "queue", false},
      {"unix:/run/x", "localhost", true},
      {"0.0.0.0:1", "0.0.0.0", false},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(HostOfTarget(c.target), c.host) << c.target;
    EXPECT_EQ(IsLoopback(HostOfTarget(c.target)), c.loopback) << c.target;
  }
}

TEST(ChannelsTest, AStoreWithoutANameServesEveryHome) {
  config::v1::Config config;
  config.mutable_peers()->add_mailbox()->set_target("127.0.0.1:7403");
  const auto channels = DialPeers(config, "queue");
  ASSERT_TRUE(channels.ok()) << channels.status();
  EXPECT_NE(channels->MailboxOf(Home("a")), nullptr);
  EXPECT_EQ(channels->MailboxOf(Home("")), channels->MailboxOf(Home("a")));
}

TEST(ChannelsTest, PeersAreDialledAndHomesFound) {
  config::v1::Config config;
  config.mutable_peers()->set_directory("127.0.0.1:7405");
  config.mutable_peers()->add_queue("127.0.0.1:7402");
  config.mutable_peers()->add_queue("127.0.0.1:7412");
  auto* shard = config.mutable_peers()->add_mailbox();
  shard->set_name("a");
  shard->set_target("127.0.0.1:7403");
  auto channels = DialPeers(config, "queue");
  ASSERT_TRUE(channels.ok()) << channels.status();
  EXPECT_NE(channels->directory, nullptr);
  EXPECT_EQ(channels->routing, nullptr);
  EXPECT_EQ(channels->queue.size(), 2u);
  EXPECT_NE(channels->MailboxOf(Home("a")), nullptr);
  EXPECT_EQ(channels->MailboxOf(Home("")), channels->MailboxOf(Home("a")));  // the only one
  EXPECT_EQ(channels->MailboxOf(Home("b")), nullptr);
  shard = config.mutable_peers()->add_mailbox();
  shard->set_name("b");
  shard->set_target("127.0.0.1:7413");
  channels = DialPeers(config, "queue");
  ASSERT_TRUE(channels.ok());
  EXPECT_EQ(channels->MailboxOf(Home("")), nullptr);  // which one?
  config.mutable_peers()->set_routing("192.0.2.1:7401");
  channels = DialPeers(config, "queue");
  EXPECT_THAT(std::string(channels.status().message()), HasSubstr("peers.routing: plaintext"));
}

}  // namespace
}  // namespace posthouse::rpc
