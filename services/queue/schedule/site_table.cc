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

bool SiteTable::Park(Job job) {
  if (parked_count_ >= options_.max_parked) return false;
  std::vector<Job>& jobs = parked_[job.destination];
  if (jobs.empty()) to_ask_.push_back(job.destination);
  jobs.push_back(std::move(job));
  ++parked_count_;
  return true;
}

std::optional<Destination> SiteTable::NextLookup() {
  if (to_ask_.empty() || lookups_ >= options_.max_lookups) return std::nullopt;
  Destination domain = std::move(to_ask_.front());
  to_ask_.pop_front();
  ++lookups_;
  return domain;
}

std::vector<Job> SiteTable::Answered(const Destination& domain, const std::optional<Destination>& site,
                                     absl::Time now) {
  --lookups_;
  if (site.has_value()) {
    Learn(domain, *site);
  } else {
    Remember(domain, domain, now + options_.retry_lookup);
  }
  const auto it = parked_.find(domain);
  if (it == parked_.end()) return {};
  std::vector<Job> jobs = std::move(it->second);
  parked_.erase(it);
  parked_count_ -= jobs.size();
  return jobs;
}

}  // namespace posthouse::queue
