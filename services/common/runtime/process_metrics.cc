#include "services/common/runtime/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "absl/time/clock.h"
#include "services/common/memory_limit/memory_limit.h"
#include "services/common/version/version.h"

namespace posthouse::runtime {
namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

double ResidentBytes() {
  long pages = 0;  // NOLINT(google-runtime-int): %ld
  if (std::FILE* const file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Entries of a directory below /proc/self, without `uncounted` of them.
double Entries(const char* path, int uncounted) {
  DIR* const directory = opendir(path);
  if (directory == nullptr) return 0;
  int count = 0;
  while (const dirent* const entry = readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(directory);
  return count - uncounted;
}

}  // namespace

metrics::CollectHandle AddProcessMetrics(metrics::Registry& registry, absl::Time started) {
  registry.AddGauge("posthouse_process_start_time_seconds", "When this process started, Unix time.")
      .Set(absl::ToDoubleSeconds(started - absl::UnixEpoch()));
  registry.AddGauge("posthouse_build_info", "Always 1; the version is a label.", {{"version", kVersion}}).Set(1);
  registry
      .AddGauge("posthouse_process_memory_limit_bytes", "Limit of the control group when the process started; 0: none.")
      .Set(static_cast<double>(MemoryLimit()));
  auto& clock = registry.AddGauge("posthouse_process_clock_timestamp_seconds",
                                  "The clock of this process at the scrape, Unix time: compare it with the scraper's.");
  auto& resident = registry.AddGauge("posthouse_process_resident_memory_bytes", "Resident memory of this process.");
  auto& cpu = registry.AddCounter("posthouse_process_cpu_seconds_total", "CPU time of this process, user and system.");
  auto& open = registry.AddGauge("posthouse_process_open_fds", "Open file descriptors.");
  auto& most = registry.AddGauge("posthouse_process_max_fds", "File descriptors that this process may open.");
  auto& threads = registry.AddGauge("posthouse_process_threads", "Threads of this process.");
  return registry.OnCollect([&clock, &resident, &cpu, &open, &most, &threads] {
    clock.Set(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
    resident.Set(ResidentBytes());
    rusage used{};
    if (getrusage(RUSAGE_SELF, &used) == 0) cpu.RaiseTo(Seconds(used.ru_utime) + Seconds(used.ru_stime));
    open.Set(Entries("/proc/self/fd", 1));  // without the one that reads the folder
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) most.Set(static_cast<double>(limit.rlim_cur));
    threads.Set(Entries("/proc/self/task", 0));
  });
}

}  // namespace posthouse::runtime
