#include "services/common/metrics/exemplars.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"

namespace posthouse::metrics {

Exemplars::Exemplars(std::vector<double> bounds) : bounds_(std::move(bounds)) {}

void Exemplars::Put(double value, absl::string_view trace_id, absl::Time at) {
  if (trace_id.size() != kTraceIdDigits || !std::all_of(trace_id.begin(), trace_id.end(), absl::ascii_isxdigit)) return;
  // As prometheus::Histogram finds it: a bucket includes its upper bound.
  const auto bucket = static_cast<size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin());
  if (!mutex_.TryLock()) return;
  if (by_bucket_.empty()) by_bucket_.resize(bounds_.size() + 1);
  Exemplar& exemplar = by_bucket_[bucket].emplace();
  std::copy(trace_id.begin(), trace_id.end(), exemplar.trace_id.begin());
  exemplar.value = value;
  exemplar.at = at;
  mutex_.Unlock();
}

std::optional<Exemplar> Exemplars::Of(size_t bucket) const {
  absl::MutexLock lock(&mutex_);
  return bucket < by_bucket_.size() ? by_bucket_[bucket] : std::nullopt;
}

}  // namespace posthouse::metrics
