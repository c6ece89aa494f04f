// Who gets past the check of each call: the socket, the secret, certificates, and the store that is meant.
#include "services/common/rpc/access.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/channels.h"
#include "services/common/rpc/listen.h"
#include "services/common/rpc/metadata.h"
#include "services/common/rpc/server.h"
#include "services/common/rpc/streaming.h"
#include "services/common/rpc/testing/who_am_i.h"
#include "services/common/testing/test_ca.h"

namespace posthouse::rpc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
namespace q = queue::v1;

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";

std::string Folder() {
  const std::string folder =
      absl::StrCat(std::getenv("TEST_TMPDIR"), "/", ::testing::UnitTest::GetInstance()->current_test_info()->name());
  std::filesystem::create_directories(folder);
  return folder;
}

struct Answer {
  absl::Status status;  // as the wire has it
  std::string peer;
};

Answer Ask(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  Prepare(context, {absl::Seconds(30), {}});
  q::GetItemResponse response;
  const grpc::Status status = q::QueueAdminService::NewStub(channel)->GetItem(&context, q::GetItemRequest(), &response);
  return {FromGrpcVerbatim(status), response.header()};
}

class AccessTest : public ::testing::Test {
 protected:
  ~AccessTest() override {
    if (server_ != nullptr) server_->Shutdown(absl::ZeroDuration());
    server_ = nullptr;
  }
  absl::Status Start(AccessOptions access, ServerOptions options = {}) {
    runner_ = std::make_unique<ServerRunner>(loops_, registry_, std::move(access));
    service_ = std::make_unique<WhoAmI>(*runner_);
    auto server = RpcServer::Start(options, {service_.get()}, registry_);
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    return absl::OkStatus();
  }
  Answer AskTcp(const ChannelMetadata& metadata = {}, const TlsFiles& tls = {}) {
    auto channel = Dial(absl::StrCat("127.0.0.1:", server_->port()), tls, metadata);
    if (!channel.ok()) return {channel.status(), ""};
    return Ask(*channel);
  }
  double Refused(const std::string& reason) {
    return registry_.AddCounter("posthouse_rpc_refused_calls_total", "", {{"reason", reason}}).Value();
  }

  metrics::Registry registry_;
  net::EventLoops loops_{1};
  std::unique_ptr<ServerRunner> runner_;
  std::unique_ptr<WhoAmI> service_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(AccessTest, TheSocketIsItsOwnersAndItsCallersAdminister) {
  // Longer than a socket's address.
  const std::string path = absl::StrCat(Folder(), "/", std::string(120, 'd'), "/posthouse.sock");
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  ServerOptions options;
  options.port = -1;
  options.socket = path;
  ASSERT_TRUE(Start({}, options).ok());
  struct stat info{};
  ASSERT_EQ(lstat(path.c_str(), &info), 0);
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const Answer answer = Ask(*Dial("unix:" + path, TlsFiles()));
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.peer, "socket");
  server_->Shutdown(absl::ZeroDuration());
  EXPECT_NE(lstat(path.c_str(), &info), 0);
}

TEST_F(AccessTest, ASocketThatAnEndedProcessLeftIsReplacedAndOneInUseIsNot) {
  const std::string path = Folder() + "/s";
  const int left = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) GTEST_SKIP() << "the folder's path is too long for bind()";
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(bind(left, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  close(left);
  ServerOptions options;
  options.port = -1;
  options.socket = path;
  ASSERT_TRUE(Start({}, options).ok());
  EXPECT_TRUE(Ask(*Dial("unix:" + path, TlsFiles())).status.ok());
  const auto second = RpcServer::Start(options, {}, registry_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another process listens there"));
  EXPECT_TRUE(Ask(*Dial("unix:" + path, TlsFiles())).status.ok());
}

TEST_F(AccessTest, AFileInThePlaceOfTheSocketStays) {
  const std::string path = Folder() + "/mail";
  ASSERT_TRUE(std::filesystem::exists(Folder()));
  std::ofstream(path) << "x";
  ServerOptions options;
  options.port = -1;
  options.socket = path;
  const absl::Status status = Start({}, options);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_TRUE(std::filesystem::is_regular_file(path));
}

TEST_F(AccessTest, WithoutCertificateAndSecretNobodyCalls) {
  ASSERT_TRUE(Start({}).ok());
  for (const ChannelMetadata& metadata : {ChannelMetadata{}, ChannelMetadata{{kCallerKey, "admin"}},
                                          ChannelMetadata{{kTokenKey, kTokenPrefix}, {kCallerKey, "admin"}}}) {
    const absl::Status status = AskTcp(metadata).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("nobody (ipv4:127.0.0.1:"),
                      HasSubstr("may not call posthouse.queue.v1.QueueAdminService/GetItem")));
  }
  EXPECT_EQ(Refused("caller"), 3);
}

TEST_F(AccessTest, TheSecretMakesACallerKnown) {
  ASSERT_TRUE(Start({.shard = std::nullopt, .identities = {}, .token = kSecret}).ok());
  const std::string right = absl::StrCat(kTokenPrefix, kSecret);
  EXPECT_TRUE(AskTcp({{kTokenKey, right}}).status.ok());
  EXPECT_TRUE(AskTcp({{kTokenKey, right}, {kCallerKey, "admin"}}).status.ok());
  for (const ChannelMetadata& metadata :
       {ChannelMetadata{}, ChannelMetadata{{kTokenKey, kSecret}}, ChannelMetadata{{kTokenKey, right + "x"}},
        ChannelMetadata{{kTokenKey, right}, {kCallerKey, "ingress"}},
        ChannelMetadata{{kTokenKey, right}, {kCallerKey, "process"}}}) {
    EXPECT_EQ(AskTcp(metadata).status.code(), absl::StatusCode::kPermissionDenied);
  }
}

TEST_F(AccessTest, ACertificateIsKnownByItsNameOrByTheConfiguration) {
  posthouse::testing::TestCa ca(Folder(), "ca");
  const auto issue = [&](const std::string& name, const std::string& san = "127.0.0.1") {
    const auto files = ca.Issue(name, name, {"127.0.0.1", san});
    return TlsFiles{files.certificate, files.private_key, ca.ca_file()};
  };
  ServerOptions options;
  options.tls = issue("queue");
  ASSERT_TRUE(
      Start({.shard = std::nullopt, .identities = {{"desk.example", Caller::kAdmin}}, .token = ""}, options).ok());
  EXPECT_TRUE(AskTcp({}, issue("admin")).status.ok());
  EXPECT_TRUE(AskTcp({}, issue("desk.example")).status.ok());
  EXPECT_TRUE(AskTcp({}, issue("laptop-of-ann", "desk.example")).status.ok());
  const absl::Status ingress = AskTcp({}, issue("ingress")).status;
  EXPECT_EQ(ingress.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(ingress.message()), HasSubstr("ingress (ingress"));
  EXPECT_EQ(AskTcp({}, issue("www.example")).status.code(), absl::StatusCode::kPermissionDenied);
  // What a caller says of itself does not count against its certificate.
  EXPECT_EQ(AskTcp({{kCallerKey, "admin"}}, issue("ingress-0")).status.code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(AccessTest, ACallForAnotherStoreIsRefusedWithBothNames) {
  ASSERT_TRUE(Start({.shard = "m0", .identities = {}, .token = kSecret}).ok());
  const std::pair<std::string, std::string> token{kTokenKey, absl::StrCat(kTokenPrefix, kSecret)};
  EXPECT_TRUE(AskTcp({token}).status.ok());
  EXPECT_TRUE(AskTcp({token, {kShardKey, "m0"}}).status.ok());
  for (const std::string other : {"m1", ""}) {
    const absl::Status status = AskTcp({token, {kShardKey, other}}).status;
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(absl::StrCat("for the store \"", other, "\"")), HasSubstr("this is the store \"m0\"")));
  }
  EXPECT_EQ(Refused("shard"), 2);
  EXPECT_EQ(Refused("caller"), 0);
}

// Two targets of peers.mailbox that are swapped.
TEST_F(AccessTest, ThePeersOfAConfigurationSayWhichStoreTheyMean) {
  const std::string file = Folder() + "/token";
  std::ofstream(file) << kSecret << "\n";
  ASSERT_EQ(chmod(file.c_str(), 0600), 0);
  config::v1::Config config;
  config.mutable_rpc()->set_token_file(file);
  config.mutable_mailbox()->set_shard("m1");
  auto access = AccessOf(config, "mailbox");
  ASSERT_TRUE(access.ok()) << access.status();
  ASSERT_TRUE(Start(*access).ok());
  const std::string target = absl::StrCat("127.0.0.1:", server_->port());
  for (const char* name : {"m0", "m1"}) {
    auto* shard = config.mutable_peers()->add_mailbox();
    shard->set_name(name);
    shard->set_target(target);
  }
  const auto channels = DialPeers(config, "admin");  // "queue" may not call this method
  ASSERT_TRUE(channels.ok()) << channels.status();
  const auto ask = [&](const char* home) {
    return Ask(channels->MailboxOf(Home(home))->For(AccountId("a"))->channel()).status;
  };
  EXPECT_TRUE(ask("m1").ok()) << ask("m1");
  EXPECT_EQ(ask("m0").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(ask("m0").message()), AllOf(HasSubstr("\"m0\""), HasSubstr("\"m1\"")));
  // A shard of the queue with a name says it, too.
  auto* queue = config.mutable_peers()->add_queue_shards();
  queue->set_name("q7");
  queue->set_target(target);
  const absl::Status other = Ask(DialPeers(config, "admin")->queue.at(0)).status;
  EXPECT_THAT(std::string(other.message()), AllOf(HasSubstr("\"q7\""), HasSubstr("\"m1\"")));
  EXPECT_EQ(*AccessOf({}, "queue")->shard, "0");
  EXPECT_EQ(*AccessOf({}, "directory")->shard, "");  // as a mailbox without a name
  EXPECT_FALSE(AccessOf({}, "routing")->shard.has_value());
}

TEST_F(AccessTest, ASecretHasOneOwnerAndNoBlanks) {
  const std::string file = Folder() + "/token";
  const auto read = [&](const std::string& text, mode_t mode) {
    std::ofstream(file) << text;
    chmod(file.c_str(), mode);
    return ReadToken(file);
  };
  EXPECT_EQ(*read(absl::StrCat(kSecret, "\n"), 0600), kSecret);
  EXPECT_EQ(*read(std::string(4096, 'x'), 0400), std::string(4096, 'x'));
  chmod(file.c_str(), 0600);
  EXPECT_FALSE(read(absl::StrCat(kSecret, "\n"), 0640).ok());
  EXPECT_FALSE(read("short\n", 0600).ok());
  EXPECT_FALSE(read(std::string(4097, 'x'), 0600).ok());
  EXPECT_FALSE(read(absl::StrCat(kSecret, " ", kSecret), 0600).ok());
  EXPECT_FALSE(read("", 0600).ok());
  EXPECT_FALSE(ReadToken(Folder()).ok());
  EXPECT_FALSE(ReadToken("/nonexistent").ok());
}

TEST_F(AccessTest, StandaloneOpensItsPortOnlyForCallersThatItCanKnow) {
  config::v1::Config config;
  config.set_data_dir("/d");
  ServerOptions options = ListenOptions(config, "standalone", 7400);
  EXPECT_EQ(options.port, -1);
  EXPECT_EQ(options.socket, "/d/posthouse.sock");
  EXPECT_EQ(ListenWarning(config, "standalone"), "");
  config.mutable_rpc()->set_port(26401);
  EXPECT_EQ(ListenOptions(config, "standalone", 7400).port, -1);
  EXPECT_THAT(ListenWarning(config, "standalone"), AllOf(HasSubstr("rpc.port"), HasSubstr("/d/posthouse.sock")));
  EXPECT_EQ(ListenOptions(config, "queue", 7402).port, 26401);
  EXPECT_EQ(ListenOptions(config, "queue", 7402).socket, "");
  EXPECT_THAT(ListenWarning(config, "queue"), HasSubstr("health checks only"));
  config.mutable_rpc()->set_token_file("/t");
  config.mutable_rpc()->set_socket("/run/p.sock");
  options = ListenOptions(config, "standalone", 7400);
  EXPECT_EQ(options.port, 26401);
  EXPECT_EQ(options.socket, "/run/p.sock");
  EXPECT_EQ(ListenWarning(config, "standalone"), "");
  config.mutable_rpc()->set_in_process_only(true);
  options = ListenOptions(config, "standalone", 7400);
  EXPECT_EQ(options.port, -1);
  EXPECT_EQ(options.socket, "");
}

// A service must not take a refusal for an answer about the user or message that it asked about.
TEST_F(AccessTest, ForServicesARefusalIsAFailureThatPasses) {
  ASSERT_TRUE(Start({.shard = "m0", .identities = {}, .token = ""}).ok());
  const auto ask = [](const std::shared_ptr<grpc::Channel>& channel) {
    const auto stub = q::QueueAdminService::NewStub(channel);
    return SyncWait(Call<q::GetItemResponse>(CallOptions(), q::GetItemRequest(),
                                             [&](auto* context, auto* request, auto* resp, auto done) {
                                               stub->async()->GetItem(context, request, resp, std::move(done));
                                             }))
        .status();
  };
  const absl::Status denied = ask(server_->InProcessChannel(Caller::kIngress));
  EXPECT_EQ(denied.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(denied.message()), HasSubstr("ingress (inproc) may not call"));
  EXPECT_TRUE(ask(server_->InProcessChannel(Caller::kAdmin)).ok());
  EXPECT_TRUE(ask(server_->InProcessChannel()).ok());
  EXPECT_EQ(ask(server_->InProcessChannel(Caller::kNobody)).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace posthouse::rpc
