// TopCounters: counters for the values of an open set, as the domains that get mail. The values that occur most have
// series of their own, and all others share the value "other". The number of series is bounded, and their sum is right.
//
// A value without a series is weighed beside the others (the Space-Saving algorithm of Metwally et al., 2005, with
// weights that halve every ten minutes). Once a minute values that became more frequent take the place of those that
// became rare; the series of the latter ends. A series counts from the moment it was made.
//
// Threads: any.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::metrics {

struct TopCountersOptions {
  std::string name, help;
  std::string label;               // of the value
  std::string kind;                // a second label, from a closed set
  std::vector<std::string> kinds;  // its values
  size_t values = 20;              // with series of their own; one series for each of `kinds`
};

class TopCounters {
 public:
  TopCounters(Registry& registry, TopCountersOptions options);
  // `kind`: an index of options.kinds. `now`: of a clock that never steps. A value that is not printable ASCII, or is
  // longer than 255 bytes, counts as "other".
  void Add(absl::string_view value, size_t kind, absl::Time now);

 private:
  struct Entry {
    double weight = 0;
    double error = 0;                // how much of the weight may be of values that it replaced
    std::vector<Counter*> counters;  // empty: it counts as "other"
    double sure() const { return weight - error; }
  };
  using Entries = std::map<std::string, Entry, std::less<>>;
  std::vector<Counter*> NewSeries(const std::string& value);
  void EndSeries(Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Entry& EntryOf(absl::string_view value) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Rank(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Registry& registry_;
  const TopCountersOptions options_;
  const std::vector<Counter*> other_;
  absl::Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);
  size_t with_series_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time ranked_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace posthouse::metrics
