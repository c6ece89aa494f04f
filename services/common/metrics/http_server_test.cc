#include "services/common/metrics/http_server.h"

#include <string>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop.h"

namespace posthouse::metrics {
namespace {

class HttpServerTest : public testing::Test {
 public:
  HttpServerTest() {
    registry_.AddCounter("posthouse_test_things_total", "Things.").Add(3);
    HttpOptions options;
    options.service = "test<>";
    options.live = [] { return absl::OkStatus(); };
    options.ready = [this] { return ready_; };
    options.redacted_config = [] { return "hostname: x\n"; };
    options.status = [] { return std::vector<std::pair<std::string, std::string>>{{"queued", "<7>"}}; };
    server_ = *HttpServer::Start(loops_, options, registry_);
  }

  std::string Say(const std::string& request) { return SyncWait(DoSay(this, request)); }
  static Task<std::string> DoSay(HttpServerTest* t, std::string request) {
    co_await SwitchTo(t->loops_.at(0));
    auto c = *co_await net::Connect(t->loops_.at(0), {"127.0.0.1", t->server_->port()}, "", absl::Seconds(10));
    EXPECT_TRUE((co_await c->Write(request, absl::Seconds(10))).ok());
    std::string all;
    while (true) {
      absl::StatusOr<std::string> bytes = co_await c->ReadSome(65536, absl::Seconds(10));
      if (!bytes.ok()) co_return all;
      all += *bytes;
    }
  }
  std::string Get(const std::string& path) { return Say(absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\n\r\n")); }

  net::EventLoops loops_{1};
  Registry registry_;
  absl::Status ready_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, ServesItsPages) {
  EXPECT_TRUE(absl::StrContains(Get("/metrics"), "posthouse_test_things_total 3"));
  EXPECT_TRUE(absl::StartsWith(Get("/livez"), "HTTP/1.1 200 OK\r\n"));
  EXPECT_TRUE(absl::StartsWith(Get("/readyz?verbose"), "HTTP/1.1 200 OK\r\n"));
  EXPECT_TRUE(absl::EndsWith(Get("/config"), "\r\n\r\nhostname: x\n"));
  const std::string page = Get("/");
  EXPECT_TRUE(absl::StrContains(page, "&lt;7&gt;"));
  EXPECT_FALSE(absl::StrContains(page, "<7>"));
  EXPECT_TRUE(absl::StartsWith(Get("/etc/passwd"), "HTTP/1.1 404"));
}

TEST_F(HttpServerTest, NotReadyIs503WithTheReason) {
  ready_ = absl::UnavailableError("the store is full");
  const std::string reply = Get("/readyz");
  EXPECT_TRUE(absl::StartsWith(reply, "HTTP/1.1 503"));
  EXPECT_TRUE(absl::StrContains(reply, "the store is full"));
  EXPECT_TRUE(absl::StartsWith(Get("/livez"), "HTTP/1.1 200"));
}

TEST_F(HttpServerTest, HeadHasNoBodyAndOtherMethodsAreRefused) {
  EXPECT_TRUE(absl::EndsWith(Say("HEAD /config HTTP/1.0\r\n\r\n"), "\r\n\r\n"));
  EXPECT_TRUE(absl::StartsWith(Say("POST / HTTP/1.1\r\n\r\n"), "HTTP/1.1 405"));
  EXPECT_TRUE(absl::StartsWith(Say("nonsense\r\n\r\n"), "HTTP/1.1 400"));
}

TEST_F(HttpServerTest, EndlessHeadersAreCutOff) {
  std::string request = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&request, "X-", i, ": y\r\n");
  EXPECT_EQ(Say(request), "");
  EXPECT_TRUE(absl::StartsWith(Get("/livez"), "HTTP/1.1 200"));
}

}  // namespace
}  // namespace posthouse::metrics
