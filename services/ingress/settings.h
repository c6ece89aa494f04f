// Settings: the ingress part of the configuration with its defaults filled in.
// The reference manual is protos/posthouse/config/v1/config.proto.
// Threads: a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/net/connection.h"
#include "services/ingress/policy.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::ingress {

struct Settings : SmtpPolicy {
  struct Listener {
    bool enabled = true;
    std::string address = "127.0.0.1";
    uint16_t port = 0;
    std::vector<net::Cidr> proxy_from;
    std::optional<uint16_t> proxy_port;
    size_t max_connections = 10000;
    size_t max_connections_per_address = 200;
  };

  Listener smtp, submission, submissions;
  absl::Duration command_timeout = absl::Minutes(5);
  absl::Duration data_timeout = absl::Minutes(3);
  std::vector<net::Cidr> relay_networks;
  uint64_t message_memory_bytes = 128 << 20;

  // kInvalidArgument names the key, the value and what is allowed.
  static absl::StatusOr<Settings> FromConfig(const config::v1::Config& config);
};

}  // namespace posthouse::ingress
