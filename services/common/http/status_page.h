// The pages of a process: /metrics (OpenMetrics for who asks for it by Accept), /livez (the event loops turn), /readyz
// (the process can serve its own work), /config (redacted) and a status page at /.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/common/http/http_server.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::http {

// What the pages show. Called on event loops, for each request.
struct PageSources {
  std::string service;                 // "queue"
  std::function<absl::Status()> live;  // OK: 200, else 503 with the message
  std::function<absl::Status()> ready;
  std::function<std::string()> redacted_config;  // YAML
  // Rows of the status page: name and present value. Any text; the page escapes it.
  std::function<std::vector<std::pair<std::string, std::string>>()> status;
};

// `registry` and what `sources` use outlive the handler.
Handler Pages(PageSources sources, const metrics::Registry& registry);

}  // namespace posthouse::http
