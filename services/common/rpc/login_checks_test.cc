#include "services/common/rpc/login_checks.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/async/when_all.h"

namespace posthouse::rpc {
namespace {

// Answers each login with OK, the first ones only after Open(), and knows the order in which they came.
class SlowDirectory final : public directory::v1::DirectoryService::Service {
 public:
  grpc::Status Authenticate(grpc::ServerContext*, const directory::v1::AuthenticateRequest* request,
                            directory::v1::AuthenticateResponse* response) override {
    {
      absl::MutexLock lock(&mutex_);
      order_.push_back(request->client_address());
      most_ = std::max(most_, ++inside_);
    }
    open_.WaitForNotification();
    response->set_address(request->username());
    absl::MutexLock lock(&mutex_);
    --inside_;
    return grpc::Status::OK;
  }
  void Open() { open_.Notify(); }
  std::vector<std::string> order() const {
    absl::MutexLock lock(&mutex_);
    return order_;
  }
  int most() const {
    absl::MutexLock lock(&mutex_);
    return most_;
  }

 private:
  absl::Notification open_;
  mutable absl::Mutex mutex_;
  std::vector<std::string> order_ ABSL_GUARDED_BY(mutex_);
  int inside_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_ ABSL_GUARDED_BY(mutex_) = 0;
};

class LoginChecksTest : public testing::Test {
 protected:
  using Answer = absl::StatusOr<directory::v1::AuthenticateResponse>;

  LoginChecksTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&directory_);
    server_ = builder.BuildAndStart();
  }
  ~LoginChecksTest() override { server_->Shutdown(); }

  void Start(size_t in_flight, size_t waiting) {
    LoginCheckOptions options;
    options.max_in_flight = in_flight;
    options.max_waiting = waiting;
    checks_ = std::make_unique<LoginChecks>(server_->InProcessChannel(grpc::ChannelArguments()), options);
  }
  // One login for each address; they come in this order, before the directory answers the first.
  std::vector<Answer> LogIn(const std::vector<std::string>& addresses) {
    std::vector<Task<Answer>> logins;
    for (const std::string& address : addresses) {
      PasswordLogin login;
      login.username = "joe";
      login.password = "secret";
      login.client_address = address;
      logins.push_back(checks_->Check(std::move(login)));
    }
    // Runs last: all logins wait by then.
    logins.push_back(Open());
    std::vector<Answer> answers = SyncWait(WhenAll(std::move(logins)));
    answers.pop_back();
    return answers;
  }

  SlowDirectory directory_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<LoginChecks> checks_;

 private:
  Task<Answer> Open() {
    directory_.Open();
    co_return directory::v1::AuthenticateResponse();
  }
};

TEST_F(LoginChecksTest, AnAddressWithManyLoginsDelaysAnotherByOne) {
  Start(1, 1000);
  std::vector<std::string> addresses(100, "192.0.2.1");
  addresses.emplace_back("198.51.100.7");
  for (const Answer& answer : LogIn(addresses)) EXPECT_TRUE(answer.ok()) << answer.status();
  const std::vector<std::string> order = directory_.order();
  ASSERT_EQ(order.size(), 101u);
  // The first is inside, the next of its line has the first turn.
  EXPECT_EQ(std::find(order.begin(), order.end(), "198.51.100.7") - order.begin(), 2);
}

TEST_F(LoginChecksTest, TheAddressesOfOneIPv6CustomerShareALine) {
  Start(1, 1000);
  std::vector<std::string> addresses;
  for (int i = 1; i <= 50; ++i) addresses.push_back(absl::StrCat("2001:db8:0:1::", i));
  addresses.emplace_back("2001:db8:0:2::1");
  for (const Answer& answer : LogIn(addresses)) EXPECT_TRUE(answer.ok()) << answer.status();
  const std::vector<std::string> order = directory_.order();
  EXPECT_EQ(std::find(order.begin(), order.end(), "2001:db8:0:2::1") - order.begin(), 2);
}

TEST_F(LoginChecksTest, AHerdOfRightLoginsWaitsAndNoneIsRefused) {
  Start(4, 3000);
  std::vector<std::string> addresses;
  for (int i = 0; i < 3000; ++i) addresses.push_back(absl::StrCat("192.0.", i % 2, ".", i % 250));
  for (const Answer& answer : LogIn(addresses)) EXPECT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(directory_.order().size(), 3000u);
  EXPECT_LE(directory_.most(), 4);
}

// What waits is bounded, and one address cannot use up the room of all.
TEST_F(LoginChecksTest, BeyondTheRoomTheLongestLineLosesItsLast) {
  Start(1, 10);
  std::vector<std::string> addresses(20, "192.0.2.1");
  addresses.emplace_back("198.51.100.7");
  const std::vector<Answer> answers = LogIn(addresses);
  EXPECT_TRUE(answers.back().ok()) << answers.back().status();
  int refused = 0;
  for (const Answer& answer : answers) {
    if (answer.ok()) continue;
    EXPECT_TRUE(absl::IsResourceExhausted(answer.status())) << answer.status();
    ++refused;
  }
  EXPECT_EQ(refused, 10);  // of 21: one is inside, ten wait
  EXPECT_EQ(directory_.order().size(), 11u);
}

TEST_F(LoginChecksTest, GuessingSlowsDownAndRightLoginsDoNot) {
  const absl::Status wrong = absl::UnauthenticatedError("wrong"), refused = absl::ResourceExhaustedError("too many");
  EXPECT_EQ(GuessDelay(absl::OkStatus(), 9), absl::ZeroDuration());
  EXPECT_EQ(GuessDelay(absl::UnavailableError("down"), 9), absl::ZeroDuration());
  EXPECT_EQ(GuessDelay(wrong, 0), absl::Seconds(1));
  EXPECT_EQ(GuessDelay(refused, 2), absl::Seconds(4));
  EXPECT_EQ(GuessDelay(wrong, 1000), absl::Seconds(8));
}

TEST_F(LoginChecksTest, WithoutADirectoryALoginIsAFailureThatPasses) {
  LoginChecks none(nullptr);
  PasswordLogin login;
  EXPECT_TRUE(absl::IsUnavailable(SyncWait(none.Check(login)).status()));
}

}  // namespace
}  // namespace posthouse::rpc
