// The whole service over gRPC on a real RocksDB.
#include "services/directory/app.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/rpc/client.h"
#include "services/common/rpc/directory_changes.h"
#include "services/common/runtime/testing/test_runtime.h"

namespace posthouse::directory {
namespace {

using Code = absl::StatusCode;
constexpr absl::Duration kDeadline = absl::Seconds(20);

class DirectoryAppTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ =
        std::string(std::getenv("TEST_TMPDIR")) + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(dir_);
    Start();
  }
  void TearDown() override { Stop(); }

  config::v1::Config Config() const {
    config::v1::Config config;
    config.set_data_dir(dir_);
    config.set_hostname("mail.example.org");
    config.mutable_rpc()->set_port(0);
    config.mutable_directory()->set_argon2_memory_kib(64);
    config.mutable_directory()->set_argon2_passes(1);
    config.mutable_store()->set_min_free_bytes(1);
    config.mutable_directory()->set_shard(shard_);
    return config;
  }
  void Start() {
    runtime_ = runtime::NewTestRuntime(Config());
    auto app = App::Create(*runtime_, {});
    start_ = app.status();
    if (!refused_) ASSERT_TRUE(app.ok()) << app.status();
    if (!app.ok()) return;
    app_ = *std::move(app);
    channel_ = app_->rpc().InProcessChannel();
    admin_ = v1::DirectoryAdminService::NewStub(channel_);
    directory_ = v1::DirectoryService::NewStub(channel_);
  }
  void Stop() {
    if (app_ == nullptr) return;
    directory_.reset();
    admin_.reset();
    app_->Drain(absl::Seconds(5));
    app_.reset();
    runtime_.reset();
  }
  template <typename Request, typename Response>
  Code Do(grpc::Status (v1::DirectoryAdminService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
          const Request& request, Response* response = nullptr) {
    grpc::ClientContext context;
    rpc::Prepare(context, {kDeadline, {}});
    Response ignored;
    return rpc::FromGrpc((admin_.get()->*method)(&context, request, response == nullptr ? &ignored : response)).code();
  }
  Code AddDomain(const std::string& name) {
    v1::CreateDomainRequest request;
    request.mutable_domain()->set_domain(name);
    request.mutable_domain()->set_subaddress_separators("+");
    return Do(&v1::DirectoryAdminService::Stub::CreateDomain, request);
  }
  Code AddAccount(const std::string& address, const std::string& password) {
    v1::CreateAccountRequest request;
    request.mutable_account()->set_address(address);
    request.set_password(password);
    return Do(&v1::DirectoryAdminService::Stub::CreateAccount, request);
  }
  absl::StatusOr<v1::AuthenticateResponse> Login(const std::string& user, const std::string& password) {
    v1::AuthenticateRequest request;
    request.set_username(user);
    request.set_password(password);
    request.set_protocol("imap");
    const auto start = [this](auto* context, auto* req, auto* resp, auto done) {
      directory_->async()->Authenticate(context, req, resp, std::move(done));
    };
    return SyncWait(rpc::Call<v1::AuthenticateResponse>(rpc::OptionsFor(kDeadline), request, start));
  }
  absl::StatusOr<v1::LookupAddressResponse> LookUp(const std::string& address) {
    v1::LookupAddressRequest request;
    request.set_address(address);
    const auto start = [this](auto* context, auto* req, auto* resp, auto done) {
      directory_->async()->LookupAddress(context, req, resp, std::move(done));
    };
    return SyncWait(rpc::Call<v1::LookupAddressResponse>(rpc::OptionsFor(kDeadline), request, start));
  }

  std::string shard_;     // of the next start
  bool refused_ = false;  // the next start
  absl::Status start_;
  std::string dir_;
  std::unique_ptr<runtime::Runtime> runtime_;
  std::unique_ptr<App> app_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::DirectoryAdminService::Stub> admin_;
  std::unique_ptr<v1::DirectoryService::Stub> directory_;
};

// A mail client opens several connections at once, also after a restart, when nothing is proven.
TEST_F(DirectoryAppTest, LoginsOfOneAccountAtOnceShareTheFirstOnesHash) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_EQ(AddAccount("bob@example.org", "secret"), Code::kOk);
  v1::AuthenticateRequest request;
  request.set_username("bob@example.org");
  request.set_password("secret");
  const auto start = [this](auto* context, auto* req, auto* resp, auto done) {
    directory_->async()->Authenticate(context, req, resp, std::move(done));
  };
  std::vector<Task<absl::StatusOr<v1::AuthenticateResponse>>> logins;
  for (int i = 0; i < 200; ++i) {
    logins.push_back(rpc::Call<v1::AuthenticateResponse>(rpc::OptionsFor(kDeadline), request, start));
  }
  for (const auto& login : SyncWait(WhenAll(std::move(logins)))) EXPECT_TRUE(login.ok()) << login.status();
  const std::string text = runtime_->registry().Serialize();
  double hashes = 0, cached = 0;
  const size_t at = text.find("\nposthouse_directory_password_check_seconds_count ");
  const size_t also = text.find("\nposthouse_directory_logins_cached_total ");
  ASSERT_TRUE(at != std::string::npos && also != std::string::npos);
  ASSERT_EQ(std::sscanf(text.c_str() + at, "\nposthouse_directory_password_check_seconds_count %lf", &hashes), 1);
  ASSERT_EQ(std::sscanf(text.c_str() + also, "\nposthouse_directory_logins_cached_total %lf", &cached), 1);
  EXPECT_EQ(hashes + cached, 200);
  // At most as many as are checked at one time: half of the blocking pool's threads.
  EXPECT_LE(hashes, 4);
}

TEST_F(DirectoryAppTest, AnAccountIsFoundLogsInAndSurvivesARestart) {
  ASSERT_TRUE(app_->Ready().ok()) << app_->Ready();
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_EQ(AddAccount("bob@example.org", "secret"), Code::kOk);
  std::string account_id;
  for (int round = 0; round < 2; ++round) {
    const auto login = Login("Bob@example.org", "secret");
    ASSERT_TRUE(login.ok()) << login.status();
    EXPECT_EQ(login->address(), "bob@example.org");
    ASSERT_EQ(login->may_send_as_size(), 1);
    EXPECT_EQ(login->account().tenant(), "default");
    if (round == 1) EXPECT_EQ(login->account().account_id(), account_id);
    account_id = login->account().account_id();
    EXPECT_EQ(Login("bob@example.org", "wrong").status().code(), Code::kUnauthenticated);
    EXPECT_EQ(Login("eve@example.org", "secret").status().code(), Code::kUnauthenticated);
    const auto found = LookUp("BOB+tag@example.org");
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->outcome(), v1::LookupAddressResponse::OUTCOME_FOUND);
    ASSERT_EQ(found->targets_size(), 1);
    EXPECT_EQ(found->targets(0).account().account_id(), account_id);
    EXPECT_EQ(found->targets(0).detail(), "tag");
    EXPECT_EQ(LookUp("x@example.net")->outcome(), v1::LookupAddressResponse::OUTCOME_NOT_LOCAL);
    EXPECT_EQ(LookUp("x@example.org")->outcome(), v1::LookupAddressResponse::OUTCOME_NO_SUCH_ADDRESS);
    EXPECT_EQ(LookUp("nonsense").status().code(), Code::kInvalidArgument);
    Stop();
    Start();
  }
}

// Collects what a ChangeWatcher says.
struct Seen {
  absl::Mutex mutex;
  std::vector<std::string> names ABSL_GUARDED_BY(mutex);
  int lost ABSL_GUARDED_BY(mutex) = 0;
  bool alive ABSL_GUARDED_BY(mutex) = false;

  rpc::ChangeWatcher::Callbacks Callbacks() {
    return {[this](uint64_t, const v1::WatchResponse& response) {
              absl::MutexLock lock(&mutex);
              for (const v1::Change& change : response.changes()) names.push_back(change.name());
            },
            [this] {
              absl::MutexLock lock(&mutex);
              ++lost;
            },
            [this](uint64_t) {
              absl::MutexLock lock(&mutex);
              alive = true;
            }};
  }
  void AwaitAlive() {
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(&alive));
  }
  void AwaitNames(size_t n) {
    const auto enough = [this, n]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return names.size() >= n; };
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(&enough));
  }
};

TEST_F(DirectoryAppTest, WatchersAreToldOfEveryChange) {
  ASSERT_EQ(AddDomain("before.example"), Code::kOk);
  Seen seen;
  rpc::ChangeWatcher watcher(channel_, runtime_->loops().Next(), seen.Callbacks());
  seen.AwaitAlive();
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(AddAccount("u" + std::to_string(i) + "@example.org", "x"), Code::kOk);
  seen.AwaitNames(21);
  {
    absl::MutexLock lock(&seen.mutex);
    EXPECT_EQ(seen.names[0], "example.org");
    EXPECT_EQ(seen.names[20], "u19@example.org");
    EXPECT_EQ(seen.names.size(), 21u);
    EXPECT_EQ(seen.lost, 1);  // what was cached before it began
  }
  watcher.Stop();
}

// A shard that is added takes accounts without a restart.
TEST_F(DirectoryAppTest, AReloadNamesTheStoresThatAccountsMayLiveIn) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  v1::CreateAccountRequest request;
  request.mutable_account()->set_address("user@example.org");
  request.mutable_account()->set_home("m1");
  request.set_password("secret");
  EXPECT_EQ(Do(&v1::DirectoryAdminService::Stub::CreateAccount, request), Code::kInvalidArgument);
  config::v1::Config config = Config();
  for (const char* name : {"m0", "m1"}) {
    config::v1::Shard* const shard = config.mutable_peers()->add_mailbox();
    shard->set_name(name);
    shard->set_target("127.0.0.1:1");
  }
  ASSERT_TRUE(app_->Reload(config).ok());
  EXPECT_EQ(Do(&v1::DirectoryAdminService::Stub::CreateAccount, request), Code::kOk);
}

TEST_F(DirectoryAppTest, ADrainEndsChangeStreams) {
  grpc::ClientContext context;
  rpc::Prepare(context, {kDeadline, {}});
  const auto stream = directory_->Watch(&context, v1::WatchRequest());
  v1::WatchResponse response;
  ASSERT_TRUE(stream->Read(&response));
  app_->Drain(absl::ZeroDuration());
  while (stream->Read(&response)) continue;  // to its end, at the latest the call's deadline
  EXPECT_EQ(stream->Finish().error_message(), "this directory is stopping");
}

TEST_F(DirectoryAppTest, TheStoreOfAnotherNameIsNotServed) {
  Stop();  // it had no name so far, and takes the one of the configuration
  shard_ = "d0";
  Start();
  EXPECT_EQ(AddDomain("example.org"), Code::kOk);
  Stop();
  refused_ = true;
  for (const char* other : {"d1", ""}) {
    shard_ = other;
    Start();
    EXPECT_EQ(start_.code(), Code::kFailedPrecondition) << start_;
    EXPECT_TRUE(absl::StrContains(start_.message(), "is \"d0\" (")) << start_;
    EXPECT_TRUE(absl::StrContains(start_.message(), absl::StrCat("directory.shard is \"", other, "\""))) << start_;
  }
  refused_ = false;
  shard_ = "d0";
  Start();
}

TEST_F(DirectoryAppTest, TwoProcessesCannotShareAStore) {
  config::v1::Config config;
  config.set_data_dir(dir_);
  config.mutable_rpc()->set_port(0);
  const auto rt = runtime::NewTestRuntime(config);
  EXPECT_EQ(App::Create(*rt, {}).status().code(), Code::kFailedPrecondition);
}

TEST_F(DirectoryAppTest, MetricsSayWhatHappened) {
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_EQ(AddAccount("bob@example.org", "secret"), Code::kOk);
  ASSERT_FALSE(Login("bob@example.org", "wrong").ok());
  ASSERT_TRUE(LookUp("x@example.org").ok());
  const std::string text = runtime_->registry().Serialize();
  for (const std::string line :
       {"posthouse_directory_accounts 1", "posthouse_directory_domains 1", "posthouse_directory_changes_total 2",
        "posthouse_directory_logins_total{outcome=\"wrong\"} 1", "posthouse_directory_logins_total{outcome=\"ok\"} 0",
        "posthouse_directory_lookups_total{outcome=\"unknown\"} 1", "posthouse_directory_fenced 0"}) {
    EXPECT_NE(text.find(line + "\n"), std::string::npos) << line;
  }
}

std::string& LoggedLines() {
  static auto& lines = *new std::string;
  return lines;
}
absl::Mutex& LogMutex() {
  static auto& mutex = *new absl::Mutex;
  return mutex;
}

// The audit log: who changed what, and never a secret.
TEST_F(DirectoryAppTest, TheLogNamesWhatWasChangedAndNoSecret) {
  log::SetSinkForTest([](absl::string_view line) {
    absl::MutexLock lock(&LogMutex());
    LoggedLines().append(line.data(), line.size());
  });
  ASSERT_EQ(AddDomain("example.org"), Code::kOk);
  ASSERT_EQ(AddAccount("bob@example.org", "pa55-first"), Code::kOk);
  v1::SetPasswordRequest set;
  set.set_address("bob@example.org");
  set.set_password("pa55-second");
  ASSERT_EQ(Do(&v1::DirectoryAdminService::Stub::SetPassword, set), Code::kOk);
  set.set_password_hash("{PLAIN}pa55-third");
  ASSERT_EQ(Do(&v1::DirectoryAdminService::Stub::SetPassword, set), Code::kOk);
  set.set_password_hash("{NONSENSE}pa55-fourth");
  ASSERT_EQ(Do(&v1::DirectoryAdminService::Stub::SetPassword, set), Code::kInvalidArgument);
  ASSERT_FALSE(Login("bob@example.org", "pa55-fifth").ok());
  ASSERT_TRUE(Login("bob@example.org", "pa55-third").ok());
  log::SetSinkForTest(nullptr);
  absl::MutexLock lock(&LogMutex());
  const std::string& lines = LoggedLines();
  for (const char* wanted : {"\"method\":\"CreateDomain\",\"target\":\"example.org\"",
                             "\"method\":\"CreateAccount\",\"target\":\"bob@example.org\"",
                             "\"method\":\"SetPassword\",\"target\":\"bob@example.org\""}) {
    EXPECT_NE(lines.find(wanted), std::string::npos) << wanted << "\n" << lines;
  }
  EXPECT_EQ(lines.find("pa55"), std::string::npos) << lines;
  EXPECT_EQ(lines.find("argon2id"), std::string::npos) << lines;
}

TEST(DirectorySettingsTest, MistakesStopTheStart) {
  config::v1::Config config;
  const auto create = [&config] {
    const auto rt = runtime::NewTestRuntime(config);
    return App::Create(*rt, {}).status();
  };
  EXPECT_EQ(create().code(), Code::kInvalidArgument);  // no data_dir
  config.set_data_dir(std::string(std::getenv("TEST_TMPDIR")) + "/settings");
  config.mutable_directory()->set_argon2_memory_kib(4);
  EXPECT_EQ(create().message(), "directory.argon2_memory_kib is 4: 8 to 1048576");
}

}  // namespace
}  // namespace posthouse::directory
