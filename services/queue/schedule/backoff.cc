#include "services/queue/schedule/backoff.h"

#include <algorithm>
#include <cmath>

namespace posthouse::queue {

absl::Duration BackoffDelay(const BackoffPolicy& policy, int failures, double random) {
  const double min = absl::ToDoubleSeconds(policy.min);
  const double max = std::max(min, absl::ToDoubleSeconds(policy.max));
  // pow() may overflow to infinity, which min() brings back.
  const double plain = std::min(max, min * std::pow(std::max(policy.factor, 1.0), std::max(failures, 1) - 1));
  return absl::Seconds(plain * (1 + policy.jitter * (2 * random - 1)));
}

}  // namespace posthouse::queue
