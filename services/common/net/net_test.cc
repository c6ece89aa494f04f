#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "services/common/async/sync.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/drain.h"
#include "services/common/net/event_loop.h"
#include "services/common/testing/wait.h"

namespace posthouse::net {
namespace {

constexpr absl::Duration kLong = absl::Seconds(30);

// A server whose sessions run `serve`, and a client connection to it.
class NetTest : public testing::Test {
 public:
  void TearDown() override {
    client_.reset();
    if (listener_ != nullptr) SyncWait(OnLoop([](NetTest* t) -> Task<void> { co_await t->listener_->Drain(kLong); }));
    loops_.Stop();
  }

  void Serve(Listener::Serve serve, ListenerOptions options = {}) {
    auto listener = Listener::Start(loops_, std::move(options), std::move(serve));
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }

  // Runs a client's part on the first loop.
  Task<void> OnLoop(Task<void> (*part)(NetTest*)) {
    co_await SwitchTo(loops_.at(0));
    co_await part(this);
  }
  void Client(Task<void> (*part)(NetTest*)) { SyncWait(OnLoop(part)); }

  Task<std::unique_ptr<Connection>> Dial() {
    auto connection = co_await Connect(loops_.at(0), {"127.0.0.1", listener_->port()}, "", kLong);
    EXPECT_TRUE(connection.ok()) << connection.status();
    co_return *std::move(connection);
  }

  EventLoops loops_{2};
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Connection> client_;
};

Task<void> EchoLines(std::unique_ptr<Connection> connection) {
  while (true) {
    absl::StatusOr<std::string> line = co_await connection->ReadLine(100, kLong);
    std::string reply = line.ok() ? *line : std::string(absl::StatusCodeToString(line.status().code()));
    if (!line.ok() && !absl::IsResourceExhausted(line.status())) co_return;
    if (!(co_await connection->Write(reply + "\r\n", kLong)).ok()) co_return;
  }
}

TEST_F(NetTest, LinesEndOnlyAtCrlfAndLongOnesAreDropped) {
  Serve(EchoLines);
  Client([](NetTest* t) -> Task<void> {
    auto c = co_await t->Dial();
    const std::pair<std::string, std::string> cases[] = {
        {"hello\r\n", "hello"},
        {"\r\n", ""},
        {"bare\nlf\r\n", "bare\nlf"},
        {"cr\rcr\r\n", "cr\rcr"},
        {std::string(100, 'x') + "\r\n", std::string(100, 'x')},
        {std::string(101, 'x') + "\r\n", "RESOURCE_EXHAUSTED"},
        {std::string(10 << 20, 'x') + "\r\n", "RESOURCE_EXHAUSTED"},
        {"usable again\r\n", "usable again"},
    };
    for (const auto& [sent, expected] : cases) {
      EXPECT_TRUE((co_await c->Write(sent, kLong)).ok());
      absl::StatusOr<std::string> reply = co_await c->ReadLine(1000, kLong);
      EXPECT_EQ(reply.value_or("?"), expected) << sent.substr(0, 50);
    }
  });
}

TEST_F(NetTest, ALineMayArriveByteByByte) {
  Serve(EchoLines);
  Client([](NetTest* t) -> Task<void> {
    auto c = co_await t->Dial();
    for (const char byte : std::string("slow\r\n")) {
      EXPECT_TRUE((co_await c->Write(std::string(1, byte), kLong)).ok());
      co_await Sleep(absl::Milliseconds(1));
    }
    absl::StatusOr<std::string> reply = co_await c->ReadLine(1000, kLong);
    EXPECT_EQ(reply.value_or("?"), "slow");
  });
}

Task<void> EchoBlocks(std::unique_ptr<Connection> connection) {
  while (true) {
    absl::StatusOr<std::string> bytes = co_await connection->ReadSome(5000, kLong);
    if (!bytes.ok() || !(co_await connection->Write(*std::move(bytes), kLong)).ok()) co_return;
  }
}

Task<absl::Status> WriteAll(Connection* c, std::string bytes) { co_return co_await c->Write(std::move(bytes), kLong); }

TEST_F(NetTest, ReadingAndWritingGoOnTogetherUnderBackPressure) {
  Serve(EchoBlocks);
  Client([](NetTest* t) -> Task<void> {
    auto c = co_await t->Dial();
    std::string sent;
    for (int i = 0; sent.size() < (8u << 20); ++i) absl::StrAppend(&sent, i, ",");
    absl::Status written = absl::UnknownError("running");
    Wakeup done;
    SpawnHere([](Connection* conn, std::string bytes, absl::Status* status, Wakeup* wake) -> Task<void> {
      *status = co_await WriteAll(conn, std::move(bytes));
      wake->Signal();
    }(c.get(), sent, &written, &done));
    std::string received;
    while (received.size() < sent.size()) {
      absl::StatusOr<std::string> bytes = co_await c->ReadSome(1 << 20, kLong);
      EXPECT_TRUE(bytes.ok()) << bytes.status();
      if (!bytes.ok()) break;
      received += *bytes;
    }
    co_await done.WaitFor(kLong);
    EXPECT_TRUE(written.ok()) << written;
    EXPECT_TRUE(received == sent);
  });
}

TEST_F(NetTest, UnreadBytesComeFirst) {
  Serve(EchoBlocks);
  Client([](NetTest* t) -> Task<void> {
    auto c = co_await t->Dial();
    EXPECT_TRUE((co_await c->Write("123456", kLong)).ok());
    absl::StatusOr<std::string> bytes = co_await c->ReadExactly(4, kLong);
    EXPECT_EQ(bytes.value_or("?"), "1234");
    c->Unread("ab");
    EXPECT_GE(c->Buffered(), 2u);
    bytes = co_await c->ReadExactly(4, kLong);
    EXPECT_EQ(bytes.value_or("?"), "ab56");
  });
}

TEST_F(NetTest, AReadTimesOutAndTheConnectionStaysUsable) {
  Serve(EchoLines);
  Client([](NetTest* t) -> Task<void> {
    auto c = co_await t->Dial();
    absl::StatusOr<std::string> reply = co_await c->ReadLine(100, absl::Milliseconds(20));
    EXPECT_EQ(reply.status().code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_TRUE((co_await c->Write("x\r\n", kLong)).ok());
    reply = co_await c->ReadLine(100, kLong);
    EXPECT_EQ(reply.value_or("?"), "x");
  });
}

TEST_F(NetTest, InterruptEndsTheReadInProgressOrTheNext) {
  Serve(EchoLines);
  Client([](NetTest* t) -> Task<void> {
    auto c = co_await t->Dial();
    t->loops_.at(1).PostAfter(absl::Milliseconds(10), [raw = c.get()] { raw->InterruptRead(); });
    absl::Status status = co_await c->WaitReadable(kLong);
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
    c->InterruptRead();
    co_await Sleep(absl::Milliseconds(1));
    absl::StatusOr<std::string> next = co_await c->ReadLine(100, kLong);
    EXPECT_EQ(next.status().code(), absl::StatusCode::kCancelled);
    EXPECT_TRUE((co_await c->Write("still here\r\n", kLong)).ok());
    next = co_await c->ReadLine(100, kLong);
    EXPECT_EQ(next.value_or("?"), "still here");
  });
}

TEST_F(NetTest, CloseEndsAWaitFromAnyThread) {
  Serve(EchoLines);
  Client([](NetTest* t) -> Task<void> {
    auto c = co_await t->Dial();
    t->loops_.at(1).PostAfter(absl::Milliseconds(10), [raw = c.get()] { raw->Close(); });
    absl::StatusOr<std::string> reply = co_await c->ReadLine(100, kLong);
    EXPECT_EQ(reply.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ((co_await c->Write("x", kLong)).code(), absl::StatusCode::kUnavailable);
  });
}

TEST_F(NetTest, ConnectionsOverTheLimitAreToldWhy) {
  ListenerOptions options;
  options.max_connections = 1;
  options.overload_line = "421 too many\r\n";
  Serve(EchoLines, std::move(options));
  Client([](NetTest* t) -> Task<void> {
    auto first = co_await t->Dial();
    EXPECT_TRUE((co_await first->Write("in\r\n", kLong)).ok());
    EXPECT_EQ((co_await first->ReadLine(100, kLong)).value_or("?"), "in");
    auto second = co_await t->Dial();
    EXPECT_EQ((co_await second->ReadLine(100, kLong)).value_or("?"), "421 too many");
    EXPECT_EQ(t->listener_->stats().refused_total, 1u);
  });
}

TEST_F(NetTest, ListenersShareTheBudgetOfTheProcess) {
  loops_.connections()->SetMost(1);
  ListenerOptions options;
  options.overload_line = "421 too many\r\n";
  Serve(EchoLines, options);
  options.shares_budget = false;
  auto probes = Listener::Start(loops_, options, EchoLines);
  ASSERT_TRUE(probes.ok()) << probes.status();
  SyncWait([](NetTest* t, Listener* other) -> Task<void> {
    co_await SwitchTo(t->loops_.at(0));
    auto first = co_await t->Dial();
    EXPECT_TRUE((co_await first->Write("in\r\n", kLong)).ok());
    EXPECT_EQ((co_await first->ReadLine(100, kLong)).value_or("?"), "in");
    auto second = co_await t->Dial();
    EXPECT_EQ((co_await second->ReadLine(100, kLong)).value_or("?"), "421 too many");
    auto probe = *co_await Connect(t->loops_.at(0), {"127.0.0.1", other->port()}, "", kLong);
    EXPECT_TRUE((co_await probe->Write("in\r\n", kLong)).ok());
    EXPECT_EQ((co_await probe->ReadLine(100, kLong)).value_or("?"), "in");
    probe = nullptr;
    co_await other->Drain(kLong);
  }(this, probes->get()));
  EXPECT_TRUE(Eventually([this] { return loops_.connections()->taken() == 0; }));
}

TEST_F(NetTest, AnAddressThatTheMachineLacksIsRefusedInWords) {
  ListenerOptions options;
  options.address = "192.0.2.1";
  options.port = 2525;
  const absl::Status status = Listener::Start(loops_, options, EchoLines).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "no interface of this machine has the address")) << status;
  EXPECT_FALSE(absl::StrContains(status.message(), "another server")) << status;
}

Task<void> SayPeer(std::unique_ptr<Connection> connection) {
  (co_await connection->Write(connection->peer().ToString() + "\r\n", kLong)).IgnoreError();
  (void)co_await connection->ReadLine(100, kLong);
}

TEST_F(NetTest, TrustedNetworksTellTheRealClientAndItsLimitCounts) {
  ListenerOptions options;
  options.proxy_from.push_back(*Cidr::Parse("127.0.0.0/8"));
  options.max_connections_per_address = 1;
  options.overload_line = "421 too many\r\n";
  Serve(SayPeer, std::move(options));
  Client([](NetTest* t) -> Task<void> {
    const std::string header = "PROXY TCP4 192.0.2.7 198.51.100.1 1234 25\r\n";
    auto first = co_await t->Dial();
    EXPECT_TRUE((co_await first->Write(header, kLong)).ok());
    EXPECT_EQ((co_await first->ReadLine(100, kLong)).value_or("?"), "192.0.2.7:1234");
    auto second = co_await t->Dial();
    EXPECT_TRUE((co_await second->Write(header, kLong)).ok());
    EXPECT_EQ((co_await second->ReadLine(100, kLong)).value_or("?"), "421 too many");
    auto liar = co_await t->Dial();
    EXPECT_TRUE((co_await liar->Write("EHLO no.proxy.header\r\n", kLong)).ok());
    EXPECT_EQ((co_await liar->ReadLine(100, kLong)).status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(t->listener_->stats().bad_proxy, 1u);
  });
}

TEST_F(NetTest, APortForTheProxyProtocolLeavesTheOtherOneToClients) {
  ListenerOptions options;
  options.proxy_from.push_back(*Cidr::Parse("127.0.0.2"));
  options.proxy_port = 0;
  Serve(SayPeer, std::move(options));
  Client([](NetTest* t) -> Task<void> {
    const std::string header = "PROXY TCP4 192.0.2.7 198.51.100.1 1234 25\r\n";
    const Endpoint plain{"127.0.0.1", t->listener_->port()}, proxied{"127.0.0.1", t->listener_->proxy_port()};
    EXPECT_NE(plain.port, proxied.port);
    auto balanced = *co_await Connect(t->loops_.at(0), proxied, "127.0.0.2", kLong);
    EXPECT_TRUE((co_await balanced->Write(header, kLong)).ok());
    EXPECT_EQ((co_await balanced->ReadLine(100, kLong)).value_or("?"), "192.0.2.7:1234");
    // The balancer's own connection, without a header: as any client.
    auto direct = *co_await Connect(t->loops_.at(0), plain, "127.0.0.2", kLong);
    EXPECT_TRUE(absl::StartsWith((co_await direct->ReadLine(100, kLong)).value_or("?"), "127.0.0.2:"));
    auto stranger = *co_await Connect(t->loops_.at(0), proxied, "127.0.0.3", kLong);
    EXPECT_TRUE((co_await stranger->Write(header, kLong)).ok());
    EXPECT_FALSE((co_await stranger->ReadLine(100, kLong)).ok());
    auto liar = *co_await Connect(t->loops_.at(0), proxied, "127.0.0.2", kLong);
    EXPECT_TRUE((co_await liar->Write("EHLO no.proxy.header\r\n", kLong)).ok());
    EXPECT_FALSE((co_await liar->ReadLine(100, kLong)).ok());
    EXPECT_EQ(t->listener_->stats().bad_proxy, 2u);
    EXPECT_EQ(t->listener_->stats().accepted, 4u);
  });
}

TEST_F(NetTest, ABalancerThatOnlyLooksIsNoBadHeader) {
  ListenerOptions options;
  options.proxy_from.push_back(*Cidr::Parse("127.0.0.0/8"));
  Serve(SayPeer, std::move(options));
  Client([](NetTest* t) -> Task<void> {
    {
      auto probe = co_await t->Dial();
    }
    const absl::Time end = absl::Now() + kTestPatience;
    const auto gone = [t] { return t->listener_->stats().accepted >= 1 && t->listener_->open() == 0; };
    while (!gone() && absl::Now() < end) co_await Sleep(absl::Milliseconds(1));
    EXPECT_TRUE(gone());
    EXPECT_EQ(t->listener_->stats().bad_proxy, 0u);
    // In pieces, and with the client's first bytes behind it.
    auto slow = co_await t->Dial();
    for (const std::string piece : {"PRO", "XY TCP4 192.0.2.7 198.51.", "100.1 1234 25\r", "\nhello\r\n"}) {
      EXPECT_TRUE((co_await slow->Write(piece, kLong)).ok());
      co_await Sleep(absl::Milliseconds(5));
    }
    EXPECT_EQ((co_await slow->ReadLine(100, kLong)).value_or("?"), "192.0.2.7:1234");
  });
}

TEST_F(NetTest, AnIpv6ClientCountsWithItsNetwork) {
  ListenerOptions options;
  options.proxy_from.push_back(*Cidr::Parse("127.0.0.0/8"));
  options.max_connections_per_address = 1;
  options.overload_line = "421 too many\r\n";
  Serve(SayPeer, std::move(options));
  Client([](NetTest* t) -> Task<void> {
    const auto say = [t](const std::string& address) -> Task<std::unique_ptr<Connection>> {
      auto c = co_await t->Dial();
      EXPECT_TRUE((co_await c->Write("PROXY TCP6 " + address + " 2001:db8::25 1 25\r\n", kLong)).ok());
      co_return c;
    };
    auto first = co_await say("2001:db8:0:1::1");
    EXPECT_EQ((co_await first->ReadLine(100, kLong)).value_or("?"), "[2001:db8:0:1::1]:1");
    auto same = co_await say("2001:db8:0:1:ffff::9");
    EXPECT_EQ((co_await same->ReadLine(100, kLong)).value_or("?"), "421 too many");
    auto other = co_await say("2001:db8:0:2::1");
    EXPECT_EQ((co_await other->ReadLine(100, kLong)).value_or("?"), "[2001:db8:0:2::1]:1");
  });
}

TEST_F(NetTest, ABareLfIsNoBufferedLine) {
  Serve([](std::unique_ptr<Connection> c) -> Task<void> {
    absl::StatusOr<std::string> line = co_await c->ReadLine(100, kLong);
    const std::string reply = c->LineBuffered() ? "strict\r\n" : c->LineBuffered(true) ? "lenient\r\n" : "none\r\n";
    (co_await c->Write(reply, kLong)).IgnoreError();
    (void)co_await c->ReadLine(100, kLong);
  });
  Client([](NetTest* t) -> Task<void> {
    auto c = co_await t->Dial();
    EXPECT_TRUE((co_await c->Write("RSET\r\nNOOP\n", kLong)).ok());
    EXPECT_EQ((co_await c->ReadLine(100, kLong)).value_or("?"), "lenient");
  });
}

// Input that never ends must not take the loop from the others.
TEST_F(NetTest, AClientThatSendsWithoutEndLeavesTheOthersTheirTurn) {
  EventLoops one(1);
  auto listener = Listener::Start(one, {}, [](std::unique_ptr<Connection> c) -> Task<void> {
    if (!(co_await c->Write("hello\r\n", kLong)).ok()) co_return;
    while ((co_await c->ReadLine(100, kLong)).ok()) {
    }
  });
  ASSERT_TRUE(listener.ok());
  const uint16_t port = (*listener)->port();
  std::atomic<bool> stop{false};
  absl::Notification flooding;
  std::thread flood([&] {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    std::string lines;
    while (lines.size() < (1u << 20)) lines += "x\r\n";
    for (int i = 0; !stop; ++i) {
      if (send(fd, lines.data(), lines.size(), MSG_NOSIGNAL) < 0) break;
      if (i == 8) flooding.Notify();
    }
    close(fd);
  });
  WaitFor(flooding);
  const absl::StatusOr<std::string> greeting =
      SyncWait([](NetTest* t, uint16_t to) -> Task<absl::StatusOr<std::string>> {
        co_await SwitchTo(t->loops_.at(0));
        auto c = co_await Connect(t->loops_.at(0), {"127.0.0.1", to}, "", kLong);
        if (!c.ok()) co_return c.status();
        co_return co_await (*c)->ReadLine(100, absl::Seconds(10));
      }(this, port));
  stop = true;
  flood.join();
  EXPECT_EQ(greeting.value_or("starved"), "hello");
  SyncWait((*listener)->Drain(kLong));
}

TEST_F(NetTest, DrainLetsSessionsSayGoodbye) {
  Serve([](std::unique_ptr<Connection> connection) -> Task<void> {
    (co_await connection->Write("hello\r\n", kLong)).IgnoreError();
    absl::StatusOr<std::string> line = co_await connection->ReadLine(100, kLong);
    if (absl::IsCancelled(line.status())) (co_await connection->Write("goodbye\r\n", kLong)).IgnoreError();
  });
  Client([](NetTest* t) -> Task<void> {
    auto c = co_await t->Dial();
    EXPECT_EQ((co_await c->ReadLine(100, kLong)).value_or("?"), "hello");
    co_await t->listener_->Drain(kLong);
    EXPECT_EQ(t->listener_->open(), 0u);
    EXPECT_EQ((co_await c->ReadLine(100, kLong)).value_or("?"), "goodbye");
    auto refused = co_await Connect(t->loops_.at(0), {"127.0.0.1", t->listener_->port()}, "", kLong);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  });
}

// Only its turn interrupts a session; a drain ends when all sessions have ended, whenever their turns are.
TEST_F(NetTest, UntilItsTurnInADrainASessionGoesOn) {
  Serve(EchoLines);
  constexpr absl::Duration kNever = absl::Hours(10000);
  std::unique_ptr<Connection> open;
  SyncWait([](NetTest* t, std::unique_ptr<Connection>* c) -> Task<void> {
    co_await SwitchTo(t->loops_.at(0));
    *c = co_await t->Dial();
    EXPECT_TRUE((co_await (*c)->Write("before\r\n", kLong)).ok());
    EXPECT_EQ((co_await (*c)->ReadLine(100, kLong)).value_or("?"), "before");
  }(this, &open));
  std::thread drain([&] { SyncWait(listener_->Drain(2 * kNever, kNever)); });
  EXPECT_TRUE(Eventually([&] {
    return !SyncWait([](NetTest* t) -> Task<bool> {
      co_await SwitchTo(t->loops_.at(0));
      co_return (co_await Connect(t->loops_.at(0), {"127.0.0.1", t->listener_->port()}, "", kLong)).ok();
    }(this));
  }));
  SyncWait([](NetTest* t, std::unique_ptr<Connection> c) -> Task<void> {
    co_await SwitchTo(t->loops_.at(0));
    EXPECT_TRUE((co_await c->Write("during\r\n", kLong)).ok());
    EXPECT_EQ((co_await c->ReadLine(100, kLong)).value_or("?"), "during");
    EXPECT_FALSE(c->draining());
  }(this, std::move(open)));
  drain.join();
  EXPECT_EQ(listener_->stats().cut, 0u);
}

std::atomic<bool> staying{false};

TEST_F(NetTest, ADrainGivesEachSessionItsTurnAndCountsWhatItCuts) {
  staying = false;
  Serve([](std::unique_ptr<Connection> connection) -> Task<void> {
    absl::StatusOr<std::string> line = co_await connection->ReadLine(100, kLong);
    EXPECT_TRUE(absl::IsCancelled(line.status())) << line.status();
    EXPECT_TRUE(connection->draining());
    if (!(co_await connection->Write("bye\r\n", kLong)).ok()) co_return;
    if (staying.exchange(true)) co_return;
    // One stays for longer than the drain waits.
    while (!absl::IsUnavailable((co_await connection->ReadLine(100, kLong)).status())) {
    }
  });
  SyncWait(OnLoop([](NetTest* t) -> Task<void> {
    std::vector<std::unique_ptr<Connection>> clients;
    for (int i = 0; i < 20; ++i) clients.push_back(co_await t->Dial());
    while (t->listener_->open() < clients.size()) co_await Sleep(absl::Milliseconds(1));
    co_await t->listener_->Drain(absl::Milliseconds(400), absl::Milliseconds(40));
    for (const auto& client : clients) EXPECT_EQ((co_await client->ReadLine(100, kLong)).value_or("?"), "bye");
  }));
  EXPECT_EQ(listener_->stats().cut, 1u);
}

// A hundred sessions a second, unless the time is too short for that.
TEST(DrainSpreadTest, FewSessionsNeedLittleTime) {
  const absl::Duration grace = absl::Seconds(60);
  EXPECT_EQ(DrainSpread(0, grace, absl::Seconds(30)), absl::ZeroDuration());
  EXPECT_EQ(DrainSpread(1, grace, absl::Seconds(30)), absl::Milliseconds(10));
  EXPECT_EQ(DrainSpread(500, grace, absl::Seconds(30)), absl::Seconds(5));
  EXPECT_EQ(DrainSpread(100000, grace, absl::Seconds(20)), absl::Seconds(20));
  // Half of the time is left for what the last sessions do.
  EXPECT_EQ(DrainSpread(100000, grace, absl::Minutes(10)), absl::Seconds(30));
  EXPECT_EQ(DrainSpread(100000, absl::ZeroDuration(), absl::Seconds(30)), absl::ZeroDuration());
}

TEST_F(NetTest, APortInUseIsRefusedInWords) {
  Serve(EchoLines);
  ListenerOptions options;
  options.port = listener_->port();
  const auto second = Listener::Start(loops_, options, EchoLines);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(second.status().message().find("is another server using the port?"), absl::string_view::npos);
}

TEST(EventLoopTest, TimersRunInOrderAndCancelledOnesNever) {
  EventLoop loop;
  std::vector<int> order;
  absl::Notification done;
  loop.Post([&] {
    loop.PostAfter(absl::Milliseconds(20), [&] {
      order.push_back(2);
      done.Notify();
    });
    loop.PostAfter(absl::Milliseconds(1), [&] { order.push_back(1); });
    const uint64_t never = loop.PostAfter(absl::Milliseconds(2), [&] { order.push_back(99); });
    EXPECT_TRUE(loop.CancelTimer(never));
    EXPECT_FALSE(loop.CancelTimer(never));
  });
  WaitFor(done);
  loop.Stop();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(EventLoopTest, AStuckLoopIsNoticed) {
  EventLoops loops(1);
  EXPECT_TRUE(loops.Alive(absl::Seconds(10)));
  absl::Notification stuck, release;
  loops.at(0).Post([&] {
    stuck.Notify();
    WaitFor(release);
  });
  WaitFor(stuck);
  EXPECT_TRUE(Eventually([&] { return !loops.Alive(absl::Milliseconds(5)); }));
  release.Notify();
  EXPECT_TRUE(Eventually([&] { return loops.Alive(absl::Milliseconds(5)); }));
}

}  // namespace
}  // namespace posthouse::net
