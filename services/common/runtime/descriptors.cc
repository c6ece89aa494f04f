#include "services/common/runtime/descriptors.h"

#include <sys/resource.h>

#include <algorithm>

#include "posthouse/config/v1/config.pb.h"
#include "services/common/log/log.h"

namespace posthouse::runtime {
namespace {

// Files of three stores, connections between services and to other hosts, HTTP.
constexpr uint64_t kBesidesMail = 2048;
constexpr uint64_t kDefaultConnections = 10000;  // Endpoint.max_connections

uint64_t Connections(const config::v1::Endpoint& endpoint) {
  if (endpoint.disabled()) return 0;
  return endpoint.max_connections() != 0 ? endpoint.max_connections() : kDefaultConnections;
}

}  // namespace

uint64_t RaiseDescriptorLimit() {
  struct rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return before;
  }
  return limit.rlim_cur;
}

uint64_t DescriptorsNeeded(const config::v1::Config& config, const std::string& service) {
  const bool all = service == "standalone";
  uint64_t needed = kBesidesMail;
  if (all || service == "ingress") {
    const config::v1::Ingress& ingress = config.ingress();
    needed += Connections(ingress.smtp()) + Connections(ingress.submission()) + Connections(ingress.submissions());
  }
  if (all || service == "gateway") {
    const config::v1::Gateway& gateway = config.gateway();
    needed += Connections(gateway.imap()) + Connections(gateway.imaps()) + Connections(gateway.pop3()) +
              Connections(gateway.pop3s());
  }
  return needed;
}

uint64_t MailConnections(uint64_t limit) { return limit - std::min(kBesidesMail, limit / 2); }

void WarnOfFewDescriptors(const config::v1::Config& config, const std::string& service, uint64_t limit) {
  const uint64_t needed = DescriptorsNeeded(config, service);
  if (limit == 0 || limit >= needed) return;
  LOG_EVENT(kWarning, "few_descriptors")
      .Int("limit", static_cast<int64_t>(limit))
      .Int("needed", static_cast<int64_t>(needed))
      .Int("connections", static_cast<int64_t>(MailConnections(limit)))
      .Str("do", "raise the hard limit of open files (LimitNOFILE, ulimit -Hn), or lower max_connections");
}

}  // namespace posthouse::runtime
