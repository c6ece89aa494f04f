#include "services/common/http/http_server.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop.h"
#include "services/common/status/status.h"

namespace posthouse::http {
namespace {

constexpr size_t kMaxLine = 8192;
constexpr int kMaxFields = 100;
constexpr int kMaxConnections = 64;

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

std::string Render(const Response& response, bool head) {
  return absl::StrCat("HTTP/1.1 ", response.code, " ", Reason(response.code), "\r\nContent-Type: ", response.type,
                      "\r\nContent-Length: ", response.body.size(),
                      "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
                      head ? "" : response.body);
}

// Reads a request: the request line ("GET /path HTTP/1.1", RFC 9112 §3), fields, which are
// ignored, and an empty line. Returns the request line. kResourceExhausted: the request is
// too large; kDeadlineExceeded: it did not arrive before `deadline`.
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

Response Error(int code, std::string text) {
  Response response;
  response.code = code;
  response.body = std::move(text);
  return response;
}

// `head` is set for a HEAD request: the body is left out.
Response Answer(const Handler& handler, const absl::StatusOr<std::string>& request, bool* head) {
  if (absl::IsResourceExhausted(request.status())) return Error(431, "the request is too large\n");
  if (absl::IsDeadlineExceeded(request.status())) return Error(408, "the request took too long\n");
  const std::vector<std::string> words = absl::StrSplit(*request, ' ');
  *head = words[0] == "HEAD";
  if (words.size() != 3 || !absl::StartsWith(words[2], "HTTP/1.")) return Error(400, "not an HTTP/1 request\n");
  if (!*head && words[0] != "GET") return Error(405, "only GET and HEAD are supported\n");
  const absl::string_view path = words[1];
  return handler(path.substr(0, path.find('?')));
}

struct Shared {
  const ServerOptions options;
  const Handler handler;
};

// Serves one request. All clients share kMaxConnections connections, so each connection
// is closed after the two time-outs at the latest, however slowly its client reads or writes.
Task<void> Serve(std::shared_ptr<const Shared> shared, std::unique_ptr<net::Connection> connection) {
  const ServerOptions& options = shared->options;
  const absl::StatusOr<std::string> request = co_await ReadRequest(*connection, absl::Now() + options.request_timeout);
  const bool answerable =
      request.ok() || absl::IsResourceExhausted(request.status()) || absl::IsDeadlineExceeded(request.status());
  if (!answerable) co_return;
  bool head = false;
  std::string response = Render(Answer(shared->handler, request, &head), head);
  // A deadline for the whole response: Write()'s time-out starts again with each byte that the client takes.
  net::Connection* const raw = connection.get();
  const uint64_t timer = connection->loop().PostAfter(options.response_timeout, [raw] { raw->Close(); });
  // An error means that the client has gone: nothing is left to do for it.
  (co_await connection->Write(std::move(response), options.response_timeout)).IgnoreError();
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

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(net::EventLoops& loops, const ServerOptions& options,
                                                              Handler handler) {
  net::ListenerOptions listen;
  listen.address = options.address;
  listen.port = options.port;
  listen.max_connections = kMaxConnections;
  const auto shared = std::make_shared<const Shared>(Shared{options, std::move(handler)});
  PH_ASSIGN_OR_RETURN(
      std::unique_ptr<net::Listener> listener,
      net::Listener::Start(loops, std::move(listen), [shared](std::unique_ptr<net::Connection> connection) {
        return Serve(shared, std::move(connection));
      }));
  return std::make_unique<HttpServerImpl>(std::move(listener));
}

}  // namespace posthouse::http
