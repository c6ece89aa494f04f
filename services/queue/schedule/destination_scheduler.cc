#include "services/queue/schedule/destination_scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"

namespace posthouse::queue {
namespace {
constexpr size_t kManySites = 20000;
constexpr size_t kShortLine = 4;
}  // namespace

DestinationScheduler::DestinationScheduler(const SchedulerOptions& options)
    : options_(options), forget_at_(kManySites) {}

bool DestinationScheduler::IsLocal(absl::string_view site) {
  return site == kPrepareSite || absl::StartsWith(site, "local/");
}

DestinationScheduler::Site& DestinationScheduler::Get(const std::string& name) {
  std::unique_ptr<Site>& site = sites_[name];
  if (site == nullptr) {
    site = std::make_unique<Site>();
    site->local = IsLocal(name);
    site->limit = LimitOf(name);
  }
  return *site;
}

int DestinationScheduler::LimitOf(const std::string& name) const {
  if (name == kPrepareSite) return std::max(1, options_.max_local / 4);
  if (IsLocal(name)) return std::max(1, options_.max_local * 3 / 4);
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

void DestinationScheduler::Enqueue(const std::string& name, Site& site) {
  if (std::exchange(site.in_turn, true)) return;
  (site.local ? local_turns_ : remote_turns_).push_back(name);
}

DestinationScheduler::Offer DestinationScheduler::Add(const std::string& name, Job job, absl::Time now) {
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
  Enqueue(name, site);
  return Offer::kWaiting;
}

std::optional<DestinationScheduler::Started> DestinationScheduler::Next(absl::Time now) {
  for (const bool local : {true, false}) {
    std::deque<std::string>& turns = local ? local_turns_ : remote_turns_;
    int& running = local ? running_local_ : running_remote_;
    if (running >= (local ? options_.max_local : options_.max_remote)) continue;
    // A site that may not start now leaves the round; Done() or time brings it back.
    while (!turns.empty()) {
      const std::string name = std::move(turns.front());
      turns.pop_front();
      Site& site = *sites_.at(name);
      site.in_turn = false;
      if (!MayStart(site, now)) continue;
      Started started{std::move(site.waiting.front()), name};
      site.waiting.pop_front();
      --waiting_;
      ++site.running;
      ++running;
      if (MayStart(site, now)) Enqueue(name, site);
      return started;
    }
  }
  return std::nullopt;
}

void DestinationScheduler::Done(const std::string& name) {
  Site& site = Get(name);
  if (site.running > 0) {
    --site.running;
    --(site.local ? running_local_ : running_remote_);
  }
  if (!site.waiting.empty()) Enqueue(name, site);
}

std::vector<Job> DestinationScheduler::Report(const std::string& name, Result result, absl::Time now, double random) {
  Site& site = Get(name);
  std::vector<Job> returned;
  if (result == Result::kSuccess) {
    site.failures = 0;
    site.blocked_until = absl::InfinitePast();
    if (site.local) {
      site.limit = LimitOf(name);
    } else if (site.limit < options_.max_per_remote_site) {
      ++site.limit;
    }
  } else if (result == Result::kUnreachable && site.blocked_until <= now) {
    // Jobs that were running when it was blocked fail too; they say nothing new.
    ++site.failures;
    site.limit = 1;  // the probe
    site.blocked_until =
        now + BackoffDelay(site.local ? options_.local_block : options_.remote_block, site.failures, random);
    returned.assign(std::make_move_iterator(site.waiting.begin()), std::make_move_iterator(site.waiting.end()));
    waiting_ -= returned.size();
    site.waiting.clear();
    if (!returned.empty()) SetRefusedWork(site, true);
  }
  if (MayStart(site, now)) Enqueue(name, site);
  return returned;
}

void DestinationScheduler::SetRefusedWork(Site& site, bool refused_work) {
  if (site.refused_work == refused_work) return;
  site.refused_work = refused_work;
  refused_work ? ++refusing_ : --refusing_;
}

absl::Time DestinationScheduler::BlockedUntil(const std::string& name) const {
  const auto it = sites_.find(name);
  return it == sites_.end() ? absl::InfinitePast() : it->second->blocked_until;
}

void DestinationScheduler::Unblock(const std::string& name) {
  const auto it = sites_.find(name);
  if (it != sites_.end()) it->second->blocked_until = absl::InfinitePast();
}

bool DestinationScheduler::TakeRefusedWork(absl::Time now) {
  bool any = false;
  for (auto& [name, site] : sites_) {
    // A full line is worth a scan when it is short again.
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
  // What a site has earned or failed is worth remembering only while it matters.
  absl::erase_if(sites_, [now](const auto& entry) {
    const Site& site = *entry.second;
    return site.running == 0 && site.waiting.empty() && !site.in_turn && !site.refused_work &&
           site.blocked_until <= now;
  });
  // Those that stay are not looked at again for each new one.
  forget_at_ = std::max(kManySites, sites_.size() * 2);
}

}  // namespace posthouse::queue
