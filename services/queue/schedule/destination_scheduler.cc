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
  return 1;
}

size_t DestinationScheduler::LineLimit() const {
  if (waiting_ < options_.max_waiting / 2) return options_.max_waiting_per_site;
  if (waiting_ < options_.max_waiting) return std::max(kShortLine, options_.max_waiting_per_site / 10);
  return waiting_ < options_.max_waiting * 2 ? kShortLine : 0;
}

bool DestinationScheduler::MayStart(const Site& site, absl::Time now) const {
  return !site.waiting.empty() && site.running < site.limit && site.blocked_until <= now;
}

DestinationScheduler::Standing DestinationScheduler::StandingOf(const Site& site, absl::Time now) const {
  if (site.failures > 0) return kDoubtful;
  if (now - site.last_success <= options_.proven_for) return kProven;
  return !site.waiting.empty() && site.waiting.front().tried ? kDoubtful : kFresh;
}

bool DestinationScheduler::HasRoom(Standing standing) const {
  if (running_remote() >= options_.max_remote) return false;
  if (standing == kProven) return true;
  if (running_remote_[kFresh] + running_remote_[kDoubtful] >= std::max(1, options_.max_remote / 2)) return false;
  return standing == kFresh || running_remote_[kDoubtful] < std::max(1, options_.max_remote / 4);
}

void DestinationScheduler::Charge(Site& site, Standing standing) {
  running_remote_[site.charged] -= site.running;
  site.charged = standing;
  running_remote_[site.charged] += site.running;
}

void DestinationScheduler::TakeTurn(const Destination& name, Site& site, absl::Time now) {
  if (std::exchange(site.in_turn, true)) return;
  (site.remote ? remote_turns_[StandingOf(site, now)] : local_turns_).push_back(name);
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
  TakeTurn(name, site, now);
  return Offer::kWaiting;
}

std::optional<DestinationScheduler::Started> DestinationScheduler::Next(absl::Time now) {
  if (running_local_ < options_.max_local) {
    if (std::optional<Started> started = NextOf(local_turns_, std::nullopt, now)) return started;
  }
  // Twice round: a site whose standing has changed moves to another round, which may have been looked at already.
  for (int i = 0; i < 2 * kStandings; ++i) {
    const auto standing = static_cast<Standing>((next_standing_ + i) % kStandings);
    if (!HasRoom(standing)) continue;
    std::optional<Started> started = NextOf(remote_turns_[standing], standing, now);
    if (!started.has_value()) continue;
    next_standing_ = (standing + 1) % kStandings;
    return started;
  }
  return std::nullopt;
}

std::optional<DestinationScheduler::Started> DestinationScheduler::NextOf(Turns& turns,
                                                                          std::optional<Standing> standing,
                                                                          absl::Time now) {
  // A site that may not start now leaves the round; Done() or time brings it back.
  while (!turns.empty()) {
    const Destination name = std::move(turns.front());
    turns.pop_front();
    Site& site = *sites_.at(name);
    site.in_turn = false;
    // A remote site of which nothing was heard for long begins anew.
    if (site.remote && site.running == 0 && now - site.last_success > options_.proven_for) site.limit = 1;
    if (!MayStart(site, now)) continue;
    if (standing.has_value() && StandingOf(site, now) != *standing) {
      TakeTurn(name, site, now);  // in another round
      continue;
    }
    Started started{std::move(site.waiting.front()), name};
    site.waiting.pop_front();
    --waiting_;
    if (standing.has_value()) {
      Charge(site, *standing);
      ++running_remote_[*standing];
    } else {
      ++running_local_;
    }
    ++site.running;
    if (MayStart(site, now)) TakeTurn(name, site, now);
    return started;
  }
  return std::nullopt;
}

void DestinationScheduler::Done(const Destination& name, absl::Time now) {
  Site& site = Get(name);
  if (site.running > 0) {
    --site.running;
    --(site.remote ? running_remote_[site.charged] : running_local_);
  }
  if (!site.waiting.empty()) TakeTurn(name, site, now);
}

std::vector<Job> DestinationScheduler::Report(const Destination& name, Reachability result, absl::Time now,
                                              double random) {
  Site& site = Get(name);
  std::vector<Job> returned;
  if (result == Reachability::kSuccess) {
    site.failures = 0;
    site.failing_since = absl::InfiniteFuture();
    site.last_failure = nullptr;
    site.blocked_until = absl::InfinitePast();
    site.last_success = now;
    site.limit = site.remote
                     ? std::min(std::max(site.limit + 1, options_.first_per_remote_site), options_.max_per_remote_site)
                     : FirstLimit(name);
  } else if (result == Reachability::kUnreachable && site.blocked_until <= now) {
    // Jobs that were running when the site was blocked fail too: that is one failure.
    if (site.failures++ == 0) site.failing_since = now;
    site.limit = 1;  // the probe
    site.blocked_until =
        now + BackoffDelay(site.remote ? options_.remote_block : options_.local_block, site.failures, random);
    returned.assign(std::make_move_iterator(site.waiting.begin()), std::make_move_iterator(site.waiting.end()));
    waiting_ -= returned.size();
    site.waiting.clear();
    if (!returned.empty()) SetRefusedWork(site, true);
  }
  if (site.remote) Charge(site, StandingOf(site, now));
  if (MayStart(site, now)) TakeTurn(name, site, now);
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

void DestinationScheduler::NoteFailure(const Destination& name, v1::Attempt failure) {
  Get(name).last_failure = std::make_unique<v1::Attempt>(std::move(failure));
}

DestinationScheduler::Counts DestinationScheduler::Count(absl::Time now) const {
  Counts counts;
  for (const auto& [name, site] : sites_) {
    if (site->blocked_until > now) {
      ++counts.blocked;
    } else if (site->remote) {
      ++counts.remote[StandingOf(*site, now)];
    }
  }
  return counts;
}

DestinationScheduler::SiteState DestinationScheduler::StateOf(const Destination& name, const Site& site) {
  SiteState state{.site = name,
                  .waiting = site.waiting.size(),
                  .running = site.running,
                  .limit = site.limit,
                  .failures = site.failures,
                  .failing_since = site.failing_since,
                  .blocked_until = site.blocked_until,
                  .last_failure = {}};
  if (site.last_failure != nullptr) state.last_failure = *site.last_failure;
  return state;
}

std::optional<DestinationScheduler::SiteState> DestinationScheduler::StateOf(const Destination& name) const {
  const auto it = sites_.find(name);
  if (it == sites_.end()) return std::nullopt;
  return StateOf(name, *it->second);
}

std::vector<DestinationScheduler::SiteState> DestinationScheduler::States(absl::Time now) const {
  std::vector<SiteState> states;
  for (const auto& [name, site] : sites_) {
    if (site->running == 0 && site->waiting.empty() && site->blocked_until <= now) continue;
    states.push_back(StateOf(name, *site));
  }
  return states;
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
