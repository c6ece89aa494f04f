// The whole system in one process: it starts, says so, serves, and ends in order.
#include "services/standalone/app.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/rpc/client.h"
#include "services/common/runtime/testing/test_runtime.h"
#include "services/gateway/app.h"
#include "services/ingress/app.h"

namespace posthouse::standalone {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr absl::Duration kLong = absl::Seconds(30);

class StandaloneTest : public testing::Test {
 public:
  StandaloneTest() {
    config_.set_hostname("mail.example");
    config_.set_data_dir(testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name());
    config_.mutable_rpc()->set_port(0);
    config_.mutable_directory()->set_argon2_memory_kib(64);
    config_.mutable_directory()->set_argon2_passes(1);
    config_.mutable_store()->set_min_free_bytes(1);
    auto& ingress = *config_.mutable_ingress();
    for (auto* endpoint : {ingress.mutable_smtp(), ingress.mutable_submission(), ingress.mutable_submissions()}) {
      endpoint->set_port(0);
    }
    auto& gateway = *config_.mutable_gateway();
    for (auto* endpoint :
         {gateway.mutable_imap(), gateway.mutable_imaps(), gateway.mutable_pop3(), gateway.mutable_pop3s()}) {
      endpoint->set_port(0);
    }
  }
  ~StandaloneTest() override {
    client_.reset();
    other_.reset();
    app_.reset();
    runtime_.reset();
    client_loops_.Stop();
  }

  void Start() {
    runtime_ = runtime::NewTestRuntime(config_);
    auto app = App::Create(*runtime_);
    ASSERT_TRUE(app.ok()) << app.status();
    app_ = *std::move(app);
  }

  // One step of a client, on its loop.
  template <typename Step>
  auto Do(Step step) {
    return SyncWait(OnLoop(client_loops_.at(0), step));
  }
  template <typename Step>
  static std::invoke_result_t<Step&> OnLoop(net::EventLoop& loop, Step& step) {
    co_await SwitchTo(loop);
    co_return co_await step();
  }
  std::unique_ptr<net::Connection> Dial(uint16_t port) {
    return Do([&]() -> Task<std::unique_ptr<net::Connection>> {
      auto c = co_await net::Connect(client_loops_.at(0), {"127.0.0.1", port}, "", kLong);
      EXPECT_TRUE(c.ok()) << c.status();
      co_return *std::move(c);
    });
  }
  std::string Line(net::Connection& c, absl::Duration patience = kLong) {
    return Do([&]() -> Task<std::string> { co_return (co_await c.ReadLine(1000, patience)).value_or("none"); });
  }
  std::string Say(net::Connection& c, const std::string& line) {
    EXPECT_TRUE(Do([&]() -> Task<absl::Status> { co_return co_await c.Write(line + "\r\n", kLong); }).ok());
    return Line(c);
  }

  config::v1::Config config_;
  std::unique_ptr<runtime::Runtime> runtime_;
  std::unique_ptr<App> app_;
  net::EventLoops client_loops_{1};
  std::unique_ptr<net::Connection> client_, other_;
};

TEST_F(StandaloneTest, EveryPortAnswersAndMailIsTaken) {
  Start();
  EXPECT_TRUE(app_->Ready().ok()) << app_->Ready();
  const std::unique_ptr<directory::v1::DirectoryAdminService::Stub> admin =
      directory::v1::DirectoryAdminService::NewStub(app_->rpc().InProcessChannel());
  {
    grpc::ClientContext context;
    rpc::Prepare(context, {kLong, {}});
    directory::v1::CreateDomainRequest request;
    directory::v1::CreateDomainResponse response;
    request.mutable_domain()->set_domain("example.org");
    ASSERT_TRUE(admin->CreateDomain(&context, request, &response).ok());
  }
  {
    grpc::ClientContext context;
    rpc::Prepare(context, {kLong, {}});
    directory::v1::CreateAccountRequest request;
    directory::v1::CreateAccountResponse response;
    request.mutable_account()->set_address("user@example.org");
    request.set_password("secret");
    ASSERT_TRUE(admin->CreateAccount(&context, request, &response).ok());
  }
  client_ = Dial(app_->ingress().smtp_port());
  EXPECT_THAT(Line(*client_), StartsWith("220 mail.example ESMTP"));
  EXPECT_THAT(Say(*client_, "HELO c"), StartsWith("250"));
  EXPECT_THAT(Say(*client_, "MAIL FROM:<>"), StartsWith("250"));
  EXPECT_THAT(Say(*client_, "RCPT TO:<nobody@example.org>"), StartsWith("550 5.1.1"));
  EXPECT_THAT(Say(*client_, "RCPT TO:<x@elsewhere.example>"), StartsWith("554 5.7.1"));
  EXPECT_THAT(Say(*client_, "RCPT TO:<user@example.org>"), StartsWith("250 2.1.5"));
  EXPECT_THAT(Say(*client_, "DATA"), StartsWith("354"));
  EXPECT_THAT(Say(*client_, "Subject: x\r\n\r\nbody\r\n."), StartsWith("250 2.0.0 Queued as "));
  // A certificate of its own, so that the TLS ports are open too.
  EXPECT_NE(app_->ingress().submissions_port(), 0);
  EXPECT_NE(app_->gateway().imaps_port(), 0);
  for (const auto& [port, greeting] : {std::pair<uint16_t, std::string>{app_->gateway().imap_port(), "* OK"},
                                       {app_->gateway().pop3_port(), "+OK"},
                                       {app_->ingress().submission_port(), "220 "}}) {
    const auto other = Dial(port);
    EXPECT_THAT(Line(*other), StartsWith(greeting));
  }
  // A user logs in and finds it.
  other_ = Dial(app_->gateway().imap_port());
  EXPECT_TRUE(absl::StrContains(Line(*other_), "STARTTLS"));
}

// A client of one protocol that takes nothing must not cost the other its goodbye.
TEST_F(StandaloneTest, TheEdgesDrainSideBySide) {
  Start();
  client_ = Dial(app_->gateway().imap_port());
  // Commands without end and nobody who reads the answers, until the server waits.
  std::string commands;
  while (commands.size() < (1u << 20)) commands += "a NOOP\r\n";
  const absl::Status blocked = Do([&]() -> Task<absl::Status> {
    absl::Status status;
    while (status.ok()) status = co_await client_->Write(commands, absl::Seconds(1));
    co_return status;
  });
  ASSERT_TRUE(absl::IsDeadlineExceeded(blocked)) << blocked;
  other_ = Dial(app_->ingress().smtp_port());
  EXPECT_THAT(Line(*other_), StartsWith("220"));
  std::atomic<bool> drained{false};
  std::thread drain([&] {
    app_->Drain(absl::Seconds(16));
    drained = true;
  });
  EXPECT_THAT(Line(*other_), StartsWith("421 4.3.2"));
  EXPECT_FALSE(drained);  // the blocked client does not keep the other one waiting
  drain.join();
}

TEST_F(StandaloneTest, WhatCannotWorkIsFoundByTheCheck) {
  EXPECT_TRUE(App::CheckConfig(config_).ok()) << App::CheckConfig(config_);
  config_.mutable_ingress()->set_max_recipients(3);
  EXPECT_THAT(std::string(App::CheckConfig(config_).message()), HasSubstr("ingress.max_recipients"));
  config_.mutable_ingress()->clear_max_recipients();
  config_.mutable_directory()->set_argon2_passes(1000);
  EXPECT_THAT(std::string(App::CheckConfig(config_).message()), HasSubstr("directory.argon2_passes"));
}

}  // namespace
}  // namespace posthouse::standalone
