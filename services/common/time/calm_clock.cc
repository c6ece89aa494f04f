#include "services/common/time/calm_clock.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace posthouse {
namespace {
constexpr size_t kMaxSteps = 32;
}  // namespace

absl::Time MonotonicNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

CalmClock::CalmClock(Options options) : options_(std::move(options)) {
  absl::MutexLock lock(&mutex_);
  anchor_ = options_.wall();
  anchor_monotonic_ = options_.monotonic();
}

absl::Time CalmClock::Now() {
  absl::MutexLock lock(&mutex_);
  const absl::Time monotonic = options_.monotonic();
  const absl::Time wall = options_.wall();
  const absl::Time calm = anchor_ + (monotonic - anchor_monotonic_);
  const absl::Duration off = wall - calm;
  const bool step = off > options_.small || off < -options_.small;
  if (!step) {
    differs_since_ = absl::InfiniteFuture();
    // Never backwards: a clock that is ahead stands still until the wall clock has caught up.
    anchor_ = std::max(wall, anchor_);
    anchor_monotonic_ = monotonic;
    return anchor_;
  }
  // Another step begins another wait.
  const absl::Duration change = off - differs_by_;
  if (differs_since_ == absl::InfiniteFuture() || change > options_.small || change < -options_.small) {
    differs_since_ = monotonic;
    differs_by_ = off;
  }
  anchor_ = calm;
  anchor_monotonic_ = monotonic;
  if (monotonic - differs_since_ < options_.adopt_after) return calm;
  if (off > absl::ZeroDuration()) {
    if (steps_.size() >= kMaxSteps) steps_.erase(steps_.begin());
    steps_.push_back({calm, off});
  } else {
    steps_back_ -= off;
  }
  differs_since_ = absl::InfiniteFuture();
  anchor_ = wall;
  return wall;
}

absl::Duration CalmClock::SteppedSince(absl::Time since) const {
  absl::MutexLock lock(&mutex_);
  absl::Duration sum;
  for (const Step& step : steps_) {
    if (since <= step.before) sum += step.by;
  }
  return sum;
}

absl::Duration CalmClock::TakeStepsBack() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(steps_back_, absl::ZeroDuration());
}

}  // namespace posthouse
