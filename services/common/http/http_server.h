// A small HTTP server for people and probes: GET and HEAD only, small bounded
// requests, one response a connection. What it serves is its handler's matter
// (status_page.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace posthouse::net {
class EventLoops;
}

namespace posthouse::http {

// The answer of a handler.
struct Response {
  int code = 200;  // 200, 400, 404, 405, 408, 431 or 503
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

// What a client asks for.
struct Request {
  std::string path;    // without its query
  std::string accept;  // the fields Accept, joined by commas (RFC 9110 §12.5.1); "": there is none
};

// Answers a GET. Called on an event loop: must not block.
using Handler = std::function<Response(const Request& request)>;

struct ServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;                                    // 0: any
  absl::Duration request_timeout = absl::Seconds(5);    // to receive the whole request
  absl::Duration response_timeout = absl::Seconds(30);  // to send the whole response
};

// A listening server: serves until it is destroyed.
class HttpServer {
 public:
  // kFailedPrecondition: the port is taken. `loops` and what `handler` uses outlive the server.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(net::EventLoops& loops, const ServerOptions& options,
                                                           Handler handler);
  virtual ~HttpServer() = default;  // cuts the connections that are open
  virtual uint16_t port() const = 0;
};

}  // namespace posthouse::http
