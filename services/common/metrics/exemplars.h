// Exemplars of a histogram: for each bucket the trace of the last value in it that had one.
// Threads: any. A Put() that meets another one of the same histogram is dropped: it never waits.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace posthouse::metrics {

inline constexpr size_t kTraceIdDigits = 32;

struct Exemplar {
  std::array<char, kTraceIdDigits> trace_id{};
  double value = 0;
  absl::Time at;
};

class Exemplars {
 public:
  // Upper bounds of the buckets, rising; one more bucket has what is greater.
  explicit Exemplars(std::vector<double> bounds);
  void Put(double value, absl::string_view trace_id, absl::Time at);
  // Of the bucket with this number.
  std::optional<Exemplar> Of(size_t bucket) const;

 private:
  const std::vector<double> bounds_;
  mutable absl::Mutex mutex_;
  std::vector<std::optional<Exemplar>> by_bucket_ ABSL_GUARDED_BY(mutex_);  // empty before the first
};

}  // namespace posthouse::metrics
