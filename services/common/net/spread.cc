#include "services/common/net/spread.h"

#include <algorithm>

#include "absl/random/distributions.h"

namespace posthouse::net {

std::vector<absl::Duration> SpreadOver(size_t count, absl::Duration over, absl::BitGenRef random) {
  std::vector<absl::Duration> times(count);
  if (over <= absl::ZeroDuration() || count == 0) return times;
  const absl::Duration slot = over / static_cast<double>(count);
  for (size_t i = 0; i < count; ++i) {
    times[i] = slot * (static_cast<double>(i) + absl::Uniform<double>(random, 0, 1));
    // Rounding may reach the next slot, and so the end.
    times[i] = std::min(times[i], over - absl::Nanoseconds(1));
  }
  return times;
}

}  // namespace posthouse::net
