#include "services/common/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <chrono>
#include <exception>
#include <unordered_map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "services/common/metrics/exemplars.h"
#include "services/common/metrics/open_metrics.h"
#include "services/common/status/status.h"

namespace posthouse::metrics {

void Counter::Add(double n) { metric_.Increment(n); }
void Counter::RaiseTo(double value) {
  if (const double now = Value(); value > now) Add(value - now);
}
double Counter::Value() const { return metric_.Value(); }

void Gauge::Set(double value) { metric_.Set(value); }
void Gauge::Add(double n) { metric_.Increment(n); }
double Gauge::Value() const { return metric_.Value(); }

Histogram::Histogram(prometheus::Histogram& metric, const std::vector<double>& bounds)
    : metric_(metric), exemplars_(std::make_unique<Exemplars>(bounds)) {}
Histogram::~Histogram() = default;
void Histogram::Observe(double value) { metric_.Observe(value); }
void Histogram::Observe(double value, absl::string_view trace_id) {
  metric_.Observe(value);
  exemplars_->Put(value, trace_id, absl::Now());
}

const std::vector<double>& LatencyBuckets() {
  static const auto& buckets = *new std::vector<double>{
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
  return buckets;
}

struct CollectHandle::Updates {
  absl::Mutex mutex;
  uint64_t next_id ABSL_GUARDED_BY(mutex) = 0;
  std::map<uint64_t, std::function<void()>> by_id ABSL_GUARDED_BY(mutex);  // in the order of registration
};

CollectHandle& CollectHandle::operator=(CollectHandle&& other) noexcept {
  if (this != &other) {
    Unregister();
    updates_ = std::move(other.updates_);
    id_ = other.id_;
  }
  return *this;
}

void CollectHandle::Unregister() {
  const std::shared_ptr<Updates> updates = std::move(updates_);
  if (updates == nullptr) return;
  absl::MutexLock lock(&updates->mutex);  // a scrape holds it while it calls the updates
  updates->by_id.erase(id_);
}

struct Registry::Impl {
  prometheus::Registry prometheus;
  const std::shared_ptr<CollectHandle::Updates> updates = std::make_shared<CollectHandle::Updates>();
  absl::Mutex mutex;
  // Handles by the metric behind them: the same name and labels give the same handle.
  std::unordered_map<const void*, Counter> counters ABSL_GUARDED_BY(mutex);
  std::unordered_map<const void*, Gauge> gauges ABSL_GUARDED_BY(mutex);
  std::unordered_map<const void*, Histogram> histograms ABSL_GUARDED_BY(mutex);
  std::map<std::pair<std::string, Labels>, const Histogram*> histograms_by_name ABSL_GUARDED_BY(mutex);

  // prometheus-cpp throws on a malformed name or a name used with two types: a defect, found at the start.
  template <typename Handle, typename Make, typename... More>
  Handle& Add(const std::string& name, std::unordered_map<const void*, Handle>& handles, Make make, const More&... more)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    try {
      auto& metric = make();
      return handles.try_emplace(&metric, metric, more...).first->second;
    } catch (const std::exception& e) {
      CheckFailed(__FILE__, __LINE__, absl::StrCat("metric ", name, ": ", e.what()));
    }
  }
};

Registry::Registry() : impl_(std::make_unique<Impl>()) {}
Registry::~Registry() = default;

Counter& Registry::AddCounter(const std::string& name, const std::string& help, const Labels& labels) {
  // OpenMetrics: a counter ends in _total, and nothing else does; promtool refuses the rest.
  if (!absl::EndsWith(name, "_total")) CheckFailed(__FILE__, __LINE__, absl::StrCat("metric ", name, ": not _total"));
  absl::MutexLock lock(&impl_->mutex);
  return impl_->Add(name, impl_->counters, [&]() -> prometheus::Counter& {
    return prometheus::BuildCounter().Name(name).Help(help).Register(impl_->prometheus).Add(labels);
  });
}

Gauge& Registry::AddGauge(const std::string& name, const std::string& help, const Labels& labels) {
  if (absl::EndsWith(name, "_total")) CheckFailed(__FILE__, __LINE__, absl::StrCat("metric ", name, ": a gauge"));
  absl::MutexLock lock(&impl_->mutex);
  return impl_->Add(name, impl_->gauges, [&]() -> prometheus::Gauge& {
    return prometheus::BuildGauge().Name(name).Help(help).Register(impl_->prometheus).Add(labels);
  });
}

Histogram& Registry::AddHistogram(const std::string& name, const std::string& help, const Labels& labels,
                                  const std::vector<double>& buckets) {
  absl::MutexLock lock(&impl_->mutex);
  const auto make = [&]() -> prometheus::Histogram& {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(impl_->prometheus).Add(labels, buckets);
  };
  Histogram& histogram = impl_->Add(name, impl_->histograms, make, buckets);
  impl_->histograms_by_name[{name, labels}] = &histogram;
  return histogram;
}

void Registry::Remove(const std::string& name, Counter& counter) {
  absl::MutexLock lock(&impl_->mutex);
  prometheus::Counter& metric = counter.metric_;
  impl_->counters.erase(&metric);
  prometheus::BuildCounter().Name(name).Register(impl_->prometheus).Remove(&metric);
}

CollectHandle Registry::OnCollect(std::function<void()> update) {
  absl::MutexLock lock(&impl_->updates->mutex);
  const uint64_t id = impl_->updates->next_id++;
  impl_->updates->by_id.emplace(id, std::move(update));
  return CollectHandle(impl_->updates, id);
}

std::string Registry::Serialize(Format format) const {
  {
    absl::MutexLock lock(&impl_->updates->mutex);
    for (const auto& [id, update] : impl_->updates->by_id) update();
  }
  const std::vector<prometheus::MetricFamily> families = impl_->prometheus.Collect();
  if (format == Format::kPrometheus) return prometheus::TextSerializer().Serialize(families);
  return OpenMetricsText(families, [this](const std::string& name, const Labels& labels) -> const Exemplars* {
    absl::MutexLock lock(&impl_->mutex);
    const auto it = impl_->histograms_by_name.find({name, labels});
    return it == impl_->histograms_by_name.end() ? nullptr : &it->second->exemplars();
  });
}

namespace {
int64_t SteadyNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}
}  // namespace

Timer::Timer(Histogram& histogram) : histogram_(histogram), start_nanos_(SteadyNanos()) {}
Timer::~Timer() { histogram_.Observe(absl::Nanoseconds(SteadyNanos() - start_nanos_)); }

}  // namespace posthouse::metrics
