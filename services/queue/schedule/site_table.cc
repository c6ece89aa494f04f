#include "services/queue/schedule/site_table.h"

#include <utility>

namespace posthouse::queue {

const Destination* SiteTable::Find(const Destination& domain, absl::Time now) const {
  const auto it = known_.find(domain);
  return it == known_.end() || it->second.until <= now ? nullptr : &it->second.site;
}

void SiteTable::Remember(const Destination& domain, const Destination& site, absl::Time until) {
  if (known_.size() >= options_.max_known) known_.clear();  // it fills again with the domains in use
  known_[domain] = {site, until};
}

bool SiteTable::Park(Job job, bool backlog) {
  if (parked_count_ >= options_.max_parked) return false;
  const auto [it, added] = parked_.try_emplace(job.destination);
  Parked& parked = it->second;
  if (added && backlog) {
    backlog_.push_back(job.destination);
  } else if (!backlog && parked.turn == Turn::kBacklog) {
    parked.turn = Turn::kFirst;
    first_.push_back(job.destination);
  }
  parked.jobs.push_back(std::move(job));
  ++parked_count_;
  return true;
}

std::optional<Destination> SiteTable::NextLookup() {
  if (lookups_ >= options_.max_lookups) return std::nullopt;
  const auto take = [this](std::deque<Destination>& line, bool backlog) {
    Destination domain = std::move(line.front());
    line.pop_front();
    Parked& parked = parked_.at(domain);
    parked.turn = Turn::kAsked;
    parked.counts_as_backlog = backlog;
    ++lookups_;
    if (backlog) ++backlog_lookups_;
    return domain;
  };
  if (!first_.empty()) return take(first_, false);
  while (!backlog_.empty() && backlog_lookups_ < options_.max_backlog_lookups) {
    const auto it = parked_.find(backlog_.front());
    if (it != parked_.end() && it->second.turn == Turn::kBacklog) return take(backlog_, true);
    backlog_.pop_front();  // it has moved to the others, or was answered there
  }
  return std::nullopt;
}

std::vector<Job> SiteTable::Answered(const Destination& domain, const std::optional<Destination>& site,
                                     absl::Time now) {
  if (site.has_value()) {
    Learn(domain, *site);
  } else {
    Remember(domain, domain, now + options_.retry_lookup);
  }
  --lookups_;
  const auto it = parked_.find(domain);
  if (it == parked_.end()) return {};
  if (it->second.counts_as_backlog) --backlog_lookups_;
  std::vector<Job> jobs = std::move(it->second.jobs);
  parked_.erase(it);
  parked_count_ -= jobs.size();
  return jobs;
}

}  // namespace posthouse::queue
