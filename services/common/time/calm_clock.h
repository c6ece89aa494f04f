// CalmClock: the time of day without the steps of the wall clock.
//
// An administrator, a time service or a hypervisor may set the wall clock by seconds or by
// years, and set it back. What a process has planned must not wait, or be given up, for
// that. So CalmClock goes on at the pace of the monotonic clock. It follows small
// corrections at once, but never backwards. It follows a step once the step has lasted for
// `adopt_after`, as the new time is then likely to be right.
//
// Threads: any.
#pragma once

#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace posthouse {

// The monotonic clock. Only differences mean something: it begins at some moment before the process did.
absl::Time MonotonicNow();

class CalmClock {
 public:
  struct Options {
    std::function<absl::Time()> wall = [] { return absl::Now(); };
    std::function<absl::Time()> monotonic = MonotonicNow;
    absl::Duration small = absl::Seconds(1);        // a larger difference is a step
    absl::Duration adopt_after = absl::Minutes(5);  // of the monotonic clock
  };
  CalmClock() : CalmClock(Options()) {}
  explicit CalmClock(Options options);

  absl::Time Now();

  // How much of Now() - `since` is not time that passed, but steps forward that the clock adopted after
  // `since` (a time of this clock). What is given up by age subtracts it.
  absl::Duration SteppedSince(absl::Time since) const;
  // The sum of the steps back that the clock adopted since the last call. What was planned before them lies
  // that far in the future.
  absl::Duration TakeStepsBack();

 private:
  struct Step {
    absl::Time before;  // the last time of this clock before the step
    absl::Duration by;  // positive
  };
  const Options options_;
  mutable absl::Mutex mutex_;
  // At the monotonic time `anchor_monotonic_` this clock says `anchor_`.
  absl::Time anchor_ ABSL_GUARDED_BY(mutex_);
  absl::Time anchor_monotonic_ ABSL_GUARDED_BY(mutex_);
  // Since when (monotonic) the wall clock differs by a step, and by how much.
  absl::Time differs_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  absl::Duration differs_by_ ABSL_GUARDED_BY(mutex_);
  std::vector<Step> steps_ ABSL_GUARDED_BY(mutex_);  // the newest few
  absl::Duration steps_back_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse
