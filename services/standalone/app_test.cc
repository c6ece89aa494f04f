// The whole system in one process: it starts, says so, serves, and ends in order.
#include "services/standalone/app.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "posthouse/routing/v1/routing.grpc.pb.h"
#include "posthouse/sessions/v1/sessions.grpc.pb.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/rpc/access_options.h"
#include "services/common/rpc/callers.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/listen.h"
#include "services/common/runtime/testing/test_runtime.h"
#include "services/common/testing/wait.h"
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

// RFC 9051 §7.1.5, RFC 5321 §3.8
TEST_F(StandaloneTest, OpenSessionsEndWithTheReasonWhenTheirAccountNoLongerAllowsThem) {
  config_.mutable_gateway()->set_allow_plaintext_auth(true);
  config_.mutable_ingress()->set_allow_plaintext_auth(true);
  Start();
  const auto admin = directory::v1::DirectoryAdminService::NewStub(app_->rpc().InProcessChannel());
  using Admin = directory::v1::DirectoryAdminService::Stub;
  const auto call = [&admin](auto method, const auto& request, auto* response) {
    grpc::ClientContext context;
    rpc::Prepare(context, {kLong, {}});
    return (*admin.*method)(&context, request, response).error_code();
  };
  directory::v1::CreateDomainRequest domain;
  directory::v1::CreateDomainResponse domain_made;
  domain.mutable_domain()->set_domain("example.org");
  ASSERT_EQ(call(&Admin::CreateDomain, domain, &domain_made), grpc::OK);
  for (const std::string change : {"deleted", "suspended", "password", "moved"}) {
    const std::string address = change + "@example.org";
    directory::v1::CreateAccountRequest account;
    directory::v1::CreateAccountResponse made;
    account.mutable_account()->set_address(address);
    account.set_password("secret");
    ASSERT_EQ(call(&Admin::CreateAccount, account, &made), grpc::OK);

    const auto imap = Dial(app_->gateway().imap_port());
    EXPECT_THAT(Line(*imap), StartsWith("* OK"));
    EXPECT_THAT(Say(*imap, "a LOGIN " + address + " secret"), StartsWith("a OK"));
    const auto idling = Dial(app_->gateway().imap_port());
    EXPECT_THAT(Line(*idling), StartsWith("* OK"));
    EXPECT_THAT(Say(*idling, "a LOGIN " + address + " secret"), StartsWith("a OK"));
    EXPECT_THAT(Say(*idling, "b IDLE"), StartsWith("+ "));
    const auto appending = Dial(app_->gateway().imap_port());
    EXPECT_THAT(Line(*appending), StartsWith("* OK"));
    EXPECT_THAT(Say(*appending, "a LOGIN " + address + " secret"), StartsWith("a OK"));
    EXPECT_THAT(Say(*appending, "b APPEND INBOX {100000}"), StartsWith("+ "));
    const auto pop3 = Dial(app_->gateway().pop3_port());
    EXPECT_THAT(Line(*pop3), StartsWith("+OK"));
    EXPECT_THAT(Say(*pop3, "USER " + address), StartsWith("+OK"));
    EXPECT_THAT(Say(*pop3, "PASS secret"), StartsWith("+OK"));
    const auto submission = Dial(app_->ingress().submission_port());
    EXPECT_THAT(Line(*submission), StartsWith("220 "));
    std::string line = Say(*submission, "EHLO c");
    while (absl::StrContains(line, "250-")) line = Line(*submission);
    const std::string plain = std::string(1, '\0') + address + std::string(1, '\0') + "secret";
    EXPECT_THAT(Say(*submission, "AUTH PLAIN " + absl::Base64Escape(plain)), StartsWith("235 "));
    EXPECT_THAT(Say(*submission, "MAIL FROM:<" + address + ">"), StartsWith("250 "));

    // Another quota ends no session.
    directory::v1::UpdateAccountRequest update;
    directory::v1::UpdateAccountResponse updated;
    update.mutable_account()->set_account_id(made.account().account_id());
    update.mutable_account()->mutable_limits()->set_storage_bytes(1 << 20);
    ASSERT_EQ(call(&Admin::UpdateAccount, update, &updated), grpc::OK);

    std::string why, code = "PERM";
    if (change == "deleted") {
      directory::v1::DeleteAccountRequest request;
      directory::v1::DeleteAccountResponse response;
      request.set_address(address);
      ASSERT_EQ(call(&Admin::DeleteAccount, request, &response), grpc::OK);
      why = "Account was deleted";
    } else if (change == "password") {
      directory::v1::SetPasswordRequest request;
      directory::v1::SetPasswordResponse response;
      request.set_address(address);
      request.set_password("another");
      ASSERT_EQ(call(&Admin::SetPassword, request, &response), grpc::OK);
      why = "Password was changed, log in again";
      code = "TEMP";
    } else {
      const bool moved = change == "moved";
      update.mutable_account()->set_status(moved ? directory::v1::STATUS_FROZEN : directory::v1::STATUS_SUSPENDED);
      ASSERT_EQ(call(&Admin::UpdateAccount, update, &updated), grpc::OK);
      why = moved ? "Account was moved, log in again" : "Account is suspended";
      if (moved) code = "TEMP";
    }
    for (const auto* c : {&imap, &idling, &appending}) {
      EXPECT_EQ(Line(**c), "* BYE " + why);
      EXPECT_EQ(Line(**c), "none") << "it is closed";
    }
    EXPECT_EQ(Line(*pop3), "-ERR [SYS/" + code + "] " + why);
    EXPECT_EQ(Line(*pop3), "none");
    EXPECT_THAT(Line(*submission), testing::AllOf(StartsWith("421 4.7.0 "), HasSubstr(why)));
    EXPECT_EQ(Line(*submission), "none");
  }
}

TEST_F(StandaloneTest, AnAdministratorListsAndEndsTheSessionsOfAllProtocols) {
  config_.mutable_ingress()->set_max_errors(100000);  // it asks until the change has arrived
  config_.mutable_gateway()->set_allow_plaintext_auth(true);
  config_.mutable_ingress()->set_allow_plaintext_auth(true);
  Start();
  const auto admin = directory::v1::DirectoryAdminService::NewStub(app_->rpc().InProcessChannel());
  const auto sessions = sessions::v1::SessionsService::NewStub(app_->rpc().InProcessChannel());
  const auto call = [](auto& stub, auto method, const auto& request, auto* response) {
    grpc::ClientContext context;
    rpc::Prepare(context, {kLong, {}});
    return (*stub.*method)(&context, request, response).error_code();
  };
  using Admin = directory::v1::DirectoryAdminService::Stub;
  using Sessions = sessions::v1::SessionsService::Stub;
  directory::v1::CreateDomainRequest domain;
  directory::v1::CreateDomainResponse domain_made;
  domain.mutable_domain()->set_domain("example.org");
  ASSERT_EQ(call(admin, &Admin::CreateDomain, domain, &domain_made), grpc::OK);
  directory::v1::CreateAccountRequest account;
  directory::v1::CreateAccountResponse account_made;
  account.mutable_account()->set_address("bob@example.org");
  account.set_password("secret");
  ASSERT_EQ(call(admin, &Admin::CreateAccount, account, &account_made), grpc::OK);

  const auto imap = Dial(app_->gateway().imap_port());
  EXPECT_THAT(Line(*imap), StartsWith("* OK"));
  EXPECT_THAT(Say(*imap, "a LOGIN bob@example.org secret"), StartsWith("a OK"));
  const auto submission = Dial(app_->ingress().submission_port());
  EXPECT_THAT(Line(*submission), StartsWith("220 "));
  std::string line = Say(*submission, "EHLO c");
  while (absl::StrContains(line, "250-")) line = Line(*submission);
  const std::string plain = std::string(1, '\0') + "bob@example.org" + std::string(1, '\0') + "secret";
  EXPECT_THAT(Say(*submission, "AUTH PLAIN " + absl::Base64Escape(plain)), StartsWith("235 "));

  // A new alias is a sender address at once, in the open session too, and a deleted one no longer.
  EXPECT_THAT(Say(*submission, "MAIL FROM:<sales@example.org>"), StartsWith("553 5.7.1"));
  directory::v1::CreateAliasRequest alias;
  directory::v1::CreateAliasResponse alias_made;
  alias.mutable_alias()->set_address("sales@example.org");
  alias.mutable_alias()->add_targets("bob@example.org");
  ASSERT_EQ(call(admin, &Admin::CreateAlias, alias, &alias_made), grpc::OK);
  EXPECT_TRUE(Eventually([&] {
    const bool taken = absl::StartsWith(Say(*submission, "MAIL FROM:<sales@example.org>"), "250 ");
    Say(*submission, "RSET");
    return taken;
  }));
  directory::v1::DeleteAliasRequest no_alias;
  directory::v1::DeleteAliasResponse alias_gone;
  no_alias.set_address("sales@example.org");
  ASSERT_EQ(call(admin, &Admin::DeleteAlias, no_alias, &alias_gone), grpc::OK);
  EXPECT_TRUE(Eventually([&] {
    const bool taken = absl::StartsWith(Say(*submission, "MAIL FROM:<sales@example.org>"), "250 ");
    Say(*submission, "RSET");
    return !taken;
  }));

  sessions::v1::ListSessionsResponse list;
  ASSERT_EQ(call(sessions, &Sessions::ListSessions, sessions::v1::ListSessionsRequest(), &list), grpc::OK);
  std::vector<std::string> protocols;
  for (const auto& session : list.sessions()) protocols.push_back(session.protocol() + " " + session.address());
  EXPECT_THAT(protocols, testing::ElementsAre("imap bob@example.org", "submission bob@example.org"));
  sessions::v1::KickSessionsRequest kick;
  sessions::v1::KickSessionsResponse kicked;
  kick.set_account("bob@example.org");
  kick.set_reason("moving house");
  ASSERT_EQ(call(sessions, &Sessions::KickSessions, kick, &kicked), grpc::OK);
  EXPECT_EQ(kicked.sessions(), 2u);
  EXPECT_EQ(Line(*imap), "* BYE Session ended by the administrator: moving house");
  EXPECT_EQ(Line(*imap), "none");
  EXPECT_THAT(Line(*submission), testing::AllOf(StartsWith("421 4.7.0 "), HasSubstr("administrator: moving house")));
  EXPECT_EQ(Line(*submission), "none");
}

// Directory and mailbox agree on who exists, by the change stream and by asking.
TEST_F(StandaloneTest, ADeletedAccountIsRefusedThenBackThenErased) {
  Start();
  const auto channel = app_->rpc().InProcessChannel();
  const auto admin = directory::v1::DirectoryAdminService::NewStub(channel);
  const auto lookup = directory::v1::DirectoryService::NewStub(channel);
  const auto mail = mailbox::v1::MailboxService::NewStub(channel);
  const auto call = [](const auto& stub, auto method, const auto& request, auto* response) {
    grpc::ClientContext context;
    rpc::Prepare(context, {kLong, {}});
    return ((*stub).*method)(&context, request, response).error_code();
  };
  using Admin = directory::v1::DirectoryAdminService::Stub;
  using Mail = mailbox::v1::MailboxService::Stub;
  directory::v1::CreateDomainRequest domain;
  directory::v1::CreateDomainResponse domain_made;
  domain.mutable_domain()->set_domain("example.org");
  ASSERT_EQ(call(admin, &Admin::CreateDomain, domain, &domain_made), grpc::OK);
  directory::v1::CreateAccountRequest account;
  directory::v1::CreateAccountResponse made;
  account.mutable_account()->set_address("user@example.org");
  ASSERT_EQ(call(admin, &Admin::CreateAccount, account, &made), grpc::OK);
  mailbox::v1::CreateFolderRequest folder;
  mailbox::v1::CreateFolderResponse folder_made;
  folder.mutable_account()->set_tenant(made.account().tenant());
  folder.mutable_account()->set_account_id("00000000000000000000000000000000");
  folder.set_name("keep");
  EXPECT_EQ(call(mail, &Mail::CreateFolder, folder, &folder_made), grpc::NOT_FOUND);  // made by nobody
  folder.mutable_account()->set_account_id(made.account().account_id());
  ASSERT_EQ(call(mail, &Mail::CreateFolder, folder, &folder_made), grpc::OK);

  directory::v1::DeleteAccountRequest gone;
  directory::v1::DeleteAccountResponse deleted;
  gone.set_address("user@example.org");
  ASSERT_EQ(call(admin, &Admin::DeleteAccount, gone, &deleted), grpc::OK);
  mailbox::v1::GetUsageRequest usage;
  *usage.mutable_account() = folder.account();
  mailbox::v1::GetUsageResponse used;
  const absl::Time end = absl::Now() + kLong;
  while (call(mail, &Mail::GetUsage, usage, &used) != grpc::NOT_FOUND) ASSERT_LT(absl::Now(), end);

  directory::v1::UndeleteAccountRequest back;
  directory::v1::UndeleteAccountResponse undeleted;
  back.set_address("user@example.org");
  ASSERT_EQ(call(admin, &Admin::UndeleteAccount, back, &undeleted), grpc::OK);
  EXPECT_EQ(call(mail, &Mail::CreateFolder, folder, &folder_made), grpc::ALREADY_EXISTS);  // it is kept

  gone.set_erase_now(true);
  ASSERT_EQ(call(admin, &Admin::DeleteAccount, gone, &deleted), grpc::OK);
  directory::v1::ListDeletedAccountsRequest list;
  directory::v1::ListDeletedAccountsResponse listed;
  do {
    ASSERT_LT(absl::Now(), end);
    listed.Clear();
    ASSERT_EQ(call(lookup, &directory::v1::DirectoryService::Stub::ListDeletedAccounts, list, &listed), grpc::OK);
    ASSERT_EQ(listed.accounts_size(), 1);
  } while (listed.accounts(0).state() != directory::v1::DeletedAccount::STATE_ERASED);
  EXPECT_EQ(listed.accounts(0).folders(), 7u);  // INBOX, five default folders, "keep"
  EXPECT_EQ(call(mail, &Mail::GetUsage, usage, &used), grpc::NOT_FOUND);
}

// A client of one protocol that takes nothing must not cost the other its goodbye.
// There is one grammar of addresses (mail_formats/smtp/path.h): ingress, routing, and the lookups and the
// administration of the directory answer alike. RFC 5321 §4.1.2: the empty quoted string is a local part.
TEST_F(StandaloneTest, AnAddressHasOneAnswerEverywhere) {
  Start();
  const auto channel = app_->rpc().InProcessChannel();
  const auto admin = directory::v1::DirectoryAdminService::NewStub(channel);
  const auto lookups = directory::v1::DirectoryService::NewStub(channel);
  const auto router = routing::v1::RoutingService::NewStub(channel);
  const auto call = [](const auto& stub, auto method, const auto& request, auto* response) {
    grpc::ClientContext context;
    rpc::Prepare(context, {kLong, {}});
    return ((*stub).*method)(&context, request, response).error_code();
  };
  directory::v1::CreateDomainRequest domain;
  directory::v1::CreateDomainResponse domain_made;
  domain.mutable_domain()->set_domain("example.org");
  ASSERT_EQ(call(admin, &directory::v1::DirectoryAdminService::Stub::CreateDomain, domain, &domain_made), grpc::OK);
  directory::v1::CreateAccountRequest account;
  directory::v1::CreateAccountResponse account_made;
  account.mutable_account()->set_address("user@example.org");
  ASSERT_EQ(call(admin, &directory::v1::DirectoryAdminService::Stub::CreateAccount, account, &account_made), grpc::OK);

  enum Is { kUser, kNobody, kNoAddress };
  using Lookup = directory::v1::LookupAddressResponse;
  using Route = routing::v1::ResolveRecipientResponse;
  for (const auto& [text, is] : std::initializer_list<std::pair<std::string, Is>>{
           {"user@example.org", kUser},
           {"USER@Example.ORG", kUser},
           {R"("user"@example.org)", kUser},
           {R"("us\er"@example.org)", kUser},
           {"nobody@example.org", kNobody},
           {R"(""@example.org)", kNobody},
           {R"("us er"@example.org)", kNobody},
           {R"("user "@example.org)", kNobody},
           {R"("user@example.org"@example.org)", kNobody},
           {"us er@example.org", kNoAddress},
           {"us..er@example.org", kNoAddress},
           {".user@example.org", kNoAddress},
           {"user.@example.org", kNoAddress},
           {"@example.org", kNoAddress},
           {"user@", kNoAddress},
           {"user@-example.org", kNoAddress},
           {"user@example..org", kNoAddress},
           {"user@example.org@example.org", kNoAddress},
           {R"("user@example.org)", kNoAddress},
           {R"("us"er@example.org)", kNoAddress},
           {std::string(65, 'a') + "@example.org", kNoAddress},
       }) {
    SCOPED_TRACE(text);
    const auto client = Dial(app_->ingress().smtp_port());
    EXPECT_THAT(Line(*client), StartsWith("220 "));
    EXPECT_THAT(Say(*client, "HELO c"), StartsWith("250"));
    EXPECT_THAT(Say(*client, "MAIL FROM:<>"), StartsWith("250"));
    const std::string reply = Say(*client, "RCPT TO:<" + text + ">");
    const std::string code = reply.substr(0, 3);
    EXPECT_EQ(code == "250" ? kUser : code == "550" ? kNobody : kNoAddress, is) << reply;
    EXPECT_EQ(reply[0], is == kUser ? '2' : '5') << reply;

    routing::v1::ResolveRecipientRequest to_resolve;
    Route resolved;
    to_resolve.set_address(text);
    ASSERT_EQ(call(router, &routing::v1::RoutingService::Stub::ResolveRecipient, to_resolve, &resolved), grpc::OK);
    EXPECT_EQ(resolved.outcome(), is == kUser     ? Route::OUTCOME_ACCEPT
                                  : is == kNobody ? Route::OUTCOME_NO_SUCH_MAILBOX
                                                  : Route::OUTCOME_BAD_ADDRESS);

    directory::v1::LookupAddressRequest to_find;
    Lookup found;
    to_find.set_address(text);
    EXPECT_EQ(call(lookups, &directory::v1::DirectoryService::Stub::LookupAddress, to_find, &found),
              is == kNoAddress ? grpc::INVALID_ARGUMENT : grpc::OK);
    EXPECT_EQ(found.outcome(), is == kUser     ? Lookup::OUTCOME_FOUND
                               : is == kNobody ? Lookup::OUTCOME_NO_SUCH_ADDRESS
                                               : Lookup::OUTCOME_UNSPECIFIED);

    directory::v1::SetPasswordRequest change;
    directory::v1::SetPasswordResponse changed;
    change.set_address(text);
    change.set_password("secret");
    EXPECT_EQ(call(admin, &directory::v1::DirectoryAdminService::Stub::SetPassword, change, &changed),
              is == kUser     ? grpc::OK
              : is == kNobody ? grpc::NOT_FOUND
                              : grpc::INVALID_ARGUMENT);
  }
}

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

TEST_F(StandaloneTest, AQueueThatWasStoppedHasHandedItsShardBack) {
  Start();
  EXPECT_THAT(runtime_->registry().Serialize(),
              HasSubstr("posthouse_queue_shard_takeovers_total{predecessor=\"none\"} 1\n"));
  app_->Drain(absl::Seconds(16));
  app_.reset();
  Start();
  EXPECT_THAT(runtime_->registry().Serialize(),
              HasSubstr("posthouse_queue_shard_takeovers_total{predecessor=\"released\"} 1\n"));
}

// The status of a call without content, and whether the check before its handler made it.
std::pair<grpc::Status, bool> CallEmpty(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                                        absl::Duration patience) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  rpc::Prepare(context, {patience, {}});
  const grpc::Slice empty;
  grpc::ByteBuffer request(&empty, 1), response;
  absl::Notification done;
  grpc::Status status;
  stub.UnaryCall(&context, "/" + method, grpc::StubOptions(), &request, &response, [&](const grpc::Status& s) {
    status = s;
    done.Notify();
  });
  done.WaitForNotification();
  return {status, status.error_details() == rpc::kRefusalPayload};
}

TEST_F(StandaloneTest, EachMethodAnswersItsCallersAndRefusesAllOthers) {
  Start();
  using rpc::Caller;
  int allowed = 0;
  int refused = 0;
  for (const Caller caller : {Caller::kNobody, Caller::kAdmin, Caller::kIngress, Caller::kRouting, Caller::kDirectory,
                              Caller::kQueue, Caller::kMailbox, Caller::kGateway}) {
    const auto channel = app_->rpc().InProcessChannel(caller);
    for (const rpc::MethodCallers& row : rpc::AllMethodCallers()) {
      const std::string method = absl::StrCat(row.service, "/", row.method);
      const bool may = std::find(row.callers.begin(), row.callers.end(), caller) != row.callers.end();
      const auto* const service =
          google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(std::string(row.service));
      ASSERT_NE(service, nullptr) << row.service;
      const bool endless = service->FindMethodByName(std::string(row.method))->server_streaming();
      // An allowed change stream ends with the deadline, which is no refusal either.
      const auto [status, by_check] = CallEmpty(channel, method, may && endless ? absl::Milliseconds(100) : kLong);
      // gRPC says UNIMPLEMENTED, too, for a stream that ends OK without a message.
      if (!endless) EXPECT_NE(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
      EXPECT_EQ(by_check, !may) << rpc::CallerName(caller) << " " << method << ": " << status.error_message();
      if (may) {
        ++allowed;
        continue;
      }
      ++refused;
      EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << method;
      EXPECT_THAT(status.error_message(),
                  testing::AllOf(HasSubstr(std::string(rpc::CallerName(caller))), HasSubstr("may not call " + method)));
    }
  }
  EXPECT_GT(allowed, 40);
  EXPECT_GT(refused, 200);
  EXPECT_EQ(runtime_->registry().AddCounter("posthouse_rpc_refused_calls_total", "", {{"reason", "caller"}}).Value(),
            refused);
}

TEST_F(StandaloneTest, AdministrationIsOnASocketAndNotOnTcp) {
  Start();
  EXPECT_EQ(app_->rpc().port(), 0);
  const auto channel = rpc::Dial("unix:" + config_.data_dir() + "/posthouse.sock", rpc::TlsFiles());
  ASSERT_TRUE(channel.ok()) << channel.status();
  const std::string list = "posthouse.directory.v1.DirectoryAdminService/ListDomains";
  EXPECT_TRUE(CallEmpty(*channel, list, kLong).first.ok());
  // An administrator of the socket is no gateway.
  EXPECT_TRUE(CallEmpty(*channel, "posthouse.mailbox.v1.MailboxService/ListFolders", kLong).second);
  EXPECT_THAT(rpc::ListenWarning(config_, "standalone"), HasSubstr("the port stays closed"));
}

// HealthCheckRequest{service}; the answer is "\x08\x01" for SERVING.
std::string Health(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  rpc::Prepare(context, {kLong, {}});
  const grpc::Slice slice(service.empty() ? "" : absl::StrCat("\x0a", std::string(1, char(service.size())), service));
  grpc::ByteBuffer request(&slice, 1), response;
  absl::Notification done;
  grpc::Status status;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &response,
                 [&](const grpc::Status& s) {
                   status = s;
                   done.Notify();
                 });
  done.WaitForNotification();
  if (!status.ok()) return status.error_message();
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (response.Dump(&slices).ok()) {
    for (const grpc::Slice& s : slices) bytes.append(reinterpret_cast<const char*>(s.begin()), s.size());
  }
  return bytes == "\x08\x01" ? "SERVING" : bytes == "\x08\x02" ? "NOT_SERVING" : bytes;
}

TEST_F(StandaloneTest, HealthFollowsReadinessForEachService) {
  Start();
  const auto channel = app_->rpc().InProcessChannel();
  app_->PublishReadiness();
  for (const std::string& service : rpc::ServicesOf("standalone")) EXPECT_EQ(Health(channel, service), "SERVING");
  for (const char* probe : {"", "liveness", "readiness"}) EXPECT_EQ(Health(channel, probe), "SERVING") << probe;
  // One part that cannot work: the others can.
  app_->ingress().Drain(absl::ZeroDuration());
  EXPECT_FALSE(app_->Ready().ok());
  app_->PublishReadiness();
  EXPECT_EQ(Health(channel, ""), "NOT_SERVING");
  EXPECT_EQ(Health(channel, "readiness"), "NOT_SERVING");
  EXPECT_EQ(Health(channel, "liveness"), "SERVING");  // a restart would not help
  EXPECT_EQ(Health(channel, "posthouse.ingress.v1.IngressAdminService"), "NOT_SERVING");
  EXPECT_EQ(Health(channel, "posthouse.queue.v1.QueueService"), "SERVING");
}

TEST_F(StandaloneTest, TheStoreOfAnotherNameIsNotServed) {
  config_.mutable_mailbox()->set_shard("m0");
  Start();
  app_.reset();
  for (const bool mailbox : {true, false}) {
    config_.mutable_mailbox()->set_shard(mailbox ? "m1" : "m0");
    config_.mutable_queue()->set_shard(mailbox ? "0" : "q1");
    runtime_ = runtime::NewTestRuntime(config_);
    const auto app = App::Create(*runtime_);
    EXPECT_EQ(app.status().code(), absl::StatusCode::kFailedPrecondition) << app.status();
    EXPECT_THAT(std::string(app.status().message()),
                testing::AllOf(HasSubstr(mailbox ? "is \"m0\" (" : "is \"0\" ("),
                               HasSubstr(mailbox ? "mailbox.shard is \"m1\"" : "queue.shard is \"q1\"")));
  }
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
