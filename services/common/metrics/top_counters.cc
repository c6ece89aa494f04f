#include "services/common/metrics/top_counters.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"

namespace posthouse::metrics {
namespace {

constexpr size_t kWeighedPerSeries = 8;
constexpr absl::Duration kRankEvery = absl::Minutes(1);
constexpr absl::Duration kHalfLife = absl::Minutes(10);
// A value must be so many times as frequent as the one whose series it takes: two equals do not take turns.
constexpr double kClearly = 2;
constexpr double kForgotten = 0.01;  // weight of a value that is not weighed any more
constexpr char kOther[] = "other";

bool Presentable(absl::string_view value) {
  return !value.empty() && value.size() <= 255 &&
         std::all_of(value.begin(), value.end(), [](char c) { return absl::ascii_isgraph(c); });
}

}  // namespace

TopCounters::TopCounters(Registry& registry, TopCountersOptions options)
    : registry_(registry), options_(std::move(options)), other_(NewSeries(kOther)) {}

std::vector<Counter*> TopCounters::NewSeries(const std::string& value) {
  std::vector<Counter*> counters;
  for (const std::string& kind : options_.kinds) {
    counters.push_back(
        &registry_.AddCounter(options_.name, options_.help, {{options_.label, value}, {options_.kind, kind}}));
  }
  return counters;
}

void TopCounters::EndSeries(Entry& entry) {
  for (Counter* counter : std::exchange(entry.counters, {})) registry_.Remove(options_.name, *counter);
  --with_series_;
}

// The entry of `value`. When there is no room for one more, the lightest without a series makes room.
TopCounters::Entry& TopCounters::EntryOf(absl::string_view value) {
  if (const auto it = entries_.find(value); it != entries_.end()) return it->second;
  Entry entry;
  if (entries_.size() >= options_.values * kWeighedPerSeries) {
    auto lightest = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (!it->second.counters.empty()) continue;
      if (lightest == entries_.end() || it->second.weight < lightest->second.weight) lightest = it;
    }
    entry.weight = entry.error = lightest->second.weight;
    entries_.erase(lightest);
  }
  return entries_.emplace(std::string(value), std::move(entry)).first->second;
}

void TopCounters::Add(absl::string_view value, size_t kind, absl::Time now) {
  if (!Presentable(value) || value == kOther) {
    other_.at(kind)->Add();
    return;
  }
  absl::MutexLock lock(&mutex_);
  if (ranked_ == absl::InfinitePast()) ranked_ = now;
  if (now - ranked_ >= kRankEvery) Rank(now);
  Entry& entry = EntryOf(value);
  entry.weight += 1;
  if (entry.counters.empty() && with_series_ < options_.values) {
    entry.counters = NewSeries(std::string(value));
    ++with_series_;
  }
  (entry.counters.empty() ? other_ : entry.counters).at(kind)->Add();
}

void TopCounters::Rank(absl::Time now) {
  const double factor = std::exp2(-absl::FDivDuration(now - ranked_, kHalfLife));
  ranked_ = now;
  for (auto it = entries_.begin(); it != entries_.end();) {
    Entry& entry = it->second;
    entry.weight *= factor;
    entry.error *= factor;
    if (entry.weight >= kForgotten) {
      ++it;
      continue;
    }
    if (!entry.counters.empty()) EndSeries(entry);
    it = entries_.erase(it);
  }
  // A quarter of the series may change at a time, which bounds how many series a day has.
  for (size_t changes = options_.values / 4; changes > 0; --changes) {
    auto rarest = entries_.end(), rising = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      const Entry& entry = it->second;
      if (entry.counters.empty()) {
        if (rising == entries_.end() || entry.sure() > rising->second.sure()) rising = it;
      } else if (rarest == entries_.end() || entry.weight < rarest->second.weight) {
        rarest = it;
      }
    }
    if (rarest == entries_.end() || rising == entries_.end()) return;
    if (rising->second.sure() < kClearly * rarest->second.weight) return;
    EndSeries(rarest->second);
    rising->second.counters = NewSeries(rising->first);
    ++with_series_;
  }
}

}  // namespace posthouse::metrics
