// Which process serves an account, and what happens when one goes.
#include "services/common/rpc/members.h"

#include <grpcpp/grpcpp.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "posthouse/queue/v1/queue.grpc.pb.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/server.h"
#include "services/common/rpc/streaming.h"
#include "services/common/testing/wait.h"

namespace posthouse::rpc {
namespace {

namespace q = queue::v1;
using ::testing::AnyOf;

// Answers with its number.
class Numbered final : public q::QueueAdminService::CallbackService {
 public:
  Numbered(ServerRunner& runner, int number) : runner_(runner), number_(number) {}
  grpc::ServerUnaryReactor* GetStats(grpc::CallbackServerContext* context, const q::GetStatsRequest* request,
                                     q::GetStatsResponse* response) override {
    return Unary(runner_, context, request, response, [this](auto& call) { return Answer(call, number_); });
  }

 private:
  static Task<absl::Status> Answer(UnaryCall<q::GetStatsRequest, q::GetStatsResponse>& call, int number) {
    call.response().set_items(static_cast<uint64_t>(number));
    co_return absl::OkStatus();
  }
  ServerRunner& runner_;
  const int number_;
};

class MembersTest : public ::testing::Test {
 protected:
  MembersTest() : loops_(1), runner_(loops_, registry_) {}
  ~MembersTest() override { StopAll(); }

  // Starts server `number`; its address is found by the next Refresh().
  void Start(int number) {
    Process& process = processes_[number];
    process.service = std::make_unique<Numbered>(runner_, number);
    auto server = RpcServer::Start(ServerOptions(), {process.service.get()}, registry_);
    ASSERT_TRUE(server.ok()) << server.status();
    process.server = *std::move(server);
    addresses_.push_back(absl::StrCat("127.0.0.1:", process.server->port()));
    address_of_[number] = addresses_.back();
  }
  void Stop(int number) {
    processes_[number].server->Shutdown(absl::ZeroDuration());
    processes_.erase(number);
  }
  void StopAll() {
    while (!processes_.empty()) Stop(processes_.begin()->first);
  }

  Members::Resolve Resolver() {
    return [this] { return addresses_; };
  }
  static Members::DialAddress Dialler() {
    return [](const std::string& address) { return Dial(address, TlsFiles()); };
  }
  MembersOptions ByHand() {
    MembersOptions options;
    options.refresh = absl::InfiniteDuration();
    options.now = [this] { return now_; };
    return options;
  }
  // A target that nobody serves: what is used before the first answer of the resolver.
  static std::shared_ptr<grpc::Channel> Nowhere() { return *Dial("127.0.0.1:1", TlsFiles()); }

  // The number of the server that answers a call for `account`.
  static absl::StatusOr<int> Ask(Members& members, const std::string& account) {
    const auto stub = members.For(AccountId(account))->Stub<q::QueueAdminService>();
    const auto start = [&](auto* context, auto* request, auto* response, auto done) {
      stub->async()->GetStats(context, request, response, std::move(done));
    };
    auto response = SyncWait(Call<q::GetStatsResponse>(CallOptions(), q::GetStatsRequest(), start));
    if (!response.ok()) return response.status();
    return static_cast<int>(response->items());
  }
  // Asks until a server answers: a call that meets the end of its server fails.
  static int AskUntilAnswered(Members& members, const std::string& account) {
    absl::StatusOr<int> number;
    const bool answered = Eventually([&] {
      number = Ask(members, account);
      return number.ok() || !absl::IsUnavailable(number.status());
    });
    EXPECT_TRUE(answered && number.ok()) << number.status();
    return number.value_or(-1);
  }
  static std::map<std::string, std::string> Placement(Members& members) {
    std::map<std::string, std::string> out;
    for (int i = 0; i < 300; ++i) {
      const std::string account = absl::StrCat("account", i);
      out[account] = members.For(AccountId(account))->address();
    }
    return out;
  }

  struct Process {
    std::unique_ptr<Numbered> service;
    std::unique_ptr<RpcServer> server;
  };
  metrics::Registry registry_;
  net::EventLoops loops_;
  ServerRunner runner_;
  std::map<int, Process> processes_;
  std::vector<std::string> addresses_;
  std::map<int, std::string> address_of_;
  absl::Time now_ = absl::UnixEpoch();
};

// A pod that restarts has a new address, which must not wait for the next regular look.
TEST_F(MembersTest, WhileAMemberIsAwayItsNameIsResolvedAgainAndAgain) {
  Start(1);
  absl::Mutex mutex;
  std::vector<std::string> found = addresses_;
  int resolved = 0;
  MembersOptions options;
  options.refresh = absl::Hours(1);
  options.refresh_while_away = absl::Milliseconds(1);
  Members members(
      Nowhere(),
      [&]() -> absl::StatusOr<std::vector<std::string>> {
        absl::MutexLock lock(&mutex);
        ++resolved;
        return found;
      },
      Dialler(), options);
  EXPECT_EQ(AskUntilAnswered(members, "a"), 1);
  Stop(1);
  // The member is noticed to be away; the name is then looked up more than once.
  EXPECT_TRUE(Eventually([&] {
    (void)Ask(members, "a");
    absl::MutexLock lock(&mutex);
    return resolved >= 5;
  }));
  Start(2);
  {
    absl::MutexLock lock(&mutex);
    found = {address_of_[2]};
  }
  EXPECT_TRUE(Eventually([&] { return Ask(members, "a").value_or(0) == 2; }));
}

TEST_F(MembersTest, AFixedChannelServesEveryAccount) {
  Start(1);
  Members members(processes_[1].server->InProcessChannel());
  EXPECT_EQ(*Ask(members, "a"), 1);
  EXPECT_EQ(members.For(AccountId("a")), members.For(AccountId("b")));
}

TEST_F(MembersTest, TheTargetAsAWholeIsUsedUntilItsNameIsResolved) {
  Start(1);
  std::vector<std::string> found;
  Members members(*Dial(addresses_[0], TlsFiles()), [&] { return found; }, Dialler(), ByHand());
  EXPECT_EQ(members.For(AccountId("a"))->address(), "");
  EXPECT_EQ(*Ask(members, "a"), 1);
  members.Refresh();
  EXPECT_EQ(members.For(AccountId("a"))->address(), "");
  found = addresses_;
  members.Refresh();
  EXPECT_EQ(members.For(AccountId("a"))->address(), addresses_[0]);
  // An answer without addresses, or none, changes nothing.
  found.clear();
  members.Refresh();
  EXPECT_EQ(members.For(AccountId("a"))->address(), addresses_[0]);
}

// Two processes of any version must agree on this placement.
TEST_F(MembersTest, ThePlaceOfAnAccountIsFixed) {
  addresses_ = {"127.0.0.1:7403", "127.0.0.2:7403", "127.0.0.3:7403"};
  Members members(Nowhere(), Resolver(), Dialler(), ByHand());
  members.Refresh();
  EXPECT_EQ(members.For(AccountId("a"))->address(), "127.0.0.1:7403");
  EXPECT_EQ(members.For(AccountId("b"))->address(), "127.0.0.2:7403");
  EXPECT_EQ(members.For(AccountId("c"))->address(), "127.0.0.1:7403");
  EXPECT_EQ(members.For(AccountId(""))->address(), "127.0.0.1:7403");
}

TEST_F(MembersTest, AccountsSpreadAndOnlyThoseOfAMemberThatGoesMove) {
  addresses_ = {"127.0.0.3:7403", "127.0.0.1:7403", "127.0.0.2:7403"};
  Members members(Nowhere(), Resolver(), Dialler(), ByHand());
  members.Refresh();
  const auto before = Placement(members);
  std::map<std::string, int> counts;
  for (const auto& [account, address] : before) ++counts[address];
  ASSERT_EQ(counts.size(), 3u);
  for (const auto& [address, count] : counts) EXPECT_GT(count, 60) << address;
  addresses_ = {"127.0.0.1:7403", "127.0.0.2:7403", "127.0.0.1:7403"};  // order and repetition do not matter
  members.Refresh();
  for (const auto& [account, address] : Placement(members)) {
    if (before.at(account) != "127.0.0.3:7403") EXPECT_EQ(address, before.at(account));
  }
  addresses_.push_back("127.0.0.3:7403");
  members.Refresh();
  EXPECT_EQ(Placement(members), before);
}

TEST_F(MembersTest, AMemberThatCannotBeReachedIsSkippedForAWhile) {
  Start(1);
  Start(2);
  Members members(Nowhere(), Resolver(), Dialler(), ByHand());
  members.Refresh();
  const int first = *Ask(members, "a");
  const int other = 3 - first;
  const std::string gone = address_of_[first];
  Stop(first);
  EXPECT_EQ(AskUntilAnswered(members, "a"), other);
  EXPECT_EQ(members.For(AccountId("a"))->address(), address_of_[other]);
  // 5 s, then 10, 20, 30, 30 s: each time one call finds out that the member is still away.
  for (const int seconds : {5, 10, 20, 30, 30}) {
    now_ += absl::Seconds(seconds) - absl::Nanoseconds(1);
    EXPECT_EQ(members.For(AccountId("a"))->address(), address_of_[other]) << seconds;
    now_ += absl::Nanoseconds(1);
    // Its channel may be between two attempts to connect; then the account's call is one.
    EXPECT_EQ(AskUntilAnswered(members, "a"), other) << seconds;
  }
  // All away: the skips are ignored.
  Stop(other);
  while (Ask(members, "a").ok()) continue;
  EXPECT_THAT(members.For(AccountId("a"))->address(), AnyOf(gone, address_of_[other]));
}

TEST_F(MembersTest, AMemberThatFailsIsLookedUpAtOnce) {
  Start(1);
  Start(2);
  absl::Mutex mutex;
  std::vector<std::string> found = addresses_;
  absl::Notification again;
  int calls = 0;
  const auto resolve = [&]() -> absl::StatusOr<std::vector<std::string>> {
    absl::MutexLock lock(&mutex);
    if (++calls == 2) again.Notify();
    return found;
  };
  MembersOptions options;
  options.refresh = absl::Hours(1);
  Members members(Nowhere(), resolve, Dialler(), options);
  ASSERT_TRUE(Eventually([&] { return !members.For(AccountId("a"))->address().empty(); }));  // the first answer
  const int first = *Ask(members, "a");
  {
    absl::MutexLock lock(&mutex);
    found = {address_of_[3 - first]};
  }
  Stop(first);
  EXPECT_EQ(AskUntilAnswered(members, "a"), 3 - first);
  EXPECT_TRUE(again.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

TEST(ResolveHostTest, NamesHaveAddressesOfOneFamily) {
  const auto found = ResolveHost("localhost", "7403");
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_FALSE(found->empty());
  for (const std::string& address : *found) EXPECT_TRUE(absl::EndsWith(address, ":7403")) << address;
  EXPECT_EQ(ResolveHost("name.invalid", "1").status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace posthouse::rpc
