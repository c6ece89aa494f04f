#include "services/queue/delivery/host_list.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace posthouse::queue {
namespace {
constexpr int kFirstAddressesOfHost = 2;
constexpr size_t kMaxUnreachable = 10000;
}  // namespace

std::string HostAddress::PoolKey() const { return absl::StrCat(endpoint.ToString(), "|", host, "|", tls); }

std::vector<HostAddress> AddressesOf(const routing::v1::ResolveDestinationResponse& answer) {
  std::vector<HostAddress> first;
  std::vector<HostAddress> others;
  for (const routing::v1::Host& host : answer.hosts()) {
    int n = 0;
    for (const std::string& address : host.addresses()) {
      const auto port = static_cast<uint16_t>(host.port() == 0 ? 25 : host.port());
      (n < kFirstAddressesOfHost ? first : others).push_back({host.name(), {address, port}, host.tls(), n});
      ++n;
    }
  }
  first.insert(first.end(), others.begin(), others.end());
  return first;
}

void UnreachableHosts::Add(const HostAddress& host, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  if (failed_.size() >= kMaxUnreachable) failed_.clear();  // it fills again with the hosts in use
  failed_[host.endpoint.ToString()] = now;
}

void UnreachableHosts::Remove(const HostAddress& host) {
  absl::MutexLock lock(&mutex_);
  if (!failed_.empty()) failed_.erase(host.endpoint.ToString());
}

std::vector<HostAddress> UnreachableHosts::Choose(std::vector<HostAddress> all, size_t max, absl::Time now) const {
  std::vector<absl::Time> failed(all.size(), absl::InfinitePast());
  {
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < all.size() && !failed_.empty(); ++i) {
      const auto it = failed_.find(all[i].endpoint.ToString());
      if (it != failed_.end()) failed[i] = it->second;
    }
  }
  std::vector<size_t> chosen(all.size());
  std::iota(chosen.begin(), chosen.end(), 0);
  if (chosen.size() > max) {
    std::sort(chosen.begin(), chosen.end(),
              [&](size_t a, size_t b) { return std::pair(all[a].nth, a) < std::pair(all[b].nth, b); });
    const auto half = static_cast<ptrdiff_t>(max - max / 2);
    std::sort(chosen.begin() + half, chosen.end(), [&](size_t a, size_t b) {
      return std::tuple(failed[a], all[a].nth, a) < std::tuple(failed[b], all[b].nth, b);
    });
    chosen.resize(max);
    std::sort(chosen.begin(), chosen.end());
  }
  std::vector<HostAddress> hosts;
  hosts.reserve(chosen.size());
  for (const bool lately : {false, true}) {
    for (const size_t i : chosen) {
      if ((failed[i] + keep_ > now) == lately) hosts.push_back(std::move(all[i]));
    }
  }
  return hosts;
}

}  // namespace posthouse::queue
