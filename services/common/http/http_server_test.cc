// The HTTP server with the pages of a process.
#include "services/common/http/http_server.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/async/task.h"
#include "services/common/http/status_page.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop.h"

namespace posthouse::http {
namespace {

class HttpServerTest : public testing::Test {
 public:
  HttpServerTest() {
    registry_.AddCounter("posthouse_test_things_total", "Things.").Add(3);
    PageSources sources;
    sources.service = "test<>";
    sources.live = [] { return absl::OkStatus(); };
    sources.ready = [this] { return ready_; };
    sources.redacted_config = [this] { return large_ ? std::string(kLarge, 'x') : "hostname: x\n"; };
    sources.status = [] { return std::vector<std::pair<std::string, std::string>>{{"queued", "<7>"}}; };
    ServerOptions options;
    options.request_timeout = absl::Milliseconds(500);
    options.response_timeout = absl::Milliseconds(200);
    server_ = *HttpServer::Start(loops_, options, Pages(sources, registry_));
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
  metrics::Registry registry_;
  static constexpr size_t kLarge = 64 << 20;  // more than sockets buffer
  absl::Status ready_;
  bool large_ = false;
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
  EXPECT_TRUE(absl::StrContains(page, "<h1>Posthouse test&lt;&gt;</h1>\n<p class=\"ok\">ready</p>")) << page;
  EXPECT_TRUE(absl::StartsWith(Get("/etc/passwd"), "HTTP/1.1 404"));
}

TEST_F(HttpServerTest, MetricsAreOpenMetricsForWhoAsksForIt) {
  const auto get = [this](const std::string& accept) {
    return Say(absl::StrCat("GET /metrics HTTP/1.1\r\nHost: x\r\n", accept, "\r\n"));
  };
  const std::string open = "application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
  for (const char* accept : {
           "Accept: application/openmetrics-text; version=1.0.0\r\n",
           // Prometheus 2.42
           "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
           "text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n",
           "accept: text/plain;q=0.2\r\nACCEPT: application/openmetrics-text;version=1.0.0;q=0.3\r\n",
       }) {
    const std::string reply = get(accept);
    EXPECT_TRUE(absl::StrContains(reply, "Content-Type: " + open)) << accept << reply;
    EXPECT_TRUE(absl::EndsWith(reply, "posthouse_test_things_total 3\n# EOF\n")) << reply;
  }
  for (const char* accept : {
           "",
           "Accept: */*\r\n",
           "Accept: text/plain\r\n",
           "Accept: application/openmetrics-text;version=0.0.1\r\n",
           "Accept: application/openmetrics-text;version=1.0.0;q=0\r\n",
           "Accept: application/openmetrics-text;version=1.0.0;q=0.1,text/plain\r\n",
           "Accept: application/openmetrics-text;version=1.0.0;q=none\r\n",
       }) {
    const std::string reply = get(accept);
    EXPECT_TRUE(absl::StrContains(reply, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"))
        << accept << reply;
    EXPECT_FALSE(absl::StrContains(reply, "# EOF")) << accept;
  }
}

TEST_F(HttpServerTest, NotReadyIs503WithTheReason) {
  ready_ = absl::UnavailableError("the store is full");
  const std::string reply = Get("/readyz");
  EXPECT_TRUE(absl::StartsWith(reply, "HTTP/1.1 503"));
  EXPECT_TRUE(absl::StrContains(reply, "the store is full"));
  EXPECT_TRUE(absl::StrContains(Get("/"), "<p class=\"bad\">not ready: the store is full</p>"));
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
  // It may be reset with its answer, since it sends more than is read.
  const std::string reply = Say(request);
  EXPECT_TRUE(reply.empty() || absl::StartsWith(reply, "HTTP/1.1 431")) << reply;
  EXPECT_TRUE(absl::StartsWith(Say("GET /" + std::string(9000, 'x') + " HTTP/1.1\r\n"), "HTTP/1.1 431"));
  EXPECT_TRUE(absl::StartsWith(Get("/livez"), "HTTP/1.1 200"));
}

// One field every now and then must not hold a connection: there are 64 for everybody.
TEST_F(HttpServerTest, SlowRequestsAreCutOff) {
  const std::string reply = SyncWait([](HttpServerTest* t) -> Task<std::string> {
    co_await SwitchTo(t->loops_.at(0));
    auto c = *co_await net::Connect(t->loops_.at(0), {"127.0.0.1", t->server_->port()}, "", absl::Seconds(10));
    std::string line = "GET / HTTP/1.1\r\n";
    for (int i = 0; i < 200; ++i) {
      if (!(co_await c->Write(line, absl::Seconds(10))).ok()) co_return "closed";
      line = "X: y\r\n";
      absl::StatusOr<std::string> said = co_await c->ReadSome(100, absl::Milliseconds(50));
      if (said.ok() || !absl::IsDeadlineExceeded(said.status())) co_return said.value_or("closed");
    }
    co_return "still open";
  }(this));
  // A field that crosses the answer may cost it.
  EXPECT_TRUE(absl::StartsWith(reply, "HTTP/1.1 408") || reply == "closed") << reply;
}

TEST_F(HttpServerTest, ClientsThatSayNothingDoNotKeepProbesOut) {
  SyncWait([](HttpServerTest* t) -> Task<void> {
    co_await SwitchTo(t->loops_.at(0));
    std::vector<std::unique_ptr<net::Connection>> silent;
    for (int i = 0; i < 64; ++i) {
      silent.push_back(
          *co_await net::Connect(t->loops_.at(0), {"127.0.0.1", t->server_->port()}, "", absl::Seconds(10)));
    }
    const std::string reply = co_await DoSay(t, "GET /livez HTTP/1.1\r\n\r\n");
    EXPECT_TRUE(absl::StartsWith(reply, "HTTP/1.1 200")) << reply;
    // The oldest was cut for it, without the answer that a request which took too long gets.
    EXPECT_TRUE(absl::IsUnavailable((co_await silent[0]->ReadSome(100, absl::Seconds(10))).status()));
    EXPECT_TRUE((co_await silent[63]->ReadSome(100, absl::Seconds(10))).ok());
  }(this));
}

TEST_F(HttpServerTest, ClientsThatTakeNothingAreCutOff) {
  large_ = true;
  SyncWait([](HttpServerTest* t) -> Task<void> {
    co_await SwitchTo(t->loops_.at(0));
    auto c = *co_await net::Connect(t->loops_.at(0), {"127.0.0.1", t->server_->port()}, "", absl::Seconds(10));
    EXPECT_TRUE((co_await c->Write("GET /config HTTP/1.1\r\n\r\n", absl::Seconds(10))).ok());
    co_await Sleep(absl::Seconds(3));  // much more than the response's time
    size_t got = 0;
    while (true) {
      absl::StatusOr<std::string> bytes = co_await c->ReadSome(65536, absl::Seconds(10));
      if (!bytes.ok()) break;
      got += bytes->size();
    }
    EXPECT_LT(got, kLarge);
  }(this));
}

}  // namespace
}  // namespace posthouse::http
