#include "services/queue/delivery/host_list.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace posthouse::queue {
namespace {
constexpr int kFirstAddressesOfHost = 2;
constexpr size_t kMaxUnreachable = 10000;
}  // namespace

std::string HostAddress::PoolKey() const { return absl::StrCat(endpoint.ToString(), "|", host, "|", tls); }

std::vector<HostAddress> AddressesToTry(const routing::v1::ResolveDestinationResponse& answer, size_t max) {
  std::vector<HostAddress> first;
  std::vector<HostAddress> others;
  for (const routing::v1::Host& host : answer.hosts()) {
    int n = 0;
    for (const std::string& address : host.addresses()) {
      const auto port = static_cast<uint16_t>(host.port() == 0 ? 25 : host.port());
      (n++ < kFirstAddressesOfHost ? first : others).push_back({host.name(), {address, port}, host.tls()});
    }
  }
  first.insert(first.end(), others.begin(), others.end());
  if (first.size() > max) first.erase(first.begin() + static_cast<ptrdiff_t>(max), first.end());
  return first;
}

void UnreachableHosts::Add(const HostAddress& host, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  if (until_.size() >= kMaxUnreachable) until_.clear();  // it fills again with the hosts in use
  until_[host.endpoint.ToString()] = now + keep_;
}

void UnreachableHosts::Remove(const HostAddress& host) {
  absl::MutexLock lock(&mutex_);
  if (!until_.empty()) until_.erase(host.endpoint.ToString());
}

void UnreachableHosts::MoveLast(absl::Time now, std::vector<HostAddress>* hosts) const {
  absl::MutexLock lock(&mutex_);
  if (until_.empty()) return;
  std::vector<HostAddress> last;
  std::erase_if(*hosts, [&](HostAddress& host) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const auto it = until_.find(host.endpoint.ToString());
    const bool unreachable = it != until_.end() && it->second > now;
    if (unreachable) last.push_back(host);
    return unreachable;
  });
  hosts->insert(hosts->end(), last.begin(), last.end());
}

}  // namespace posthouse::queue
