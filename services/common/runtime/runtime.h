// Runtime: what every process needs and no service should write twice: flags, config,
// signals, event loops, the blocking pool, metrics, HTTP pages, drain.
//
// Flags: --config FILE, --check-config (load, validate, print "ok" or the faulty line,
// exit), --accept-data-loss (of services with a store), --version, --help. SIGTERM and SIGINT make the process not
// ready, wait for `drain_delay`, drain within `drain_timeout`, and end it; a second one ends it at once. SIGHUP, and a
// change of its file, load the configuration again; the keys that config::Reloadable() names apply (config_reload.h).
// service_app.h has main() and the base of a service.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/async/thread_pool.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/server.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::runtime {

// An event loop that has not turned for this time is stuck: /livez and gRPC's "liveness" fail, and Kubernetes restarts
// the process.
inline constexpr absl::Duration kStuckLoop = absl::Seconds(20);

// What a service's App runs on. Everything outlives the App.
class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual const config::v1::Config& config() const = 0;
  virtual net::EventLoops& loops() = 0;
  virtual ThreadPool& blocking_pool() = 0;  // for disk reads that miss, password hashing
  virtual metrics::Registry& registry() = 0;
  // The flag --accept-data-loss: see store::Open().
  virtual bool accept_data_loss() const { return false; }
};

// A service. Its Create() starts it: when Create() returns OK, the service accepts work.
// Destroyed after Drain().
class App {
 public:
  virtual ~App() = default;
  virtual absl::string_view name() const = 0;
  // OK: the service can do its own work. Does not depend on other services. Any thread.
  virtual absl::Status Ready() = 0;
  // Tells gRPC's health service what Ready() says, and whether the event loops turn. Called once a second until the
  // drain. Main thread.
  virtual void PublishReadiness() {}
  // Applies the keys that are reloadable (config::Reloadable). `config` is valid. An error: all stays as it was. Main
  // thread.
  virtual absl::Status Reload(const config::v1::Config& config) = 0;
  // Ready() says "draining" from now on, and so does PublishReadiness(); all goes on. Main thread.
  virtual void AnnounceDrain() {}
  // Takes no more work and finishes what runs, within `grace`. Blocks; main thread.
  virtual void Drain(absl::Duration grace) = 0;
  // Rows for the status page. Any thread.
  virtual std::vector<std::pair<std::string, std::string>> Status() = 0;
};

using MakeApp = std::function<absl::StatusOr<std::unique_ptr<App>>(Runtime&)>;
// What the service requires of a config beyond config::Validate(). Without side effects:
// --check-config, the start and reloads call it.
using CheckConfig = std::function<absl::Status(const config::v1::Config&)>;

// Runs a process to its end. Returns its exit code: 0; 1: the start failed; 2: bad config or flags. Messages name the
// program by argv[0].
int Main(int argc, char** argv, const std::string& service, const MakeApp& make, CheckConfig check = nullptr);

// Where a service's gRPC server listens: config.rpc, or the documented default.
rpc::ServerOptions RpcOptions(const config::v1::Config& config, const std::string& service);

}  // namespace posthouse::runtime
