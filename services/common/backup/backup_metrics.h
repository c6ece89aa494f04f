// Metrics of the backups of one store, posthouse_backup_*, with the label store="mailbox-a". Threads: any.
#pragma once

#include <string>

#include "services/common/metrics/metrics.h"

namespace posthouse::backup {

struct BackupMetrics {
  BackupMetrics(metrics::Registry& registry, const std::string& store);

  metrics::Counter& succeeded;
  metrics::Counter& failed;
  metrics::Counter& damaged_objects;  // that verifications found
  metrics::Counter& copied_bytes;
  metrics::Gauge& last_success;  // the instant of the newest backup; 0: there is none
  metrics::Gauge& last_duration;
  metrics::Gauge& size_bytes;  // of the newest backup
  metrics::Gauge& running;
};

}  // namespace posthouse::backup
