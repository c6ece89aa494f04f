// Runtime: what every process needs and no service should write twice: flags,
// config, signals, event loops, the blocking pool, metrics and HTTP, drain.
//
//   int main(int argc, char** argv) {
//     using Made = absl::StatusOr<std::unique_ptr<runtime::App>>;
//     const auto make = [](runtime::Runtime& rt) -> Made {
//       PH_ASSIGN_OR_RETURN(rpc::Channels channels, rpc::DialPeers(rt.config()));
//       return queue::App::Create(rt, std::move(channels));
//     };
//     return runtime::Main(argc, argv, "queue", make, queue::App::CheckConfig);
//   }
//
// Flags: --config FILE, --check-config (load, validate, print "ok" or the line at
// fault, exit), --version, --help. SIGTERM and SIGINT drain within
// `drain_timeout`, then stop (a second one stops at once); SIGHUP loads the
// configuration again and reloads certificates, limits and log levels from it, and
// logs which changed keys need a restart.
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
#include "services/common/async/sync.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/server.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::runtime {

// What a service's App gets to live in. Everything outlives the App.
class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual const config::v1::Config& config() const = 0;
  virtual net::EventLoops& loops() = 0;
  virtual ThreadPool& blocking_pool() = 0;  // disk reads that miss, password hashing
  virtual metrics::Registry& registry() = 0;
};

// A service. Created by its Create(), which starts it: when Create() returns OK
// the service accepts work. Destroyed after Drain().
class App {
 public:
  virtual ~App() = default;
  virtual absl::string_view name() const = 0;
  // OK when it can serve its own work; never depends on the whole cluster. Any thread.
  virtual absl::Status Ready() = 0;
  // Certificates, limits, log levels from the (already validated) new config. Main thread.
  virtual absl::Status Reload(const config::v1::Config& config) = 0;
  // Whether Reload() brings the key ("ingress.max_errors") into use; else a restart does.
  virtual bool Reloadable(absl::string_view /*key*/) const { return false; }
  // Stops taking work, finishes what runs, within `grace`. Blocks; main thread.
  virtual void Drain(absl::Duration grace) = 0;
  // Rows for the status page. Any thread.
  virtual std::vector<std::pair<std::string, std::string>> Status() = 0;
};

using MakeApp = std::function<absl::StatusOr<std::unique_ptr<App>>(Runtime&)>;
// What the service itself requires of a config, beyond config::Validate(); touches
// nothing. For --check-config, the start and reloads.
using CheckConfig = std::function<absl::Status(const config::v1::Config&)>;

// Runs a process to its end; returns its exit code (0, 1 failed, 2 bad config or flags).
int Main(int argc, char** argv, const std::string& service, const MakeApp& make, CheckConfig check = nullptr);

// A Runtime for tests: `threads` loops, its own registry, given config.
std::unique_ptr<Runtime> NewTestRuntime(const config::v1::Config& config, int threads = 2);

// Where a service's gRPC server listens: config.rpc, or the documented default.
rpc::ServerOptions RpcOptions(const config::v1::Config& config, const std::string& service);

}  // namespace posthouse::runtime
