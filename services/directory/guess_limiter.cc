#include "services/directory/guess_limiter.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/ip_address/ip_address.h"

namespace posthouse::directory {
namespace {

constexpr size_t kMaxEntries = 200'000;
constexpr absl::Duration kRememberPair = absl::Hours(24 * 30);

struct ClientKeys {
  std::string address;  // "": unknown
  std::string network;
};

ClientKeys KeysOf(absl::string_view text) {
  if (!IsIpAddress(text)) return {};
  return {absl::StrCat("a", ClientOf(text)), absl::StrCat("n", NetworkOf(text, 24, 48))};
}

std::string AccountKey(absl::string_view account) { return absl::StrCat("u", account); }
std::string PairKey(const ClientKeys& client, absl::string_view account) {
  return absl::StrCat(client.address, "/", account);
}

// Removes an eighth of the entries, those with the smallest age or level first.
template <typename Map, typename Less>
void Shrink(Map& map, Less less) {
  if (map.size() < kMaxEntries) return;
  std::vector<typename Map::iterator> entries;
  entries.reserve(map.size());
  for (auto it = map.begin(); it != map.end(); ++it) entries.push_back(it);
  const auto end = entries.begin() + static_cast<std::ptrdiff_t>(entries.size() / 8);
  std::nth_element(entries.begin(), end, entries.end(), [&](auto a, auto b) { return less(a->second, b->second); });
  for (auto it = entries.begin(); it != end; ++it) map.erase(*it);
}

}  // namespace

double GuessLimiter::LevelAt(const Bucket& bucket, uint32_t limit, absl::Time now) const {
  const double emptied = absl::FDivDuration(std::max(now - bucket.at, absl::ZeroDuration()), limits_.window) * limit;
  return std::max(0.0, bucket.level - emptied);
}

std::optional<absl::Duration> GuessLimiter::Full(const Buckets& buckets, const std::string& key, uint32_t limit,
                                                 absl::Time now) const {
  if (limit == 0) return std::nullopt;
  const auto it = buckets.find(key);
  if (it == buckets.end()) return std::nullopt;
  const double over = LevelAt(it->second, limit, now) + 1 - limit;
  if (over <= 0) return std::nullopt;
  return limits_.window * (over / limit);
}

void GuessLimiter::Fill(Buckets& buckets, std::string key, uint32_t limit, absl::Time now) {
  if (limit == 0) return;
  Shrink(buckets, [](const Bucket& a, const Bucket& b) { return a.level < b.level; });
  Bucket& bucket = buckets[std::move(key)];
  bucket.level = std::min(LevelAt(bucket, limit, now) + 1, static_cast<double>(limit));
  bucket.at = now;
}

std::optional<GuessLimiter::Refusal> GuessLimiter::Ask(absl::string_view address, absl::string_view account,
                                                       absl::Time now) const {
  const ClientKeys client = KeysOf(address);
  absl::MutexLock lock(&mutex_);
  if (!client.address.empty()) {
    const std::string pair = PairKey(client, account);
    const auto proven = proven_.find(pair);
    if (proven != proven_.end() && now - proven->second < kRememberPair) {
      const std::optional<absl::Duration> wait = Full(pairs_, pair, limits_.per_address, now);
      return wait.has_value() ? std::optional(Refusal{GuessBucket::kAddress, *wait}) : std::nullopt;
    }
    if (const auto wait = Full(strangers_, client.address, limits_.per_address, now)) {
      return Refusal{GuessBucket::kAddress, *wait};
    }
    if (const auto wait = Full(strangers_, client.network, limits_.per_network, now)) {
      return Refusal{GuessBucket::kNetwork, *wait};
    }
  }
  if (const auto wait = Full(strangers_, AccountKey(account), limits_.per_account, now)) {
    return Refusal{GuessBucket::kAccount, *wait};
  }
  return std::nullopt;
}

void GuessLimiter::Wrong(absl::string_view address, absl::string_view account, absl::Time now) {
  const ClientKeys client = KeysOf(address);
  absl::MutexLock lock(&mutex_);
  if (!client.address.empty()) {
    std::string pair = PairKey(client, account);
    if (proven_.contains(pair)) return Fill(pairs_, std::move(pair), limits_.per_address, now);
    Fill(strangers_, client.address, limits_.per_address, now);
    Fill(strangers_, client.network, limits_.per_network, now);
  }
  Fill(strangers_, AccountKey(account), limits_.per_account, now);
}

void GuessLimiter::Right(absl::string_view address, absl::string_view account, absl::Time now) {
  const ClientKeys client = KeysOf(address);
  if (client.address.empty()) return;
  std::string pair = PairKey(client, account);
  absl::MutexLock lock(&mutex_);
  pairs_.erase(pair);
  Shrink(proven_, [](absl::Time a, absl::Time b) { return a < b; });
  proven_[std::move(pair)] = now;
}

size_t GuessLimiter::size() const {
  absl::MutexLock lock(&mutex_);
  return strangers_.size() + pairs_.size() + proven_.size();
}

}  // namespace posthouse::directory
