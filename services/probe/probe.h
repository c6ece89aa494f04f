// Probe: the journey of one message through a running system, as its users see it, and the metrics of it.
//
//   submit (SMTP with TLS and login) ─▶ imap (it arrives) ─▶ pop3 (it is there) ─▶ delete     no_relay (by the way)
//
// A step that fails ends the journey, but for the deletion and the look at relaying, which run all the same.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/event_loop.h"
#include "services/probe/line_client.h"

namespace posthouse::probe {

struct Options {
  std::string account;
  std::string password_file;  // read in each round; a line end at its end does not count
  std::string tls_name;       // the name that the certificates must have
  std::string tls_ca;         // file of the authority; "": those of the system
  std::optional<Target> submissions, imaps, pop3s;
  std::optional<Target> no_relay;              // an MX port that must refuse to relay
  absl::Duration timeout = absl::Seconds(30);  // of one round
};

struct StepResult {
  const char* step = "";  // one of kSteps
  absl::Status status;
  absl::Duration took;
};

inline constexpr const char* kSteps[] = {"submit", "imap", "pop3", "delete", "no_relay"};

// The steps of one round, in order. Those without a target, and those after a failure, are missing. Runs on `loop`.
Task<std::vector<StepResult>> RunRound(net::EventLoop& loop, Options options);

// posthouse_probe_*. Threads: any.
class Metrics {
 public:
  explicit Metrics(metrics::Registry& registry);
  void Add(const std::vector<StepResult>& round, absl::Time now);

 private:
  struct Step {
    metrics::Histogram* seconds;
    metrics::Counter* failures;
  };
  std::vector<Step> steps_;  // in the order of kSteps
  metrics::Counter& ok_;
  metrics::Counter& failed_;
  metrics::Gauge& successful_;
  metrics::Gauge& last_success_;
};

}  // namespace posthouse::probe
