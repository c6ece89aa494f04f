#include "services/common/rpc/resolve.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace posthouse::rpc {
namespace {

using ::testing::ElementsAre;

// Answers each query over UDP: A records for "two.test", an AAAA record for "six.test", and no such name for others.
class DnsServer {
 public:
  DnsServer() {
    socket_ = socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    EXPECT_EQ(pipe(stop_), 0);
    name_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
    thread_ = std::thread([this] { Run(); });
  }
  ~DnsServer() {
    close(stop_[1]);
    thread_.join();
    close(stop_[0]);
    close(socket_);
  }
  const std::string& name() const { return name_; }

 private:
  void Run() {
    while (true) {
      pollfd waits[] = {{socket_, POLLIN, 0}, {stop_[0], POLLIN, 0}};
      poll(waits, 2, -1);
      if (waits[1].revents != 0) return;
      char query[512];
      sockaddr_in client{};
      socklen_t size = sizeof client;
      const ssize_t got = recvfrom(socket_, query, sizeof query, 0, reinterpret_cast<sockaddr*>(&client), &size);
      if (got < 12) continue;
      const std::string reply = Reply(std::string(query, static_cast<size_t>(got)));
      sendto(socket_, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&client), size);
    }
  }
  // RFC 1035 §4.1: header, question, answers with a pointer to the name in the question.
  static std::string Reply(const std::string& query) {
    const bool two = absl::StrContains(query, "\x03two\x04test");
    const bool six = absl::StrContains(query, "\x03six\x04test");
    const size_t end = query.find("\x04test", 12) + 6;  // behind the name
    const bool v4 = query[end + 1] == 1;
    std::vector<std::string> records;
    if (two && v4) records = {std::string("\x0a\0\0\1", 4), std::string("\x0a\0\0\2", 4)};
    if (six && !v4) records = {std::string("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09", 16)};
    std::string out = query.substr(0, 2);
    out += '\x85';
    out += two || six ? '\x80' : '\x83';  // NXDOMAIN
    out += std::string("\0\1\0", 3);
    out += static_cast<char>(records.size());
    out += std::string(4, '\0');
    out += query.substr(12, end + 4 - 12);
    for (const std::string& record : records) {
      out +=
          "\xc0\x0c" + query.substr(end, 4) + std::string("\0\0\0\1\0", 5) + static_cast<char>(record.size()) + record;
    }
    return out;
  }

  int socket_ = -1;
  int stop_[2] = {-1, -1};
  std::string name_;
  std::thread thread_;
};

TEST(ResolveTest, ATargetWithANameMayHaveManyProcesses) {
  struct Case {
    const char* target;
    const char* server;
    const char* host;
    const char* port;
  };
  for (const Case& c : std::vector<Case>{
           {"queue:7402", "", "queue", "7402"},
           {"dns:///queue.posthouse.svc:7402", "", "queue.posthouse.svc", "7402"},
           {"dns:queue.posthouse.svc.:7402", "", "queue.posthouse.svc.", "7402"},
           {"dns://10.0.0.10/queue:7402", "10.0.0.10", "queue", "7402"},
           {"dns://10.0.0.10:5353/queue:7402", "10.0.0.10:5353", "queue", "7402"},
       }) {
    const auto name = NameOfTarget(c.target);
    ASSERT_TRUE(name.has_value()) << c.target;
    EXPECT_EQ(name->server, c.server) << c.target;
    EXPECT_EQ(name->host, c.host) << c.target;
    EXPECT_EQ(name->port, c.port) << c.target;
  }
  for (const char* target : {"10.0.0.7:7402", "[2001:db8::7]:7402", "localhost:7402", "unix:/run/posthouse.sock",
                             "queue", "dns://10.0.0.10:0/queue:7402", "dns://[::1]/queue:7402", "dns://nonsense", ""}) {
    EXPECT_FALSE(NameOfTarget(target).has_value()) << target;
  }
}

TEST(ResolveTest, NamesHaveAddressesOfOneFamily) {
  const auto found = Resolve({.server = "", .host = "localhost", .port = "7403"});
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_FALSE(found->empty());
  for (const std::string& address : *found) EXPECT_TRUE(absl::EndsWith(address, ":7403")) << address;
  EXPECT_EQ(Resolve({.server = "", .host = "name.invalid", .port = "1"}).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(ResolveTest, TheServerOfATargetIsAsked) {
  DnsServer server;
  const auto ask = [&](const std::string& host) {
    return Resolve({.server = server.name(), .host = host, .port = "7"});
  };
  const auto two = ask("two.test");
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_THAT(*two, ElementsAre("10.0.0.1:7", "10.0.0.2:7"));
  const auto six = ask("six.test");
  ASSERT_TRUE(six.ok()) << six.status();
  EXPECT_THAT(*six, ElementsAre("[2001:db8::9]:7"));
  EXPECT_EQ(ask("none.test").status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace posthouse::rpc
