// Metrics that each process has, posthouse_process_*, and its version.
#pragma once

#include "absl/time/time.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::runtime {

// Read from the kernel at each scrape, until the handle goes.
[[nodiscard]] metrics::CollectHandle AddProcessMetrics(metrics::Registry& registry, absl::Time started);

}  // namespace posthouse::runtime
