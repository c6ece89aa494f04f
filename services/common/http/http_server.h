// The HTTP listener of a process, for people and probes: /metrics, /livez (event
// loops turn), /readyz (can serve its own work), /config (redacted) and a status
// page at /. GET and HEAD only, small bounded requests, one response a connection.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::net {
class EventLoops;
}

namespace posthouse::metrics {

struct HttpOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;
  std::string service;                 // "queue"
  std::function<absl::Status()> live;  // OK: 200, else 503 with the message
  std::function<absl::Status()> ready;
  std::function<std::string()> redacted_config;  // YAML
  // Rows of the status page: name and present value.
  std::function<std::vector<std::pair<std::string, std::string>>()> status;
  absl::Duration request_timeout = absl::Seconds(5);    // for the whole of it
  absl::Duration response_timeout = absl::Seconds(30);  // for the client to take it
};

class HttpServer {
 public:
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(net::EventLoops& loops, HttpOptions options,
                                                           Registry& registry);
  virtual ~HttpServer() = default;
  virtual uint16_t port() const = 0;
};

}  // namespace posthouse::metrics
