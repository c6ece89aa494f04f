// OpenMetrics 1.0.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/): the text that a scraper gets that asks
// for it, because prometheus-cpp writes no exemplars. Pure.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "services/common/metrics/exemplars.h"
#include "services/common/metrics/metrics.h"

namespace prometheus {
struct MetricFamily;
}

namespace posthouse::metrics {

// The exemplars of a histogram, by its name and labels; null: it has none.
using FindExemplars = std::function<const Exemplars*(const std::string& name, const Labels& labels)>;

// Counters, gauges and histograms; families of other types are left out.
std::string OpenMetricsText(const std::vector<prometheus::MetricFamily>& families, const FindExemplars& exemplars);

}  // namespace posthouse::metrics
