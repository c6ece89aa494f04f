#include "services/routing/local_network.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <sys/socket.h>
#include <unistd.h>

#include "services/common/ip_address/ip_address.h"

namespace posthouse::routing {
namespace {

constexpr std::chrono::minutes kRefresh{1};

std::string ToText(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  } else if (address->sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof text);
  }
  return text;
}

bool IsWildcard(const std::string& address) { return address == "0.0.0.0" || address == "::"; }

}  // namespace

SystemNetwork::SystemNetwork(std::vector<std::string> own, std::vector<net::Endpoint> listeners)
    : listeners_(std::move(listeners)) {
  for (const std::string& address : own) own_.insert(IpBytes(address));
}

bool SystemNetwork::IsOwnAddress(absl::string_view address) {
  const std::string bytes = IpBytes(address);
  if (!own_.empty()) return own_.contains(bytes);
  absl::MutexLock lock(&mutex_);
  Refresh();
  return interfaces_.contains(bytes) && !IsLoopback(address);
}

bool SystemNetwork::IsListener(const net::Endpoint& endpoint) {
  const std::string bytes = IpBytes(endpoint.address);
  for (const net::Endpoint& listener : listeners_) {
    if (listener.port == 0 || listener.port != endpoint.port) continue;
    if (IpBytes(listener.address) == bytes) return true;
    if (!IsWildcard(listener.address)) continue;
    absl::MutexLock lock(&mutex_);
    Refresh();
    if (IsLoopback(endpoint.address) || interfaces_.contains(bytes)) return true;
  }
  return false;
}

bool SystemNetwork::HasIpv6Route() {
  absl::MutexLock lock(&mutex_);
  Refresh();
  return ipv6_;
}

void SystemNetwork::Refresh() {
  const Clock::time_point now = Clock::now();
  if (asked_ && now - asked_at_ < kRefresh) return;
  asked_ = true;
  asked_at_ = now;
  ipv6_ = ProbeIpv6Route();
  interfaces_ = InterfaceAddresses();
}

bool ProbeIpv6Route() {
  const int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;  // no IPv6 in the kernel
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(53);
  // A root name server: any global address would do.
  inet_pton(AF_INET6, "2001:500:2::c", &to.sin6_addr);
  sockaddr_in6 from{};
  socklen_t size = sizeof from;
  const bool routed = connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 &&
                      getsockname(fd, reinterpret_cast<sockaddr*>(&from), &size) == 0;
  close(fd);
  // A route without a global source address (only fc00::/7) leads nowhere.
  return routed && IsGlobal(ToText(reinterpret_cast<const sockaddr*>(&from)));
}

absl::flat_hash_set<std::string> InterfaceAddresses() {
  absl::flat_hash_set<std::string> addresses;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return addresses;  // as if there were none: only a loop is noticed later
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr) continue;
    const std::string bytes = IpBytes(ToText(i->ifa_addr));
    if (!bytes.empty()) addresses.insert(bytes);
  }
  freeifaddrs(list);
  return addresses;
}

}  // namespace posthouse::routing
