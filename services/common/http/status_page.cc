#include "services/common/http/status_page.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/strings/substitute.h"

namespace posthouse::http {
namespace {

// $0: service, $1: class of the readiness line, $2: readiness, $3: rows.
constexpr char kStatusPage[] = R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Posthouse $0</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733 }
table { border-collapse: collapse; width: 100% }
td { padding: .35rem .5rem; border-bottom: 1px solid #dde3ea; vertical-align: top }
td:first-child { color: #5a6b7d; width: 40% }
.ok { color: #12703a }
.bad { color: #b3261e }
</style>
</head>
<body>
<h1>Posthouse $0</h1>
<p class="$1">$2</p>
<table>
$3</table>
<p><a href="/metrics">metrics</a> &middot; <a href="/config">configuration</a> &middot;
<a href="/readyz">readyz</a> &middot; <a href="/livez">livez</a></p>
</body>
</html>
)html";

std::string Escape(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

Response FromStatus(const absl::Status& status) {
  Response response;
  response.code = status.ok() ? 200 : 503;
  response.body = status.ok() ? "ok\n" : absl::StrCat(status.message(), "\n");
  return response;
}

Response Plain(int code, std::string body) {
  Response response;
  response.code = code;
  response.body = std::move(body);
  return response;
}

Response StatusPage(const PageSources& sources) {
  const absl::Status ready = sources.ready();
  std::string rows;
  for (const auto& [name, value] : sources.status()) {
    absl::StrAppend(&rows, "<tr><td>", Escape(name), "</td><td>", Escape(value), "</td></tr>\n");
  }
  return {200, "text/html; charset=utf-8",
          absl::Substitute(kStatusPage, Escape(sources.service), ready.ok() ? "ok" : "bad",
                           ready.ok() ? "ready" : absl::StrCat("not ready: ", Escape(ready.message())), rows)};
}

// Whether a scraper with this Accept field would rather have OpenMetrics 1.0.0 than the older text format. Prometheus
// asks for both, with weights (RFC 9110 §12.4.2).
bool PrefersOpenMetrics(absl::string_view accept) {
  double open_metrics = 0, text = 0;
  for (const absl::string_view range : absl::StrSplit(accept, ',')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(range, ';');
    double weight = 1;
    bool version_1 = false;
    for (size_t i = 1; i < parts.size(); ++i) {
      absl::string_view parameter = absl::StripAsciiWhitespace(parts[i]);
      version_1 |= absl::EqualsIgnoreCase(parameter, "version=1.0.0");
      // A weight that is no number is 0.
      if (absl::ConsumePrefix(&parameter, "q=") && !absl::SimpleAtod(parameter, &weight)) weight = 0;
    }
    const absl::string_view type = absl::StripAsciiWhitespace(parts[0]);
    if (absl::EqualsIgnoreCase(type, "application/openmetrics-text") && version_1) {
      open_metrics = std::max(open_metrics, weight);
    } else if (absl::EqualsIgnoreCase(type, "text/plain")) {
      text = std::max(text, weight);
    }
  }
  return open_metrics > 0 && open_metrics >= text;
}

Response Metrics(const metrics::Registry& registry, absl::string_view accept) {
  if (PrefersOpenMetrics(accept)) {
    return {200, "application/openmetrics-text; version=1.0.0; charset=utf-8",
            registry.Serialize(metrics::Format::kOpenMetrics)};
  }
  return {200, "text/plain; version=0.0.4; charset=utf-8", registry.Serialize()};
}

}  // namespace

Handler Pages(PageSources sources, const metrics::Registry& registry) {
  return [sources = std::move(sources), &registry](const Request& request) -> Response {
    const std::string& path = request.path;
    if (path == "/metrics") return Metrics(registry, request.accept);
    if (path == "/livez") return FromStatus(sources.live());
    if (path == "/readyz") return FromStatus(sources.ready());
    if (path == "/config") return Plain(200, sources.redacted_config());
    if (path == "/") return StatusPage(sources);
    return Plain(404, "not found; pages: /metrics, /livez, /readyz, /config and /\n");
  };
}

}  // namespace posthouse::http
