#include "services/queue/schedule/destination_scheduler.h"

#include <algorithm>
#include <utility>

namespace posthouse::queue {
namespace {
constexpr size_t kManySites = 20000;
constexpr size_t kShortLine = 4;
}  // namespace

DestinationScheduler::DestinationScheduler(const SchedulerOptions& options)
    : options_(options), forget_at_(kManySites) {}

DestinationScheduler::Site& DestinationScheduler::Get(const Destination& name) {
  std::unique_ptr<Site>& site = sites_[name];
  if (site == nullptr) {
    site = std::make_unique<Site>();
    site->remote = name.remote();
    site->limit = FirstLimit(name);
  }
  return *site;
}

int DestinationScheduler::FirstLimit(const Destination& name) const {
  switch (name.kind()) {
    case Destination::Kind::kUnresolved:
      return std::max(1, options_.max_local / 4);
    case Destination::Kind::kLocal:
      return std::max(1, options_.max_local * 3 / 4);
    case Destination::Kind::kRemote:
      break;
  }
  return std::min(options_.first_per_remote_site, options_.max_per_remote_site);
}

size_t DestinationScheduler::LineLimit() const {
  if (waiting_ < options_.max_waiting / 2) return options_.max_waiting_per_site;
  if (waiting_ < options_.max_waiting) return std::max(kShortLine, options_.max_waiting_per_site / 10);
  return waiting_ < options_.max_waiting * 2 ? kShortLine : 0;
}

bool DestinationScheduler::MayStart(const Site& site, absl::Time now) const {
  return !site.waiting.empty() && site.running < site.limit && site.blocked_until <= now;
}

void DestinationScheduler::TakeTurn(const Destination& name, Site& site) {
  if (std::exchange(site.in_turn, true)) return;
  (site.remote ? remote_turns_ : local_turns_).push_back(name);
}

DestinationScheduler::Offer DestinationScheduler::Add(const Destination& name, Job job, absl::Time now) {
  Forget(now);
  Site& site = Get(name);
  if (site.blocked_until > now) {
    SetRefusedWork(site, true);
    return Offer::kBlocked;
  }
  if (site.waiting.size() >= LineLimit()) {
    SetRefusedWork(site, true);
    return Offer::kFull;
  }
  site.waiting.push_back(std::move(job));
  ++waiting_;
  TakeTurn(name, site);
  return Offer::kWaiting;
}

std::optional<DestinationScheduler::Started> DestinationScheduler::Next(absl::Time now) {
  for (const bool remote : {false, true}) {
    std::deque<Destination>& turns = remote ? remote_turns_ : local_turns_;
    int& running = remote ? running_remote_ : running_local_;
    if (running >= (remote ? options_.max_remote : options_.max_local)) continue;
    // A site that may not start now leaves the round; Done() or time brings it back.
    while (!turns.empty()) {
      const Destination name = std::move(turns.front());
      turns.pop_front();
      Site& site = *sites_.at(name);
      site.in_turn = false;
      if (!MayStart(site, now)) continue;
      Started started{std::move(site.waiting.front()), name};
      site.waiting.pop_front();
      --waiting_;
      ++site.running;
      ++running;
      if (MayStart(site, now)) TakeTurn(name, site);
      return started;
    }
  }
  return std::nullopt;
}

void DestinationScheduler::Done(const Destination& name) {
  Site& site = Get(name);
  if (site.running > 0) {
    --site.running;
    --(site.remote ? running_remote_ : running_local_);
  }
  if (!site.waiting.empty()) TakeTurn(name, site);
}

std::vector<Job> DestinationScheduler::Report(const Destination& name, Reachability result, absl::Time now,
                                              double random) {
  Site& site = Get(name);
  std::vector<Job> returned;
  if (result == Reachability::kSuccess) {
    site.failures = 0;
    site.blocked_until = absl::InfinitePast();
    if (!site.remote) {
      site.limit = FirstLimit(name);
    } else if (site.limit < options_.max_per_remote_site) {
      ++site.limit;
    }
  } else if (result == Reachability::kUnreachable && site.blocked_until <= now) {
    // Jobs that were running when the site was blocked fail too: that is one failure.
    ++site.failures;
    site.limit = 1;  // the probe
    site.blocked_until =
        now + BackoffDelay(site.remote ? options_.remote_block : options_.local_block, site.failures, random);
    returned.assign(std::make_move_iterator(site.waiting.begin()), std::make_move_iterator(site.waiting.end()));
    waiting_ -= returned.size();
    site.waiting.clear();
    if (!returned.empty()) SetRefusedWork(site, true);
  }
  if (MayStart(site, now)) TakeTurn(name, site);
  return returned;
}

void DestinationScheduler::SetRefusedWork(Site& site, bool refused) {
  if (site.refused_work == refused) return;
  site.refused_work = refused;
  refused ? ++refusing_ : --refusing_;
}

absl::Time DestinationScheduler::BlockedUntil(const Destination& name) const {
  const auto it = sites_.find(name);
  return it == sites_.end() ? absl::InfinitePast() : it->second->blocked_until;
}

void DestinationScheduler::Unblock(const Destination& name) {
  const auto it = sites_.find(name);
  if (it != sites_.end()) it->second->blocked_until = absl::InfinitePast();
}

bool DestinationScheduler::TakeRefusedWork(absl::Time now) {
  bool any = false;
  for (auto& [name, site] : sites_) {
    // A line that was full must be short again before a scan is worth its cost.
    if (!site->refused_work || site->blocked_until > now || site->waiting.size() > options_.max_waiting_per_site / 4)
      continue;
    SetRefusedWork(*site, false);
    any = true;
  }
  return any;
}

absl::Time DestinationScheduler::NextRefusedWork() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [name, site] : sites_) {
    if (site->refused_work && site->waiting.size() <= options_.max_waiting_per_site / 4) {
      next = std::min(next, site->blocked_until);
    }
  }
  return next;
}

size_t DestinationScheduler::blocked(absl::Time now) const {
  return static_cast<size_t>(std::count_if(sites_.begin(), sites_.end(),
                                           [now](const auto& entry) { return entry.second->blocked_until > now; }));
}

void DestinationScheduler::Forget(absl::Time now) {
  if (sites_.size() < forget_at_) return;
  // A site's limit and failures are forgotten once it has no jobs and is not blocked.
  absl::erase_if(sites_, [now](const auto& entry) {
    const Site& site = *entry.second;
    return site.running == 0 && site.waiting.empty() && !site.in_turn && !site.refused_work &&
           site.blocked_until <= now;
  });
  // The sites that stay are not looked at again for each new one.
  forget_at_ = std::max(kManySites, sites_.size() * 2);
}

}  // namespace posthouse::queue
