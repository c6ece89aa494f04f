// OpenNetworks: warns when a list of trusted networks trusts everybody: relay_networks make
// an open relay of the system then, and proxy_from lets each client choose its address.
// Threads: any.
#pragma once

#include <string>
#include <vector>

#include "services/common/metrics/metrics.h"
#include "services/common/net/connection.h"
#include "services/ingress/settings.h"

namespace posthouse::ingress {

// Whether the networks together cover (almost) all of IPv4, or all that is used of IPv6;
// also when several networks do it (0.0.0.0/1 and 128.0.0.0/1).
bool CoversEverybody(const std::vector<net::Cidr>& networks);

class OpenNetworks {
 public:
  explicit OpenNetworks(metrics::Registry& registry);
  // Sets the gauges, and logs `open_to_everybody` for each such list. At the start and at
  // each reload.
  void Look(const Settings& settings);

 private:
  static void Set(metrics::Gauge& gauge, const std::string& key, bool open, const char* effect);

  metrics::Gauge& relay_;
  metrics::Gauge& proxy_;
};

}  // namespace posthouse::ingress
