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
#include <vector>

#include "absl/time/time.h"

namespace posthouse::metrics {

using Labels = std::map<std::string, std::string>;

class Counter {
 public:
  virtual ~Counter() = default;
  virtual void Add(double n = 1) = 0;
  virtual double Value() const = 0;
};

class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void Set(double value) = 0;
  virtual void Add(double n) = 0;
  virtual double Value() const = 0;
};

class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void Observe(double value) = 0;
  void Observe(absl::Duration d) { Observe(absl::ToDoubleSeconds(d)); }
};

// Seconds from 100 us to 60 s; right for most waits.
const std::vector<double>& LatencyBuckets();

class Registry {
 public:
  Registry();
  ~Registry();
  Counter& AddCounter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& AddGauge(const std::string& name, const std::string& help, const Labels& labels = {});
  Histogram& AddHistogram(const std::string& name, const std::string& help, const Labels& labels = {},
                          const std::vector<double>& buckets = LatencyBuckets());
  // Called before each scrape, to set gauges from live state. Must not block, nor
  // add an OnCollect(). What it captures must outlive the last scrape.
  void OnCollect(std::function<void()> update);
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
