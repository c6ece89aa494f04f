// The metrics of the directory.
// Threads: any.
#pragma once

#include <array>

#include "services/common/metrics/metrics.h"

namespace posthouse::directory {

class Repository;
class PasswordHashLimiter;
class LoginCache;

struct Metrics {
  explicit Metrics(metrics::Registry& registry);
  // Sets the gauges from live state; called before each scrape.
  void Update(const Repository& repository, const PasswordHashLimiter& limiter, const LoginCache& cache);

  metrics::Counter& lookups_found;
  metrics::Counter& lookups_unknown;
  metrics::Counter& lookups_foreign;
  metrics::Counter& lookups_suspended;
  metrics::Counter& lookups_over_limit;
  metrics::Counter& lookups_failed;
  metrics::Counter& logins_ok;
  metrics::Counter& logins_cached;
  metrics::Counter& logins_wrong;
  metrics::Counter& logins_refused;
  metrics::Counter& logins_overload;
  metrics::Counter& logins_failed;
  std::array<metrics::Counter*, 3> guesses_refused;  // by GuessBucket
  metrics::Counter& rehashed;
  metrics::Counter& changes;
  metrics::Histogram& hash_seconds;
  metrics::Gauge& accounts;
  metrics::Gauge& aliases;
  metrics::Gauge& domains;
  metrics::Gauge& deleted_kept;
  metrics::Gauge& deleted_erasing;
  metrics::Gauge& deleted_erased;
  metrics::Gauge& revision;
  metrics::Gauge& watchers;
  metrics::Gauge& hash_waiting;
  metrics::Gauge& login_cache_entries;
  metrics::Gauge& damaged_rows;
  metrics::Gauge& fenced;
};

}  // namespace posthouse::directory
