#include "services/common/backup/backup_metrics.h"

namespace posthouse::backup {
namespace {

metrics::Counter& Runs(metrics::Registry& registry, const std::string& store, const std::string& result) {
  return registry.AddCounter("posthouse_backup_runs_total", "Backups that ended, by result.",
                             {{"store", store}, {"result", result}});
}

}  // namespace

BackupMetrics::BackupMetrics(metrics::Registry& registry, const std::string& store)
    : succeeded(Runs(registry, store, "ok")),
      failed(Runs(registry, store, "failed")),
      damaged_objects(registry.AddCounter("posthouse_backup_damaged_objects_total",
                                          "Objects of backups that a verification could not read back.",
                                          {{"store", store}})),
      copied_bytes(registry.AddCounter("posthouse_backup_copied_bytes_total", "Bytes written to the backup directory.",
                                       {{"store", store}})),
      last_success(registry.AddGauge("posthouse_backup_last_success_timestamp_seconds",
                                     "Instant of the newest backup in the backup directory; 0: none.",
                                     {{"store", store}})),
      last_duration(registry.AddGauge("posthouse_backup_last_duration_seconds",
                                      "Time that the newest backup since the start took.", {{"store", store}})),
      size_bytes(registry.AddGauge("posthouse_backup_size_bytes", "Size of the files of the newest backup.",
                                   {{"store", store}})),
      running(registry.AddGauge("posthouse_backup_running", "1 while a backup or a verification runs.",
                                {{"store", store}})) {}

}  // namespace posthouse::backup
