// How soon a channel sees that its peer is gone or back. The bounds are generous: the exact times are printed, and are
// those of gRPC with the constants of reconnect.h.
#include "services/common/rpc/reconnect.h"

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/metrics/metrics.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/server.h"

namespace posthouse::rpc {
namespace {

std::chrono::system_clock::time_point In(absl::Duration time) { return absl::ToChronoTime(absl::Now() + time); }

std::string Local(uint16_t port) { return absl::StrCat("127.0.0.1:", port); }

// Waits until the channel is in `state`, trying to connect; false: not within `patience`.
bool Reaches(grpc::Channel& channel, grpc_connectivity_state state, absl::Duration patience) {
  const auto deadline = In(patience);
  for (auto now = channel.GetState(/*try_to_connect=*/true); now != state; now = channel.GetState(true)) {
    if (!channel.WaitForStateChange(now, deadline)) return false;
  }
  return true;
}

class ReconnectTest : public testing::Test {
 protected:
  // On `port`; 0: any free one. Returns the port.
  uint16_t Start(uint16_t port) {
    ServerOptions options;
    options.port = port;
    auto server = RpcServer::Start(options, std::vector<grpc::Service*>(), registry_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    return static_cast<uint16_t>(server_->port());
  }
  void Stop() {
    server_->Shutdown(absl::ZeroDuration());
    server_ = nullptr;
  }
  ~ReconnectTest() override {
    if (server_ != nullptr) Stop();
  }
  metrics::Registry registry_;
  std::unique_ptr<RpcServer> server_;
};

// gRPC varies a pause by a fifth; the rest of the 200 ms is for the connection itself.
TEST_F(ReconnectTest, APeerThatListensAgainIsCalledWithin200Milliseconds) {
  EXPECT_LE(kRetryPause * 1.2, absl::Milliseconds(150));
  const uint16_t port = Start(0);
  const auto channel = *Dial(Local(port), TlsFiles());
  ASSERT_TRUE(channel->WaitForConnected(In(absl::Seconds(30))));
  for (int restart = 0; restart < 5; ++restart) {
    Stop();
    ASSERT_TRUE(Reaches(*channel, GRPC_CHANNEL_TRANSIENT_FAILURE, absl::Seconds(30)));
    ASSERT_EQ(Start(port), port);
    const absl::Time ready = absl::Now();
    ASSERT_TRUE(Reaches(*channel, GRPC_CHANNEL_READY, absl::Seconds(30)));
    std::cout << "connected " << absl::Now() - ready << " after the peer listens\n";
    EXPECT_LT(absl::Now() - ready, absl::Seconds(5));
  }
}

// A port that answers no SYN, as the address of a pod that is gone: a socket whose backlog is full.
class Silent {
 public:
  Silent() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    const bool listens = bind(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(fd_, 0) == 0 &&
                         getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0;
    EXPECT_TRUE(listens);
    port_ = ntohs(address.sin_port);
    for (int i = 0; i < 8; ++i) {
      waiting_.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
      (void)connect(waiting_.back(), reinterpret_cast<sockaddr*>(&address), size);  // in progress, or for ever
    }
  }
  ~Silent() {
    for (const int fd : waiting_) close(fd);
    close(fd_);
  }
  Silent(const Silent&) = delete;
  uint16_t port() const { return port_; }

 private:
  const int fd_;
  uint16_t port_ = 0;
  std::vector<int> waiting_;
};

// By default gRPC holds an attempt for 20 s; until it ends, neither the name is resolved again nor a call fails.
TEST_F(ReconnectTest, AnAddressThatAnswersNothingHoldsAnAttemptForASecond) {
  EXPECT_LE(kConnectTimeout, absl::Seconds(1));
  std::shared_ptr<grpc::Channel> channel;
  uint16_t port = 0;
  {
    const Silent silent;
    port = silent.port();
    channel = *Dial(Local(port), TlsFiles());
    const absl::Time begin = absl::Now();
    ASSERT_TRUE(Reaches(*channel, GRPC_CHANNEL_TRANSIENT_FAILURE, absl::Seconds(30)));
    std::cout << "an attempt ended after " << absl::Now() - begin << "\n";
    EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  }
  ASSERT_EQ(Start(port), port);
  const absl::Time ready = absl::Now();
  ASSERT_TRUE(Reaches(*channel, GRPC_CHANNEL_READY, absl::Seconds(30)));
  std::cout << "connected " << absl::Now() - ready << " after the address answers\n";
  EXPECT_LT(absl::Now() - ready, absl::Seconds(10));
}

// Whatever else happens: a change stream, which has no call beside it, learns within 20 s that its peer has vanished.
// Servers of the version before this one allow a ping every 9 s.
TEST_F(ReconnectTest, APeerThatVanishedIsNoticed) {
  EXPECT_LT(kPingInterval + kPingTimeout, absl::Seconds(20));
  EXPECT_GE(kPingInterval, absl::Seconds(9));
  EXPECT_LT(kLeastPingInterval, kPingInterval);
}

}  // namespace
}  // namespace posthouse::rpc
