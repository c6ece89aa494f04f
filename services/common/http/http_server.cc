#include "services/common/http/http_server.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop.h"
#include "services/common/status/status.h"

namespace posthouse::metrics {
namespace {

constexpr size_t kMaxLine = 8192;
constexpr int kMaxFields = 100;

struct Response {
  int code = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

const char* Reason(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Bad Request";
  }
}

std::string Escape(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

Response FromStatus(const absl::Status& status) {
  Response response;
  response.code = status.ok() ? 200 : 503;
  response.body = status.ok() ? "ok\n" : absl::StrCat(status.message(), "\n");
  return response;
}

class Pages {
 public:
  Pages(HttpOptions options, Registry& registry) : options_(std::move(options)), registry_(registry) {}

  Response Get(absl::string_view path) const {
    if (path == "/metrics") return {200, "text/plain; version=0.0.4; charset=utf-8", registry_.Serialize()};
    if (path == "/livez") return FromStatus(options_.live());
    if (path == "/readyz") return FromStatus(options_.ready());
    if (path == "/config") return {200, "text/plain; charset=utf-8", options_.redacted_config()};
    if (path == "/") return {200, "text/html; charset=utf-8", StatusPage()};
    return {404, "text/plain; charset=utf-8", "there is /metrics, /livez, /readyz, /config and /\n"};
  }

  const HttpOptions& options() const { return options_; }

 private:
  std::string StatusPage() const {
    const absl::Status ready = options_.ready();
    std::string page = absl::StrCat(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Posthouse ", Escape(options_.service),
        "</title><meta name=\"viewport\" content=\"width=device-width\"><style>"
        "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#1c2733}"
        "table{border-collapse:collapse;width:100%}td{padding:.35rem .5rem;border-bottom:1px solid "
        "#dde3ea;vertical-align:top}"
        "td:first-child{color:#5a6b7d;width:40%}.ok{color:#12703a}.bad{color:#b3261e}</style></"
        "head><body><h1>Posthouse ",
        Escape(options_.service), "</h1><p class=\"",
        ready.ok() ? "ok\">ready" : "bad\">not ready: ", ready.ok() ? "" : Escape(ready.message()), "</p><table>");
    for (const auto& [name, value] : options_.status()) {
      absl::StrAppend(&page, "<tr><td>", Escape(name), "</td><td>", Escape(value), "</td></tr>");
    }
    absl::StrAppend(
        &page,
        "</table><p><a href=\"/metrics\">metrics</a> &middot; <a href=\"/config\">configuration</a> &middot; "
        "<a href=\"/readyz\">readyz</a> &middot; <a href=\"/livez\">livez</a></p></body></html>\n");
    return page;
  }

  const HttpOptions options_;
  Registry& registry_;
};

std::string Render(const Response& response, bool head) {
  return absl::StrCat("HTTP/1.1 ", response.code, " ", Reason(response.code), "\r\nContent-Type: ", response.type,
                      "\r\nContent-Length: ", response.body.size(),
                      "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
                      head ? "" : response.body);
}

// RFC 9112 §3: "GET /path HTTP/1.1", then fields that we have no use for, then an empty
// line. The request line; an error when all of it is too large or too late.
Task<absl::StatusOr<std::string>> ReadRequest(net::Connection& connection, absl::Time deadline) {
  std::string request;
  for (int i = 0; i <= kMaxFields; ++i) {
    absl::StatusOr<std::string> line =
        co_await connection.ReadLine(kMaxLine, deadline - absl::Now(), /*allow_bare_lf=*/true);
    if (!line.ok()) co_return line.status();
    if (i > 0 && line->empty()) co_return request;
    if (i == 0) request = *std::move(line);
  }
  co_return absl::ResourceExhaustedError("too many fields");
}

Response Answer(const Pages& pages, const absl::StatusOr<std::string>& request, bool* head) {
  const std::string type = "text/plain; charset=utf-8";
  if (absl::IsResourceExhausted(request.status())) return {431, type, "too large a request\n"};
  if (absl::IsDeadlineExceeded(request.status())) return {408, type, "the request came too slowly\n"};
  const std::vector<std::string> words = absl::StrSplit(*request, ' ');
  *head = words[0] == "HEAD";
  if (words.size() != 3 || !absl::StartsWith(words[2], "HTTP/1.")) return {400, type, "not an HTTP request\n"};
  if (!*head && words[0] != "GET") return {405, type, "GET and HEAD only\n"};
  const absl::string_view path = words[1];
  return pages.Get(path.substr(0, path.find('?')));
}

// Serves one request. Probes share the connections with everybody, so none is held for
// longer than the two time-outs, however slowly it is used.
Task<void> Serve(std::shared_ptr<const Pages> pages, std::unique_ptr<net::Connection> connection) {
  const absl::StatusOr<std::string> request =
      co_await ReadRequest(*connection, absl::Now() + pages->options().request_timeout);
  const bool told =
      request.ok() || absl::IsResourceExhausted(request.status()) || absl::IsDeadlineExceeded(request.status());
  if (!told) co_return;
  bool head = false;
  std::string response = Render(Answer(*pages, request, &head), head);
  // A deadline for the whole: Write()'s own begins anew with each byte that is taken.
  net::Connection* const raw = connection.get();
  const uint64_t timer = connection->loop().PostAfter(pages->options().response_timeout, [raw] { raw->Close(); });
  (co_await connection->Write(std::move(response), pages->options().response_timeout)).IgnoreError();  // it went away
  connection->loop().CancelTimer(timer);
}

class HttpServerImpl final : public HttpServer {
 public:
  explicit HttpServerImpl(std::unique_ptr<net::Listener> listener) : listener_(std::move(listener)) {}
  ~HttpServerImpl() override { SyncWait(listener_->Drain(absl::ZeroDuration())); }
  uint16_t port() const override { return listener_->port(); }

 private:
  const std::unique_ptr<net::Listener> listener_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(net::EventLoops& loops, HttpOptions options,
                                                              Registry& registry) {
  net::ListenerOptions listen;
  listen.address = options.address;
  listen.port = options.port;
  listen.max_connections = 64;
  auto pages = std::make_shared<const Pages>(std::move(options), registry);
  PH_ASSIGN_OR_RETURN(
      std::unique_ptr<net::Listener> listener,
      net::Listener::Start(loops, std::move(listen), [pages](std::unique_ptr<net::Connection> connection) {
        return Serve(pages, std::move(connection));
      }));
  return std::make_unique<HttpServerImpl>(std::move(listener));
}

}  // namespace posthouse::metrics
