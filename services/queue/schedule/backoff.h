// Backoff: how long to wait after a failure.
//
// RFC 5321 §4.5.4.1: the retry interval should be at least 30 minutes in the long run; the
// first few retries may come sooner. Pure functions; threads: any.
#pragma once

#include "absl/time/time.h"

namespace posthouse::queue {

// The waits between attempts: `min`, then `factor` times the last one, up to `max`.
struct BackoffPolicy {
  absl::Duration min = absl::Minutes(1);
  absl::Duration max = absl::Hours(1);
  double factor = 2;
  double jitter = 0.2;  // the delay is spread over +-20 %
};

// The wait after failure number `failures` (1 is the first): min * factor^(failures-1), at
// most max, spread by `random` in [0, 1).
absl::Duration BackoffDelay(const BackoffPolicy& policy, int failures, double random);

}  // namespace posthouse::queue
