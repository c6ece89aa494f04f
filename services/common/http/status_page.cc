#include "services/common/http/status_page.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
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

}  // namespace

Handler Pages(PageSources sources, const metrics::Registry& registry) {
  return [sources = std::move(sources), &registry](absl::string_view path) -> Response {
    if (path == "/metrics") return {200, "text/plain; version=0.0.4; charset=utf-8", registry.Serialize()};
    if (path == "/livez") return FromStatus(sources.live());
    if (path == "/readyz") return FromStatus(sources.ready());
    if (path == "/config") return Plain(200, sources.redacted_config());
    if (path == "/") return StatusPage(sources);
    return Plain(404, "not found; pages: /metrics, /livez, /readyz, /config and /\n");
  };
}

}  // namespace posthouse::http
