#include "services/ingress/open_networks.h"

#include <algorithm>

#include "services/common/log/log.h"

namespace posthouse::ingress {
namespace {

metrics::Gauge& OpenTo(metrics::Registry& registry, const char* setting) {
  return registry.AddGauge("posthouse_ingress_open_to_everybody", "1 while the setting trusts the whole Internet.",
                           {{"setting", setting}});
}

// One address of each corner: a list that contains all of them means everyone.
constexpr const char* kIpv4[] = {"1.1.1.1", "50.1.1.1", "90.1.1.1", "130.1.1.1", "180.1.1.1", "220.1.1.1"};
constexpr const char* kIpv6[] = {"2001:500::1", "2400::1", "2607::1", "2800::1", "2a00::1", "2c00::1"};

}  // namespace

bool CoversEverybody(const std::vector<net::Cidr>& networks) {
  const auto covered = [&](const char* address) {
    return std::any_of(networks.begin(), networks.end(), [&](const net::Cidr& n) { return n.Contains(address); });
  };
  return std::all_of(std::begin(kIpv4), std::end(kIpv4), covered) ||
         std::all_of(std::begin(kIpv6), std::end(kIpv6), covered);
}

OpenNetworks::OpenNetworks(metrics::Registry& registry)
    : relay_(OpenTo(registry, "relay_networks")), proxy_(OpenTo(registry, "proxy_from")) {}

void OpenNetworks::Look(const Settings& settings) {
  Set(relay_, "ingress.relay_networks", CoversEverybody(settings.relay_networks),
      "everybody may send mail to any domain through this system");
  bool proxy = false;
  for (const Settings::Listener* listener : {&settings.smtp, &settings.submission, &settings.submissions}) {
    proxy |= listener->enabled && CoversEverybody(listener->proxy_from);
  }
  Set(proxy_, "ingress.*.proxy_from", proxy, "every client can claim any address, also one of relay_networks");
}

void OpenNetworks::Set(metrics::Gauge& gauge, const std::string& key, bool open, const char* effect) {
  gauge.Set(open ? 1 : 0);
  if (open) LOG_EVENT(kWarning, "open_to_everybody").Str("key", key).Str("effect", effect);
}

}  // namespace posthouse::ingress
