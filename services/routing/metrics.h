// All metrics of routing, one place.
// Threads: any.
#pragma once

#include <array>
#include <functional>

#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/metrics/metrics.h"
#include "services/routing/dns/caching_resolver.h"
#include "services/routing/dns/cares_resolver.h"
#include "services/routing/recipient_resolver.h"

namespace posthouse::routing {

// Counts the queries to DNS servers by type and by response code, for CaresOptions. `registry` outlives it.
std::function<void(dns::RecordType, dns::QueryEnd)> DnsAnswerCounter(metrics::Registry& registry);

class Metrics {
 public:
  explicit Metrics(metrics::Registry& registry);
  void Recipient(v1::ResolveRecipientResponse::Outcome outcome);
  void RecipientSource(RecipientResolver::Source source);
  void Destination(v1::ResolveDestinationResponse::Outcome outcome);
  void Dns(dns::QueryResult result, absl::Duration took);
  void DirectoryStream(bool up) { directory_stream_.Set(up ? 1 : 0); }
  void Ipv6(bool used) { ipv6_.Set(used ? 1 : 0); }
  void CacheSizes(size_t recipients, size_t dns);

 private:
  std::array<metrics::Counter*, 7> recipients_{};
  std::array<metrics::Counter*, 4> recipient_sources_{};
  std::array<metrics::Counter*, 7> destinations_{};
  std::array<metrics::Counter*, 5> dns_{};
  metrics::Histogram& dns_seconds_;
  metrics::Gauge& directory_stream_;
  metrics::Gauge& ipv6_;
  metrics::Gauge& recipient_cache_;
  metrics::Gauge& dns_cache_;
};

}  // namespace posthouse::routing
