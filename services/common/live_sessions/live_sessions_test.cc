// Against a directory whose answers and change stream the test decides. What the protocols make of it is in
// services/standalone/app_test.cc.
#include "services/common/live_sessions/live_sessions.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "posthouse/sessions/v1/sessions.grpc.pb.h"
#include "services/common/async/sync.h"
#include "services/common/live_sessions/sessions_service.h"
#include "services/common/log/log.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/server.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"
#include "services/common/testing/wait.h"

namespace posthouse {
namespace {

namespace dir = directory::v1;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class FakeDirectory final : public dir::DirectoryService::CallbackService {
 public:
  explicit FakeDirectory(rpc::ServerRunner& runner) : runner_(runner) {}
  grpc::ServerUnaryReactor* GetAccount(grpc::CallbackServerContext* context, const dir::GetAccountRequest* request,
                                       dir::GetAccountResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) { return Get(call); });
  }
  grpc::ServerWriteReactor<dir::WatchResponse>* Watch(grpc::CallbackServerContext* context,
                                                      const dir::WatchRequest* request) override {
    return rpc::ServerStreaming<dir::WatchResponse>(runner_, context, request,
                                                    [this](auto& call) { return Stream(call); });
  }

  // The answer about an account, which the test changes.
  void Set(const std::string& id, const dir::GetAccountResponse& answer) {
    absl::MutexLock lock(&mutex_);
    accounts_[id] = answer;
  }
  void Remove(const std::string& id) {
    absl::MutexLock lock(&mutex_);
    accounts_.erase(id);
  }
  void Fail(bool fail) {
    absl::MutexLock lock(&mutex_);
    fails_ = fail;
  }
  // Tells the stream, when it is open.
  void Tell(dir::Change::Kind kind, const std::string& name, const std::string& account_id = "") {
    absl::MutexLock lock(&mutex_);
    dir::WatchResponse response;
    response.set_revision(++revision_);
    dir::Change& change = *response.add_changes();
    change.set_kind(kind);
    change.set_name(name);
    change.set_account_id(account_id);
    to_send_.push_back(std::move(response));
    wakeup_->Signal();
  }
  // Ends the stream. The next one cannot be resumed: changes may have been missed.
  void LoseChanges() {
    absl::MutexLock lock(&mutex_);
    end_ = true;
    wakeup_->Signal();
  }
  int calls() const {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }

 private:
  Task<absl::Status> Get(rpc::UnaryCall<dir::GetAccountRequest, dir::GetAccountResponse>& call) {
    absl::MutexLock lock(&mutex_);
    ++calls_;
    if (fails_) co_return absl::UnavailableError("down");
    const auto it = accounts_.find(call.request().account_id());
    if (it == accounts_.end()) co_return absl::NotFoundError("no such account");
    call.response() = it->second;
    co_return absl::OkStatus();
  }

  Task<absl::Status> Stream(rpc::WriterCall<dir::WatchRequest, dir::WatchResponse>& call) {
    const auto wakeup = std::make_shared<Wakeup>();
    call.OnCancel([wakeup] { wakeup->Signal(); });
    dir::WatchResponse first;
    {
      absl::MutexLock lock(&mutex_);
      if (!call.request().only_new() && lost_) {
        lost_ = false;
        co_return absl::OutOfRangeError("the log does not reach back that far");
      }
      wakeup_ = wakeup;
      first.set_revision(revision_);
    }
    PH_CO_RETURN_IF_ERROR(co_await call.Write(std::move(first)));
    while (!call.cancelled()) {
      std::vector<dir::WatchResponse> send;
      {
        absl::MutexLock lock(&mutex_);
        if (std::exchange(end_, false)) {
          lost_ = true;
          co_return absl::UnavailableError("restarting");
        }
        send.swap(to_send_);
      }
      for (dir::WatchResponse& response : send) PH_CO_RETURN_IF_ERROR(co_await call.Write(std::move(response)));
      if (send.empty()) co_await wakeup->WaitFor(absl::InfiniteDuration());
    }
    co_return absl::CancelledError();
  }

  rpc::ServerRunner& runner_;
  mutable absl::Mutex mutex_;
  std::map<std::string, dir::GetAccountResponse> accounts_ ABSL_GUARDED_BY(mutex_);
  bool fails_ ABSL_GUARDED_BY(mutex_) = false;
  bool end_ ABSL_GUARDED_BY(mutex_) = false;
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t revision_ ABSL_GUARDED_BY(mutex_) = 10;
  std::vector<dir::WatchResponse> to_send_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Wakeup> wakeup_ ABSL_GUARDED_BY(mutex_) = std::make_shared<Wakeup>();
};

// A loop whose timers fire at once.
class HastyLoop final : public Executor {
 public:
  explicit HastyLoop(Executor& loop) : loop_(loop) {}
  void Post(absl::AnyInvocable<void()> work) override { loop_.Post(std::move(work)); }
  uint64_t PostAfter(absl::Duration, absl::AnyInvocable<void()> work) override {
    return loop_.PostAfter(absl::ZeroDuration(), std::move(work));
  }
  bool CancelTimer(uint64_t id) override { return loop_.CancelTimer(id); }

 private:
  Executor& loop_;
};

// A session as a protocol has it: it notes what happens to it.
struct Client {
  absl::Notification woken, cut;
  std::unique_ptr<LiveSessions::Session> session;
};

class LiveSessionsTest : public testing::Test {
 protected:
  LiveSessionsTest() {
    absl::StatusOr<std::unique_ptr<rpc::RpcServer>> server =
        rpc::RpcServer::Start({.port = -1}, {&directory_}, registry_);
    PH_CHECK(server.ok());
    server_ = *std::move(server);
    live_ = std::make_unique<LiveSessions>(server_->InProcessChannel(), hasty_, registry_, "test");
    for (const char* name : {"ann", "bob"}) directory_.Set(name, Account(name));
    Settle();  // the stream is open
  }
  ~LiveSessionsTest() override {
    clients_.clear();
    admin_.reset();
    sessions_server_.reset();
    live_.reset();
    other_.reset();
    runner_.BeginDrain();
    server_->Shutdown(absl::ZeroDuration());
    server_.reset();
  }

  static dir::GetAccountResponse Account(const std::string& name) {
    dir::GetAccountResponse answer;
    answer.mutable_account()->set_account_id(name);
    answer.mutable_account()->set_status(dir::STATUS_ACTIVE);
    answer.set_effective_status(dir::STATUS_ACTIVE);
    answer.add_may_send_as(name + "@a.example");
    return answer;
  }

  // `revision`: of the directory when it answered the login.
  Client& LogIn(const std::string& name, const std::string& protocol = "imap", uint64_t revision = 1000) {
    LiveSessions::Login login;
    login.protocol = protocol;
    login.address = name + "@a.example";
    login.client = "192.0.2.7";
    login.account.set_account_id(name);
    login.account.set_tenant("default");
    login.directory_revision = revision;
    clients_.push_back(std::make_unique<Client>());
    Client& client = *clients_.back();
    client.session = live_->Add(std::move(login), {.wake = [&client] { client.woken.Notify(); },
                                                   .cut =
                                                       [&client] {
                                                         if (!client.cut.HasBeenNotified()) client.cut.Notify();
                                                       }});
    return client;
  }
  // A later change has arrived. Accounts are asked about side by side, so an earlier one may still be looked at.
  void Settle() {
    Client& probe = LogIn("probe");
    directory_.Tell(dir::Change::KIND_ACCOUNT, "probe@a.example", "probe");  // which the directory does not know
    WaitFor(probe.woken);
    probe.session.reset();
  }

  std::vector<std::string> Ids(const LiveSessions::Query& query, absl::string_view after = "", size_t limit = 100) {
    std::vector<std::string> ids;
    const auto found = live_->List(query, after, limit);
    if (!found.has_value()) return {"not mine"};
    for (const LiveSessions::Info& info : *found) ids.push_back(absl::StrCat(info.protocol, " ", info.address));
    return ids;
  }

  metrics::Registry registry_;
  net::EventLoops loops_{2};
  HastyLoop hasty_{loops_.at(0)};
  rpc::ServerRunner runner_{loops_, registry_};
  FakeDirectory directory_{runner_};
  std::unique_ptr<rpc::RpcServer> server_;
  std::unique_ptr<LiveSessions> live_, other_;  // the other one only for SessionsService
  std::shared_ptr<grpc::Service> service_;
  std::unique_ptr<rpc::RpcServer> sessions_server_;
  std::unique_ptr<sessions::v1::SessionsService::Stub> admin_;
  std::vector<std::unique_ptr<Client>> clients_;
};

TEST_F(LiveSessionsTest, EachChangeThatForbidsASessionEndsItWithItsReason) {
  struct Case {
    const char* text;
    const char* name;
    void (*change)(dir::GetAccountResponse& answer);
    dir::Change::Kind kind;
  };
  const Case cases[] = {
      {"Account is suspended", "account_suspended", [](auto& a) { a.set_effective_status(dir::STATUS_SUSPENDED); },
       dir::Change::KIND_ACCOUNT},
      {"Account was moved, log in again", "account_moved", [](auto& a) { a.set_effective_status(dir::STATUS_FROZEN); },
       dir::Change::KIND_ACCOUNT},
      {"Account was moved, log in again", "account_moved", [](auto& a) { a.mutable_account()->set_placement_epoch(1); },
       dir::Change::KIND_ACCOUNT},
      {"Account was moved, log in again", "account_moved", [](auto& a) { a.mutable_account()->set_home("m1"); },
       dir::Change::KIND_ACCOUNT},
      {"Account was deleted", "account_deleted", [](auto& a) { a.set_effective_status(dir::STATUS_DELETED); },
       dir::Change::KIND_ACCOUNT},
      {"Password was changed, log in again", "password_changed",
       [](auto& a) { a.mutable_account()->set_credential_revision(11); }, dir::Change::KIND_CREDENTIAL},
      // A directory of an older version knows the status of the account alone.
      {"Account is suspended", "account_suspended",
       [](auto& a) {
         a.clear_effective_status();
         a.mutable_account()->set_status(dir::STATUS_SUSPENDED);
       },
       dir::Change::KIND_ACCOUNT},
  };
  Client& ann = LogIn("ann");
  for (const Case& c : cases) {
    directory_.Set("bob", Account("bob"));
    Client& bob = LogIn("bob", "pop3");
    EXPECT_EQ(bob.session->RevokeText(), "");
    dir::GetAccountResponse answer = Account("bob");
    c.change(answer);
    directory_.Set("bob", answer);
    directory_.Tell(c.kind, "bob@a.example", "bob");
    WaitFor(bob.woken);
    ASSERT_TRUE(bob.session->revoked().has_value());
    EXPECT_EQ(RevokeReasonName(*bob.session->revoked()), c.name);
    EXPECT_EQ(bob.session->RevokeText(), c.text);
    WaitFor(bob.cut);  // it did not close by itself
    bob.session.reset();
  }
  directory_.Remove("bob");
  Client& bob = LogIn("bob", "pop3");
  directory_.Tell(dir::Change::KIND_ACCOUNT, "bob@a.example", "bob");
  WaitFor(bob.woken);
  EXPECT_EQ(bob.session->RevokeText(), "Account was deleted");
  EXPECT_FALSE(ann.woken.HasBeenNotified());
  EXPECT_THAT(registry_.Serialize(), HasSubstr("posthouse_test_sessions_revoked_total{reason=\"account_moved\"} 3"));
}

TEST_F(LiveSessionsTest, ASuspendedDomainOrTenantEndsTheSessionsInIt) {
  for (const dir::Change::Kind kind : {dir::Change::KIND_DOMAIN, dir::Change::KIND_TENANT}) {
    directory_.Set("bob", Account("bob"));
    Client& bob = LogIn("bob");
    directory_.Tell(kind, kind == dir::Change::KIND_DOMAIN ? "b.example" : "another");
    Settle();
    EXPECT_FALSE(bob.woken.HasBeenNotified());
    dir::GetAccountResponse answer = Account("bob");
    answer.set_effective_status(dir::STATUS_SUSPENDED);
    directory_.Set("bob", answer);
    directory_.Tell(kind, kind == dir::Change::KIND_DOMAIN ? "a.example" : "default");
    WaitFor(bob.woken);
    EXPECT_EQ(bob.session->RevokeText(), "Account is suspended");
  }
}

TEST_F(LiveSessionsTest, AnyOtherChangeKeepsTheSessionAndGivesItTheNewLimits) {
  Client& bob = LogIn("bob");
  common::v1::AccountRef account;
  bob.session->Refresh(&account);
  EXPECT_EQ(account.account_id(), "") << "nothing is new";
  dir::GetAccountResponse answer = Account("bob");
  answer.mutable_effective_limits()->set_storage_bytes(1000);
  answer.mutable_effective_limits()->set_messages(7);
  directory_.Set("bob", answer);
  directory_.Tell(dir::Change::KIND_ACCOUNT, "bob@a.example", "bob");
  EXPECT_TRUE(Eventually([&] {
    bob.session->Refresh(&account);
    return account.account_id() == "bob";
  }));
  EXPECT_EQ(account.quota_bytes(), 1000u);
  EXPECT_EQ(account.quota_messages(), 7u);
  EXPECT_FALSE(bob.woken.HasBeenNotified());
}

// The change came while the answer to the login was on its way.
TEST_F(LiveSessionsTest, ALoginThatIsOlderThanTheStreamIsAskedAbout) {
  directory_.Remove("bob");
  Client& ann = LogIn("ann");
  Client& bob = LogIn("bob", "imap", 10);  // the stream has told of 11
  WaitFor(bob.woken);
  EXPECT_TRUE(bob.session->senders_stale());
  EXPECT_FALSE(ann.session->senders_stale());
  EXPECT_FALSE(ann.woken.HasBeenNotified());
}

TEST_F(LiveSessionsTest, WhatHappenedWhileTheStreamWasAwayIsFound) {
  Client& ann = LogIn("ann");
  Client& bob = LogIn("bob");
  directory_.Remove("bob");
  directory_.LoseChanges();
  WaitFor(bob.woken);
  EXPECT_EQ(bob.session->RevokeText(), "Account was deleted");
  EXPECT_TRUE(ann.session->senders_stale());
  EXPECT_FALSE(ann.woken.HasBeenNotified());
}

TEST_F(LiveSessionsTest, WhileTheDirectoryDoesNotAnswerSessionsGoOnAndItIsAskedAgain) {
  Client& bob = LogIn("bob");
  directory_.Remove("bob");
  directory_.Fail(true);
  const int before = directory_.calls();
  directory_.Tell(dir::Change::KIND_ACCOUNT, "bob@a.example", "bob");
  EXPECT_TRUE(Eventually([&] { return directory_.calls() > before; }));
  EXPECT_FALSE(bob.woken.HasBeenNotified());
  directory_.Fail(false);
  WaitFor(bob.woken);
  EXPECT_EQ(bob.session->RevokeText(), "Account was deleted");
}

TEST_F(LiveSessionsTest, ASessionAsksForItsSenderAddressesAfterAChangeOfAliasesOrDomains) {
  Client& bob = LogIn("bob", "submission");
  const auto ask = [&bob]() { return SyncWait(bob.session->AskSenders()); };
  EXPECT_FALSE(bob.session->senders_stale());
  for (const dir::Change::Kind kind : {dir::Change::KIND_ALIAS, dir::Change::KIND_DOMAIN}) {
    directory_.Tell(kind, "sales@a.example");
    EXPECT_TRUE(Eventually([&] { return bob.session->senders_stale(); }));
    directory_.Fail(true);
    EXPECT_FALSE(ask().ok());
    EXPECT_TRUE(bob.session->senders_stale()) << "it asks again";
    directory_.Fail(false);
    dir::GetAccountResponse answer = Account("bob");
    answer.add_may_send_as("sales@a.example");
    directory_.Set("bob", answer);
    EXPECT_THAT(*ask(), ElementsAre("bob@a.example", "sales@a.example"));
    EXPECT_FALSE(bob.session->senders_stale());
  }
}

TEST_F(LiveSessionsTest, AnEndedRegistryEndsNoSession) {
  Client& bob = LogIn("bob");
  live_->Stop();
  EXPECT_EQ(live_->Kick({.account = "bob"}, ""), 0u);
  EXPECT_FALSE(bob.woken.HasBeenNotified());
  EXPECT_FALSE(SyncWait(bob.session->AskSenders()).ok());
}

// ---- for administrators

TEST_F(LiveSessionsTest, TheListHasWhatMatchesInTheOrderOfTheLogins) {
  LogIn("bob", "imap");
  LogIn("ann", "imap");
  Client& gone = LogIn("bob", "pop3");
  LogIn("bob", "submission");
  gone.session.reset();
  EXPECT_EQ(live_->size(), 3u);
  EXPECT_THAT(Ids({}), ElementsAre("imap bob@a.example", "imap ann@a.example", "submission bob@a.example"));
  EXPECT_THAT(Ids({.account = "Bob@a.example"}), ElementsAre("imap bob@a.example", "submission bob@a.example"));
  EXPECT_THAT(Ids({.account = "ann"}), ElementsAre("imap ann@a.example"));
  EXPECT_THAT(Ids({.account = "bob", .protocol = "imap"}), ElementsAre("imap bob@a.example"));
  EXPECT_THAT(Ids({.account = "eve@a.example"}), IsEmpty());
  const std::string first = live_->List({}, "", 1)->at(0).id;
  EXPECT_THAT(Ids({}, first), ElementsAre("imap ann@a.example", "submission bob@a.example"));
  EXPECT_THAT(Ids({}, "0-1"), ElementsAre("not mine"));
  EXPECT_THAT(Ids({}, first + "x"), ElementsAre("not mine"));
}

TEST_F(LiveSessionsTest, AKickEndsTheSessionsThatMatchOnce) {
  Client& imap = LogIn("bob", "imap");
  Client& pop3 = LogIn("bob", "pop3");
  Client& ann = LogIn("ann", "imap");
  EXPECT_EQ(live_->Kick({.account = "bob@a.example", .protocol = "pop3"}, ""), 1u);
  EXPECT_EQ(pop3.session->RevokeText(), "Session ended by the administrator");
  EXPECT_EQ(live_->Kick({.account = "bob@a.example"}, "stolen phone"), 1u) << "the other one ends already";
  EXPECT_EQ(imap.session->RevokeText(), "Session ended by the administrator: stolen phone");
  EXPECT_EQ(live_->Kick({.id = live_->List({.account = "ann"}, "", 1)->at(0).id}, ""), 1u);
  EXPECT_TRUE(ann.woken.HasBeenNotified());
  WaitFor(imap.cut);
  EXPECT_THAT(registry_.Serialize(), HasSubstr("posthouse_test_sessions_revoked_total{reason=\"administrator\"} 3"));
}

class SessionsServiceTest : public LiveSessionsTest {
 protected:
  SessionsServiceTest() {
    other_ = std::make_unique<LiveSessions>(server_->InProcessChannel(), hasty_, registry_, "other");
    service_ = NewSessionsService(runner_, {live_.get(), other_.get()});
    absl::StatusOr<std::unique_ptr<rpc::RpcServer>> server =
        rpc::RpcServer::Start({.port = -1}, {service_.get()}, registry_);
    PH_CHECK(server.ok());
    sessions_server_ = *std::move(server);
    admin_ = sessions::v1::SessionsService::NewStub(sessions_server_->InProcessChannel());
  }
  grpc::Status List(const sessions::v1::ListSessionsRequest& request, sessions::v1::ListSessionsResponse* response) {
    grpc::ClientContext context;
    rpc::Prepare(context, {kTestPatience, {}});
    return admin_->ListSessions(&context, request, response);
  }
  std::string Kick(const std::string& id, const std::string& account, const std::string& reason,
                   const std::string& protocol = "") {
    grpc::ClientContext context;
    rpc::Prepare(context, {kTestPatience, {}});
    sessions::v1::KickSessionsRequest request;
    request.set_session_id(id);
    request.set_account(account);
    request.set_reason(reason);
    request.set_protocol(protocol);
    sessions::v1::KickSessionsResponse response;
    const grpc::Status status = admin_->KickSessions(&context, request, &response);
    return status.ok() ? absl::StrCat(response.sessions()) : status.error_message();
  }
  std::unique_ptr<LiveSessions::Session> LogInElsewhere(const std::string& name) {
    LiveSessions::Login login;
    login.protocol = "submission";
    login.address = name + "@a.example";
    login.account.set_account_id(name);
    login.directory_revision = 1000;
    return other_->Add(std::move(login), {.wake = [] {}, .cut = [] {}});
  }
};

TEST_F(SessionsServiceTest, PagesGoThroughAllRegistries) {
  for (int i = 0; i < 3; ++i) LogIn("bob");
  const auto a = LogInElsewhere("bob"), b = LogInElsewhere("ann"), c = LogInElsewhere("bob");
  for (const uint32_t page_size : {1u, 2u, 3u, 4u, 5u, 6u, 0u}) {
    sessions::v1::ListSessionsRequest request;
    request.set_account("bob@a.example");
    request.mutable_page()->set_page_size(page_size);
    std::vector<std::string> ids;
    while (true) {
      sessions::v1::ListSessionsResponse response;
      ASSERT_TRUE(List(request, &response).ok());
      EXPECT_LE(response.sessions_size(), page_size == 0 ? 100 : static_cast<int>(page_size));
      for (const auto& session : response.sessions()) ids.push_back(session.session_id());
      if (response.page().next_page_token().empty()) break;
      request.mutable_page()->set_page_token(response.page().next_page_token());
    }
    EXPECT_EQ(ids.size(), 5u) << page_size;
    EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 5u) << page_size;
  }
  sessions::v1::ListSessionsRequest request;
  request.mutable_page()->set_page_token("of another process");
  sessions::v1::ListSessionsResponse response;
  EXPECT_EQ(List(request, &response).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(SessionsServiceTest, ASessionSaysWhoseItIsAndWhetherItEnds) {
  LogIn("bob", "pop3");
  sessions::v1::ListSessionsResponse response;
  ASSERT_TRUE(List({}, &response).ok());
  ASSERT_EQ(response.sessions_size(), 1);
  const sessions::v1::Session& bob = response.sessions(0);
  EXPECT_EQ(bob.protocol(), "pop3");
  EXPECT_EQ(bob.address(), "bob@a.example");
  EXPECT_EQ(bob.account_id(), "bob");
  EXPECT_EQ(bob.tenant(), "default");
  EXPECT_EQ(bob.client_address(), "192.0.2.7");
  EXPECT_GT(bob.since().seconds(), 0);
  EXPECT_EQ(bob.revoked(), "");
  EXPECT_EQ(Kick(bob.session_id(), "", ""), "1");
  response.Clear();
  ASSERT_TRUE(List({}, &response).ok());
  EXPECT_EQ(response.sessions(0).revoked(), "administrator");
}

std::string& Lines() {
  static auto& lines = *new std::string;
  return lines;
}

TEST_F(SessionsServiceTest, AKickIsCheckedAndAudited) {
  LogIn("bob", "imap");
  const auto elsewhere = LogInElsewhere("bob");
  EXPECT_EQ(Kick("", "", ""), "give either session_id or account");
  EXPECT_EQ(Kick("x", "bob@a.example", ""), "give either session_id or account");
  EXPECT_EQ(Kick("x", "", "", "imap"), "protocol: only with account");
  // It would be a reply of its own in SMTP.
  for (const std::string bad : {"x\r\n250 ok", "caf\xc3\xa9"}) {
    EXPECT_EQ(Kick("", "bob", bad), "reason: at most 200 characters, printable ASCII");
  }
  EXPECT_EQ(Kick("", "bob", std::string(201, 'x')), "reason: at most 200 characters, printable ASCII");
  EXPECT_EQ(Kick("0-1", "", ""), "0");
  log::SetSinkForTest([](absl::string_view line) { Lines().append(line.data(), line.size()); });
  EXPECT_EQ(Kick("", "bob@a.example", "stolen phone"), "2");
  log::SetSinkForTest(nullptr);
  EXPECT_THAT(Lines(), HasSubstr("\"method\":\"KickSessions\",\"target\":\"bob@a.example\""));
  EXPECT_THAT(Lines(), HasSubstr("\"event\":\"session_revoked\""));
  EXPECT_THAT(Lines(), HasSubstr("\"note\":\"stolen phone\""));
  EXPECT_EQ(elsewhere->RevokeText(), "Session ended by the administrator: stolen phone");
}

}  // namespace
}  // namespace posthouse
