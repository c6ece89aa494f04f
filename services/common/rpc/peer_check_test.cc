// Targets that are swapped or lead to another service stop the start; targets that do not answer do not.
#include "services/common/rpc/peer_check.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/listen.h"
#include "services/common/rpc/server.h"
#include "services/common/rpc/streaming.h"
#include "services/common/rpc/testing/named_mailbox.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
namespace d = directory::v1;

class Directory final : public d::DirectoryService::CallbackService {
 public:
  explicit Directory(ServerRunner& runner) : runner_(runner) {}
  grpc::ServerUnaryReactor* GetAccount(grpc::CallbackServerContext* context, const d::GetAccountRequest* request,
                                       d::GetAccountResponse* response) override {
    return Unary(runner_, context, request, response, [](auto& call) { return Answer(call); });
  }

 private:
  static Task<absl::Status> Answer(UnaryCall<d::GetAccountRequest, d::GetAccountResponse>&) {
    co_return absl::OkStatus();
  }
  ServerRunner& runner_;
};

// A directory process with the name `shard`.
class DirectoryProcess {
 public:
  DirectoryProcess(config::v1::Config config, const std::string& shard) {
    config.mutable_directory()->set_shard(shard);
    runner_ = std::make_unique<ServerRunner>(loops_, registry_, *AccessOf(config, "directory"));
    ServerOptions options;
    options.port = 0;
    service_ = std::make_unique<Directory>(*runner_);
    server_ = *RpcServer::Start(options, {service_.get()}, registry_);
  }
  ~DirectoryProcess() { server_->Shutdown(absl::ZeroDuration()); }
  std::string target() const { return absl::StrCat("127.0.0.1:", server_->port()); }

 private:
  net::EventLoops loops_{1};
  metrics::Registry registry_;
  std::unique_ptr<ServerRunner> runner_;
  std::unique_ptr<Directory> service_;
  std::unique_ptr<RpcServer> server_;
};

class PeerCheckTest : public ::testing::Test {
 protected:
  PeerCheckTest() { config_.mutable_rpc()->set_token_file(TokenFile()); }
  void AddMailbox(const std::string& name, const std::string& target) {
    config::v1::Shard* const shard = config_.mutable_peers()->add_mailbox();
    shard->set_name(name);
    shard->set_target(target);
  }
  absl::Status Check(const std::string& service) {
    const absl::StatusOr<Channels> channels = DialPeers(config_, service);
    return channels.ok() ? CheckPeers(config_, service, *channels, absl::Seconds(30)) : channels.status();
  }
  config::v1::Config config_;
};

TEST_F(PeerCheckTest, SwappedTargetsAreRefusedWithBothNames) {
  const NamedMailbox m0(config_, "m0"), m1(config_, "m1");
  AddMailbox("m0", m0.target());
  AddMailbox("m1", m1.target());
  EXPECT_TRUE(Check("queue").ok()) << Check("queue");
  EXPECT_TRUE(Check("gateway").ok());
  config_.mutable_peers()->mutable_mailbox(0)->set_target(m1.target());
  config_.mutable_peers()->mutable_mailbox(1)->set_target(m0.target());
  const absl::Status status = Check("queue");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(absl::StrCat("peers.mailbox \"m0\", ", m1.target())),
                                                   HasSubstr("the store \"m0\""), HasSubstr("the store \"m1\"")));
  EXPECT_EQ(m0.calls() + m1.calls(), 0);  // nothing was asked but whether it may be
}

TEST_F(PeerCheckTest, ADirectoryOfAnotherNameIsRefusedWithBothNames) {
  const DirectoryProcess d0(config_, "d0"), unnamed(config_, "");
  config_.mutable_peers()->set_directory(d0.target());
  EXPECT_TRUE(Check("gateway").ok()) << Check("gateway");  // it means no store in particular
  config_.mutable_peers()->set_directory_shard("d0");
  EXPECT_TRUE(Check("gateway").ok()) << Check("gateway");
  config_.mutable_peers()->set_directory_shard("d1");
  const absl::Status status = Check("gateway");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(absl::StrCat("peers.directory, ", d0.target())),
                                                   HasSubstr("the store \"d1\""), HasSubstr("the store \"d0\"")));
  config_.mutable_peers()->set_directory(unnamed.target());
  EXPECT_EQ(Check("gateway").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PeerCheckTest, ATargetOfAnotherServiceIsRefused) {
  const NamedMailbox m0(config_, "m0");
  AddMailbox("m0", m0.target());
  config_.mutable_peers()->set_directory(m0.target());
  const absl::Status status = Check("gateway");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("peers.directory, ", m0.target(), ": this is not the directory")));
}

TEST_F(PeerCheckTest, APeerThatIsNotThereYetIsNoReasonNotToStart) {
  std::string gone;
  {
    const NamedMailbox m0(config_, "m0");
    gone = m0.target();
  }
  AddMailbox("m0", gone);
  EXPECT_TRUE(Check("queue").ok()) << Check("queue");
}

}  // namespace
}  // namespace posthouse::rpc
