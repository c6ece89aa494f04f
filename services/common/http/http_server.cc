#include "services/common/http/http_server.h"

#include <algorithm>
#include <list>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop.h"
#include "services/common/status/status.h"

namespace posthouse::http {
namespace {

constexpr size_t kMaxLine = 8192;
constexpr int kMaxFields = 100;
constexpr size_t kMaxConnections = 64;

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

struct Received {
  std::string line;    // "GET /path HTTP/1.1", RFC 9112 §3
  std::string accept;  // as in Request
};

// Reads a request: its line, fields, of which Accept counts, and an empty line. kResourceExhausted: the request is
// too large; kDeadlineExceeded: it did not arrive before `deadline`.
Task<absl::StatusOr<Received>> ReadRequest(net::Connection& connection, absl::Time deadline) {
  Received request;
  for (int i = 0; i <= kMaxFields; ++i) {
    absl::StatusOr<std::string> line =
        co_await connection.ReadLine(kMaxLine, deadline - absl::Now(), /*allow_bare_lf=*/true);
    if (!line.ok()) co_return line.status();
    if (i > 0 && line->empty()) co_return request;
    absl::string_view field = *line;
    if (i == 0) {
      request.line = *std::move(line);
    } else if (absl::StartsWithIgnoreCase(field, "accept:")) {
      field.remove_prefix(sizeof("accept:") - 1);
      absl::StrAppend(&request.accept, request.accept.empty() ? "" : ",", field);
    }
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
Response Answer(const Handler& handler, const absl::StatusOr<Received>& request, bool* head) {
  if (absl::IsResourceExhausted(request.status())) return Error(431, "the request is too large\n");
  if (absl::IsDeadlineExceeded(request.status())) return Error(408, "the request took too long\n");
  const std::vector<std::string> words = absl::StrSplit(request->line, ' ');
  *head = words[0] == "HEAD";
  if (words.size() != 3 || !absl::StartsWith(words[2], "HTTP/1.")) return Error(400, "not an HTTP/1 request\n");
  if (!*head && words[0] != "GET") return Error(405, "only GET and HEAD are supported\n");
  return handler({words[1].substr(0, words[1].find('?')), request->accept});
}

// The connections that are open. One too many cuts the oldest that has not sent its request, so that clients which
// connect and say nothing do not keep probes out; if all have, the oldest.
class OpenConnections {
 public:
  void Add(net::Connection* connection) {
    absl::MutexLock lock(&mutex_);
    if (open_.size() >= kMaxConnections) CutOne();
    open_.push_back({connection, /*asked=*/false});
  }
  void Asked(const net::Connection* connection) {
    absl::MutexLock lock(&mutex_);
    for (Entry& entry : open_) {
      if (entry.connection == connection) entry.asked = true;
    }
  }
  void Remove(const net::Connection* connection) {
    absl::MutexLock lock(&mutex_);
    open_.remove_if([&](const Entry& entry) { return entry.connection == connection; });
  }

 private:
  struct Entry {
    net::Connection* connection;  // lives until Remove()
    bool asked;
  };
  void CutOne() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto victim = std::find_if(open_.begin(), open_.end(), [](const Entry& entry) { return !entry.asked; });
    if (victim == open_.end()) victim = open_.begin();
    victim->connection->Close();
    open_.erase(victim);
  }

  absl::Mutex mutex_;
  std::list<Entry> open_ ABSL_GUARDED_BY(mutex_);  // the oldest first
};

struct Shared {
  Shared(ServerOptions o, Handler h) : options(std::move(o)), handler(std::move(h)) {}
  const ServerOptions options;
  const Handler handler;
  OpenConnections open;
};

// Serves one request. All clients share kMaxConnections connections, so each connection
// is closed after the two time-outs at the latest, however slowly its client reads or writes.
Task<void> Serve(std::shared_ptr<Shared> shared, std::unique_ptr<net::Connection> connection) {
  const ServerOptions& options = shared->options;
  net::Connection* const raw = connection.get();
  shared->open.Add(raw);
  const absl::Cleanup remove = [&] { shared->open.Remove(raw); };
  const absl::StatusOr<Received> request = co_await ReadRequest(*connection, absl::Now() + options.request_timeout);
  const bool answerable =
      request.ok() || absl::IsResourceExhausted(request.status()) || absl::IsDeadlineExceeded(request.status());
  if (!answerable) co_return;
  shared->open.Asked(raw);
  bool head = false;
  std::string response = Render(Answer(shared->handler, request, &head), head);
  // A deadline for the whole response: Write()'s time-out starts again with each byte that the client takes.
  const uint64_t timer = connection->loop().PostAfter(options.response_timeout, [raw] { raw->Close(); });
  // An error means that the client has gone: nothing is left to do for it.
  (co_await connection->Write(std::move(response), options.response_timeout)).IgnoreError();
  connection->loop().CancelTimer(timer);
}

class ListeningHttpServer final : public HttpServer {
 public:
  explicit ListeningHttpServer(std::unique_ptr<net::Listener> listener) : listener_(std::move(listener)) {}
  ~ListeningHttpServer() override { SyncWait(listener_->Drain(absl::ZeroDuration())); }
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
  listen.max_connections = 2 * kMaxConnections;  // those that are being closed count, too
  listen.shares_budget = false;                  // probes work when mail uses up its descriptors
  const auto shared = std::make_shared<Shared>(options, std::move(handler));
  PH_ASSIGN_OR_RETURN(
      std::unique_ptr<net::Listener> listener,
      net::Listener::Start(loops, std::move(listen), [shared](std::unique_ptr<net::Connection> connection) {
        return Serve(shared, std::move(connection));
      }));
  return std::make_unique<ListeningHttpServer>(std::move(listener));
}

}  // namespace posthouse::http
