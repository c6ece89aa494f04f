// Metrics of a process: prometheus-cpp behind a header without it.
//
// Names are posthouse_<service>_<what>_<unit>; labels come from closed sets, never
// from a peer (no address, no domain). A metric shows zero from the moment it is
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

// How often values fell into each bucket.
class Histogram {
 public:
  explicit Histogram(prometheus::Histogram& metric) : metric_(metric) {}
  void Observe(double value);
  void Observe(absl::Duration d) { Observe(absl::ToDoubleSeconds(d)); }

 private:
  prometheus::Histogram& metric_;
};

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
  // Calls `update` before each scrape, to set gauges from live state, until the handle goes.
  // `update` must not block, and neither register nor unregister an update.
  CollectHandle OnCollect(std::function<void()> update);
  // Prometheus text exposition format.
  std::string Serialize() const;

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
