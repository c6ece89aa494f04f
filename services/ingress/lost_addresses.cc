#include "services/ingress/lost_addresses.h"

#include <string>

#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "services/common/ip_address/ip_address.h"
#include "services/common/log/log.h"

namespace posthouse::ingress {

LostAddresses::LostAddresses(metrics::Registry& registry)
    : lost_(registry.AddGauge("posthouse_ingress_client_addresses_lost",
                              "Private addresses that stand for many clients, as when a balancer hides them.")) {}

bool LostAddresses::Saw(absl::string_view address, absl::string_view name, absl::Time now) {
  if (IsGlobal(address) || IsLoopback(address)) return false;
  const uint64_t hash = absl::Hash<std::string>()(absl::AsciiStrToLower(name));
  bool begins = false;
  {
    absl::MutexLock lock(&mutex_);
    auto it = clients_.find(address);
    if (it == clients_.end()) {
      if (clients_.size() >= kMaxAddresses) MakeRoom(now);
      it = clients_.emplace(std::string(address), Client{now, {}, absl::InfinitePast()}).first;
    }
    Client& client = it->second;
    if (now < client.window_start || now - client.window_start >= kWindow) {
      client.window_start = now;
      client.names.clear();
    }
    if (client.names.size() < kManyNames) client.names.insert(hash);
    const bool was_lost = client.lost_until > now;
    if (client.names.size() >= kManyNames) {
      client.lost_until = now + kForget;
      begins = !was_lost;
    } else if (!was_lost) {
      return false;
    }
  }
  if (begins) {
    LOG_EVENT(kWarning, "client_addresses_lost")
        .Str("client", address)
        .Int("helo_names", static_cast<int64_t>(kManyNames))
        .Str("effect", "relay_networks does not count for this address; let the balancer keep client addresses");
  }
  return true;
}

void LostAddresses::MakeRoom(absl::Time now) {
  auto oldest = clients_.end();
  for (auto it = clients_.begin(); it != clients_.end(); ++it) {
    if (it->second.lost_until > now) continue;
    if (oldest == clients_.end() || it->second.window_start < oldest->second.window_start) oldest = it;
  }
  clients_.erase(oldest == clients_.end() ? clients_.begin() : oldest);
}

void LostAddresses::Tick(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  double lost = 0;
  for (const auto& [address, client] : clients_) lost += client.lost_until > now ? 1 : 0;
  lost_.Set(lost);
}

}  // namespace posthouse::ingress
