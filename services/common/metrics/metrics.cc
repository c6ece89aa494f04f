#include "services/common/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <chrono>
#include <exception>
#include <unordered_map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/common/status/status.h"

namespace posthouse::metrics {
namespace {

class PrometheusCounter final : public Counter {
 public:
  explicit PrometheusCounter(prometheus::Counter& counter) : counter_(counter) {}
  void Add(double n) override { counter_.Increment(n); }
  double Value() const override { return counter_.Value(); }

 private:
  prometheus::Counter& counter_;
};

class PrometheusGauge final : public Gauge {
 public:
  explicit PrometheusGauge(prometheus::Gauge& gauge) : gauge_(gauge) {}
  void Set(double value) override { gauge_.Set(value); }
  void Add(double n) override { gauge_.Increment(n); }
  double Value() const override { return gauge_.Value(); }

 private:
  prometheus::Gauge& gauge_;
};

class PrometheusHistogram final : public Histogram {
 public:
  explicit PrometheusHistogram(prometheus::Histogram& histogram) : histogram_(histogram) {}
  using Histogram::Observe;
  void Observe(double value) override { histogram_.Observe(value); }

 private:
  prometheus::Histogram& histogram_;
};

}  // namespace

const std::vector<double>& LatencyBuckets() {
  static const auto& buckets = *new std::vector<double>{
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
  return buckets;
}

struct Registry::Impl {
  prometheus::Registry prometheus;
  mutable absl::Mutex mutex;
  // Handles by the metric behind them: the same name and labels give the same handle.
  std::unordered_map<const void*, std::unique_ptr<Counter>> counters ABSL_GUARDED_BY(mutex);
  std::unordered_map<const void*, std::unique_ptr<Gauge>> gauges ABSL_GUARDED_BY(mutex);
  std::unordered_map<const void*, std::unique_ptr<Histogram>> histograms ABSL_GUARDED_BY(mutex);
  mutable absl::Mutex collect_mutex;
  std::vector<std::function<void()>> updates ABSL_GUARDED_BY(collect_mutex);

  // prometheus-cpp throws on a malformed name or a name used with two types: ours to fix, at start.
  template <typename Handle, typename Wrapper, typename Handles, typename Make>
  Handle& Add(const std::string& name, Handles& handles, Make make) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    try {
      auto& metric = make();
      auto& slot = handles[&metric];
      if (slot == nullptr) slot = std::make_unique<Wrapper>(metric);
      return *slot;
    } catch (const std::exception& e) {
      CheckFailed(__FILE__, __LINE__, absl::StrCat("metric ", name, ": ", e.what()));
    }
  }
};

Registry::Registry() : impl_(std::make_unique<Impl>()) {}
Registry::~Registry() = default;

Counter& Registry::AddCounter(const std::string& name, const std::string& help, const Labels& labels) {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->Add<Counter, PrometheusCounter>(name, impl_->counters, [&]() -> prometheus::Counter& {
    return prometheus::BuildCounter().Name(name).Help(help).Register(impl_->prometheus).Add(labels);
  });
}

Gauge& Registry::AddGauge(const std::string& name, const std::string& help, const Labels& labels) {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->Add<Gauge, PrometheusGauge>(name, impl_->gauges, [&]() -> prometheus::Gauge& {
    return prometheus::BuildGauge().Name(name).Help(help).Register(impl_->prometheus).Add(labels);
  });
}

Histogram& Registry::AddHistogram(const std::string& name, const std::string& help, const Labels& labels,
                                  const std::vector<double>& buckets) {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->Add<Histogram, PrometheusHistogram>(name, impl_->histograms, [&]() -> prometheus::Histogram& {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(impl_->prometheus).Add(labels, buckets);
  });
}

void Registry::OnCollect(std::function<void()> update) {
  absl::MutexLock lock(&impl_->collect_mutex);
  impl_->updates.push_back(std::move(update));
}

std::string Registry::Serialize() const {
  {
    absl::MutexLock lock(&impl_->collect_mutex);
    for (const auto& update : impl_->updates) update();
  }
  return prometheus::TextSerializer().Serialize(impl_->prometheus.Collect());
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
