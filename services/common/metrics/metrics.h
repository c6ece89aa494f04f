// Metrics of a process: prometheus-cpp behind a header without it.
//
// Names are posthouse_<service>_<what>_<unit>; labels come from closed sets, never
// from a peer (no address, no domain; top_counters.h has the one exception). A metric shows zero from the moment it is
// added, so add every label value at start. Adding the same name and labels again
// gives the same handle. Threads: any; handles are cheap to update (counters and
// gauges without a lock) and live as long as the Registry.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace posthouse::metrics {

using Labels = std::map<std::string, std::string>;

// A number that only grows.
class Counter {
 public:
  explicit Counter(prometheus::Counter& metric) : metric_(metric) {}
  void Add(double n = 1);
  // Follows a count that something else keeps. A lower `value` changes nothing. One thread.
  void RaiseTo(double value);
  double Value() const;

 private:
  friend class Registry;
  prometheus::Counter& metric_;
};

// A number that goes up and down.
class Gauge {
 public:
  explicit Gauge(prometheus::Gauge& metric) : metric_(metric) {}
  void Set(double value);
  void Add(double n);
  double Value() const;

 private:
  prometheus::Gauge& metric_;
};

class Exemplars;

// How often values fell into each bucket.
class Histogram {
 public:
  // `bounds`: of the buckets of `metric`.
  Histogram(prometheus::Histogram& metric, const std::vector<double>& bounds);
  ~Histogram();
  void Observe(double value);
  void Observe(absl::Duration d) { Observe(absl::ToDoubleSeconds(d)); }
  // The same, and the trace becomes the exemplar of its bucket: it leads from a slow bucket to one message. `trace_id`:
  // 32 hex digits; any other text is no exemplar.
  void Observe(double value, absl::string_view trace_id);
  void Observe(absl::Duration d, absl::string_view trace_id) { Observe(absl::ToDoubleSeconds(d), trace_id); }
  const Exemplars& exemplars() const { return *exemplars_; }

 private:
  prometheus::Histogram& metric_;
  const std::unique_ptr<Exemplars> exemplars_;
};

// How metrics are written down: the text format of Prometheus (0.0.4), or OpenMetrics 1.0.0, which has exemplars.
enum class Format { kPrometheus, kOpenMetrics };

// Bounds in seconds, from 100 us to 60 s: right for most waits.
const std::vector<double>& LatencyBuckets();

// Keeps an OnCollect() update registered for as long as it lives. May outlive the Registry.
class [[nodiscard]] CollectHandle {
 public:
  CollectHandle() = default;
  CollectHandle(CollectHandle&& other) noexcept = default;
  CollectHandle& operator=(CollectHandle&& other) noexcept;
  ~CollectHandle() { Unregister(); }
  // Waits for a scrape that runs; afterwards the update is never called again. Not from an update.
  void Unregister();

 private:
  friend class Registry;
  struct Updates;
  CollectHandle(std::shared_ptr<Updates> updates, uint64_t id) : updates_(std::move(updates)), id_(id) {}
  std::shared_ptr<Updates> updates_;  // null: nothing is registered
  uint64_t id_ = 0;
};

class Registry {
 public:
  Registry();
  ~Registry();
  Counter& AddCounter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& AddGauge(const std::string& name, const std::string& help, const Labels& labels = {});
  Histogram& AddHistogram(const std::string& name, const std::string& help, const Labels& labels = {},
                          const std::vector<double>& buckets = LatencyBuckets());
  // Takes a series out; `counter` is no longer valid. Only for the values of an open set (top_counters.h).
  void Remove(const std::string& name, Counter& counter);
  // Calls `update` before each scrape, to set gauges from live state, until the handle goes.
  // `update` must not block, and neither register nor unregister an update.
  CollectHandle OnCollect(std::function<void()> update);
  std::string Serialize(Format format = Format::kPrometheus) const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

// Observes the time from construction to destruction.
class Timer {
 public:
  explicit Timer(Histogram& histogram);
  ~Timer();

 private:
  Histogram& histogram_;
  const int64_t start_nanos_;
};

}  // namespace posthouse::metrics
