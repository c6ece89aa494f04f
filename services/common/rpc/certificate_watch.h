// CertificateWatch: the metrics of the certificate that a server shows to other services.
// Threads: one at a time; a scrape calls Look().
#pragma once

#include <string>

#include "services/common/metrics/metrics.h"
#include "services/common/rpc/server.h"

namespace posthouse::rpc {

class CertificateWatch {
 public:
  // Without files there is nothing to watch, and the expiry is 0.
  CertificateWatch(TlsFiles files, metrics::Registry& registry);

  // Follows files that have changed. As gRPC does, keeps the expiry of the certificate before when the files cannot be
  // used; this is logged and counted once for each change.
  void Look();

 private:
  const TlsFiles files_;
  metrics::Gauge& not_after_;
  metrics::Counter& failures_;
  std::string seen_;  // when the files that Look() has followed were written
};

}  // namespace posthouse::rpc
