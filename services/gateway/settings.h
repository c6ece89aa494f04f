// Settings: the gateway's part of the configuration with its defaults filled in.
// Threads: a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/net/connection.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::gateway {

// A mail port: where it listens, unless it is switched off.
struct Port {
  bool enabled = true;
  net::ListenerOptions listener;
};

struct Settings {
  std::string hostname;
  Port imap;
  Port imaps;
  Port pop3;
  Port pop3s;
  absl::Duration idle_timeout = absl::Minutes(30);
  absl::Duration login_timeout = absl::Minutes(3);
  absl::Duration pop3_timeout = absl::Minutes(10);
  uint64_t max_append_bytes = 100 << 20;
  size_t max_line_bytes = 64 << 10;
  bool allow_plaintext_auth = false;
  size_t max_sessions_per_account = 200;
  absl::Duration poll_interval = absl::Seconds(30);
  std::optional<absl::Duration> drain_spread;  // absent: half of the time for the drain
};

// kInvalidArgument names the key, the value and what is allowed.
absl::StatusOr<Settings> ReadSettings(const config::v1::Config& config);

}  // namespace posthouse::gateway
