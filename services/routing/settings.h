// Settings: routing's part of the configuration with its defaults filled in.
// Threads: a value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/net/connection.h"
#include "services/routing/destination_networks.h"
#include "services/routing/dns/caching_resolver.h"
#include "services/routing/dns/cares_resolver.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::routing {

// A fixed host for a domain, instead of DNS.
struct Transport {
  std::string domain;  // "example.org", ".example.org" (its subdomains), "*" (all)
  std::string host;    // name or literal without brackets
  uint16_t port = 25;
  v1::TlsPolicy tls = v1::TLS_POLICY_OPPORTUNISTIC;
};

struct Settings {
  std::string hostname;  // of this system, for loop detection
  dns::CaresOptions dns;
  dns::CachingOptions dns_cache;
  uint16_t smtp_port = 25;
  std::optional<bool> ipv6;  // absent: as long as this machine has a route
  std::vector<Transport> transports;
  size_t recipient_cache_entries = 100000;
  std::vector<std::string> own_addresses;  // that lead to this system; empty: the interfaces'
  std::vector<net::Endpoint> listeners;    // SMTP listeners in the same configuration
  bool allow_private_literals = false;
  DestinationNetworks destinations;
  std::string postmaster;  // of `hostname`; "": as the directory says
};

// kInvalidArgument names the key, the value and what is allowed.
absl::StatusOr<Settings> ReadSettings(const config::v1::Config& config);

}  // namespace posthouse::routing
