// ConfigReload: applies the file of the configuration to a process that runs, at SIGHUP and when the file changes.
//
// A file that is refused changes nothing: the configuration before stays in use. Which keys apply is a property of each
// key (config::Reloadable); the others wait for a restart, and the log names them.
// Metrics: posthouse_config_reloads_total{result}, posthouse_config_last_reload_successful,
// posthouse_config_last_reload_timestamp_seconds, posthouse_config_keys_need_restart, posthouse_config_hash.
// Threads: one, but Shown(), which any may call.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::runtime {

class ConfigReload {
 public:
  struct Hooks {
    // Reads the file and checks it for the service.
    std::function<absl::StatusOr<config::v1::Config>()> load;
    // Applies a configuration that load() returned. An error: all stays as it was.
    std::function<absl::Status(const config::v1::Config&)> apply;
  };

  // `file`: "" when the process has none, and then Look() does nothing. `started_with`: the configuration of the start;
  // keys that need a restart keep its values. `stamp`: FileStamp(file) of before it was loaded.
  ConfigReload(std::string file, std::string stamp, config::v1::Config started_with, Hooks hooks,
               metrics::Registry& registry);

  // At SIGHUP.
  void Reload() { Reload("SIGHUP"); }
  // Once a second. Reloads when the file, or the link that leads to it, has changed and then stayed the same from one
  // call to the next: an editor may still be writing. A file that was refused waits for its next change.
  void Look();

  // What holds now, without regard to keys that need a restart.
  const config::v1::Config& current() const { return current_; }
  // YAML of current(), for /config; a comment names the keys that need a restart.
  std::string Shown() const;

 private:
  void Reload(absl::string_view why);
  void Show(const std::string& waiting);

  const std::string file_;
  const config::v1::Config started_with_;
  const Hooks hooks_;
  config::v1::Config current_;
  std::string tried_stamp_;    // of the file that was loaded or refused last
  std::string changed_stamp_;  // of a file that the last Look() saw first; "": none
  metrics::Counter& succeeded_;
  metrics::Counter& failed_;
  metrics::Gauge& successful_;
  metrics::Gauge& when_;
  metrics::Gauge& hash_;
  metrics::Gauge& need_restart_;
  mutable absl::Mutex mutex_;
  std::string shown_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::runtime
