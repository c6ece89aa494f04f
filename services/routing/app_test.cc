// Routing over gRPC, with a real directory and a real DNS server.
#include "services/routing/app.h"
#include "services/common/testing/wait.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "posthouse/routing/v1/routing.grpc.pb.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/listen.h"
#include "services/common/runtime/testing/test_runtime.h"
#include "services/directory/app.h"
#include "services/routing/dns/testing/dns_server.h"

namespace posthouse::routing {
namespace {

using Recipient = v1::ResolveRecipientResponse;
using Destination = v1::ResolveDestinationResponse;
constexpr absl::Duration kDeadline = absl::Seconds(20);

class RoutingAppTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string dir =
        std::string(std::getenv("TEST_TMPDIR")) + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
    config::v1::Config config;
    config.set_data_dir(dir);
    config.set_hostname("mail.example.org");
    config.mutable_rpc()->set_port(0);
    const std::string token = dir + "-token";
    std::ofstream(token) << std::string(64, 't') << "\n";
    std::filesystem::permissions(token, std::filesystem::perms::owner_read);
    config.mutable_rpc()->set_token_file(token);
    config.mutable_store()->set_min_free_bytes(1);
    config.mutable_routing()->add_dns_servers(dns_.address());
    config.mutable_routing()->mutable_dns_timeout()->set_nanos(200'000'000);
    config.mutable_routing()->set_dns_tries(1);
    config.mutable_routing()->set_smtp_port(2525);
    config.mutable_routing()->add_own_addresses("192.0.2.99");  // whatever this machine's are
    runtime_ = runtime::NewTestRuntime(config);
    auto directory = directory::App::Create(*runtime_, {});
    ASSERT_TRUE(directory.ok()) << directory.status();
    directory_ = *std::move(directory);
    rpc::Channels channels;
    // Over TCP: the directory goes away in a test, which an in-process channel does not survive.
    const auto caller = rpc::CallerMetadata(config, "routing");
    ASSERT_TRUE(caller.ok()) << caller.status();
    auto channel = rpc::Dial(absl::StrCat("127.0.0.1:", directory_->rpc().port()), {}, *caller);
    ASSERT_TRUE(channel.ok()) << channel.status();
    channels.directory = *std::move(channel);
    const auto administrator = rpc::CallerMetadata(config, "admin");
    ASSERT_TRUE(administrator.ok()) << administrator.status();
    auto desk = rpc::Dial(absl::StrCat("127.0.0.1:", directory_->rpc().port()), {}, *administrator);
    ASSERT_TRUE(desk.ok()) << desk.status();
    admin_ = directory::v1::DirectoryAdminService::NewStub(*std::move(desk));
    auto app = App::Create(*runtime_, channels);
    ASSERT_TRUE(app.ok()) << app.status();
    app_ = *std::move(app);
    routing_ = v1::RoutingService::NewStub(app_->rpc().InProcessChannel());
  }
  void TearDown() override {
    routing_.reset();
    admin_.reset();
    app_->Drain(absl::Seconds(5));
    app_.reset();
    if (directory_ != nullptr) directory_->Drain(absl::Seconds(5));
    directory_.reset();
    runtime_.reset();
  }
  void AddDomain(const std::string& name) {
    grpc::ClientContext context;
    directory::v1::CreateDomainRequest request;
    directory::v1::CreateDomainResponse response;
    request.mutable_domain()->set_domain(name);
    ASSERT_TRUE(admin_->CreateDomain(&context, request, &response).ok());
  }
  void AddAccount(const std::string& address) {
    grpc::ClientContext context;
    directory::v1::CreateAccountRequest request;
    directory::v1::CreateAccountResponse response;
    request.mutable_account()->set_address(address);
    ASSERT_TRUE(admin_->CreateAccount(&context, request, &response).ok());
  }
  Recipient::Outcome ResolveRecipient(const std::string& address, bool may_relay = false) {
    v1::ResolveRecipientRequest request;
    request.set_address(address);
    request.set_may_relay(may_relay);
    Recipient response;
    grpc::ClientContext context;
    rpc::Prepare(context, {kDeadline, {}});
    EXPECT_TRUE(routing_->ResolveRecipient(&context, request, &response).ok());
    return response.outcome();
  }
  Destination ResolveDestination(const std::string& domain) {
    v1::ResolveDestinationRequest request;
    request.set_domain(domain);
    Destination response;
    grpc::ClientContext context;
    rpc::Prepare(context, {kDeadline, {}});
    EXPECT_TRUE(routing_->ResolveDestination(&context, request, &response).ok());
    return response;
  }

  dns::DnsServer dns_;
  std::unique_ptr<runtime::Runtime> runtime_;
  std::unique_ptr<directory::App> directory_;
  std::unique_ptr<directory::v1::DirectoryAdminService::Stub> admin_;
  std::unique_ptr<App> app_;
  std::unique_ptr<v1::RoutingService::Stub> routing_;
};

TEST_F(RoutingAppTest, RecipientsFollowTheDirectory) {
  EXPECT_EQ(ResolveRecipient("bob@example.org"), Recipient::OUTCOME_RELAY_DENIED);
  AddDomain("example.org");
  // The change travels by the stream, behind our back: until it arrives the old answer holds.
  EXPECT_TRUE(Eventually([&] { return ResolveRecipient("bob@example.org") == Recipient::OUTCOME_NO_SUCH_MAILBOX; }));
  AddAccount("bob@example.org");
  EXPECT_TRUE(Eventually([&] { return ResolveRecipient("bob@example.org") == Recipient::OUTCOME_ACCEPT; }));
  EXPECT_EQ(ResolveRecipient("bob@example.net", true), Recipient::OUTCOME_ACCEPT);
  EXPECT_EQ(ResolveRecipient("bob@example.net"), Recipient::OUTCOME_RELAY_DENIED);
  EXPECT_EQ(ResolveRecipient("junk"), Recipient::OUTCOME_BAD_ADDRESS);
  // The directory goes: what it said still holds, the rest waits.
  directory_->Drain(absl::Seconds(5));
  EXPECT_EQ(ResolveRecipient("bob@example.org"), Recipient::OUTCOME_ACCEPT);
  EXPECT_EQ(ResolveRecipient("eve@example.org"), Recipient::OUTCOME_TEMPORARY);
}

TEST_F(RoutingAppTest, DestinationsComeFromTheDns) {
  dns_.Mx("example.net", 10, "mx1.example.net");
  dns_.Mx("example.net", 20, "mx2.example.net");
  dns_.A("mx1.example.net", "192.0.2.1");
  dns_.Cname("mx2.example.net", "real.example.net");
  dns_.A("real.example.net", "192.0.2.2");
  dns_.Mx("null.example", 0, ".");
  dns_.Rcode("broken.example", 2);
  dns_.Drop("silent.example");
  dns_.Mx("us.example", 10, "mail.example.org");
  const Destination hosts = ResolveDestination("example.net");
  ASSERT_EQ(hosts.outcome(), Destination::OUTCOME_HOSTS) << hosts.DebugString();
  ASSERT_EQ(hosts.hosts_size(), 2);
  EXPECT_EQ(hosts.hosts(0).name(), "mx1.example.net");
  EXPECT_EQ(hosts.hosts(0).addresses(0), "192.0.2.1");
  EXPECT_EQ(hosts.hosts(0).port(), 2525u);
  EXPECT_EQ(hosts.hosts(1).addresses(0), "192.0.2.2");  // the server left its CNAME unfollowed
  const int queries = dns_.udp_queries();
  EXPECT_EQ(ResolveDestination("example.net").outcome(), Destination::OUTCOME_HOSTS);
  EXPECT_EQ(dns_.udp_queries(), queries);
  EXPECT_EQ(ResolveDestination("null.example").outcome(), Destination::OUTCOME_NULL_MX);
  EXPECT_EQ(ResolveDestination("broken.example").outcome(), Destination::OUTCOME_TEMPORARY);
  EXPECT_EQ(ResolveDestination("silent.example").outcome(), Destination::OUTCOME_TEMPORARY);
  EXPECT_EQ(ResolveDestination("nowhere.example").outcome(), Destination::OUTCOME_NO_SUCH_DOMAIN);
  EXPECT_EQ(ResolveDestination("us.example").outcome(), Destination::OUTCOME_LOOP);
  const std::string text = runtime_->registry().Serialize();
  for (const std::string line : {"posthouse_routing_destinations_total{outcome=\"hosts\"} 2",
                                 "posthouse_routing_destinations_total{outcome=\"null_mx\"} 1",
                                 "posthouse_routing_dns_queries_total{result=\"stale\"} 0"}) {
    EXPECT_NE(text.find(line + "\n"), std::string::npos) << line;
  }
}

TEST(RoutingAppStartTest, NeedsToKnowItsDirectory) {
  config::v1::Config config;
  const auto rt = runtime::NewTestRuntime(config);
  EXPECT_EQ(App::Create(*rt, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace posthouse::routing
