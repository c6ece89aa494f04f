#include "services/ingress/recipient_cache.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace posthouse::ingress {
namespace {
std::string Key(absl::string_view address, bool may_relay) { return absl::StrCat(may_relay ? "1" : "0", address); }
}  // namespace

std::optional<Resolution> RecipientCache::Find(absl::string_view address, bool may_relay, absl::Time now) {
  const std::string key = Key(address, may_relay);
  absl::MutexLock lock(&mutex_);
  if (const auto it = young_.find(key); it != young_.end()) {
    if (it->second.expires > now) return it->second.resolution;
    young_.erase(it);
    return std::nullopt;
  }
  const auto it = old_.find(key);
  if (it == old_.end()) return std::nullopt;
  Entry entry = std::move(it->second);
  old_.erase(it);
  if (entry.expires <= now) return std::nullopt;
  Resolution resolution = entry.resolution;
  Insert(key, std::move(entry));
  return resolution;
}

void RecipientCache::Put(absl::string_view address, bool may_relay, const Resolution& resolution, absl::Time expires) {
  if (half_ == 0) return;
  const std::string key = Key(address, may_relay);
  absl::MutexLock lock(&mutex_);
  Insert(key, Entry{resolution, expires});
}

void RecipientCache::Insert(const std::string& key, Entry entry) {
  young_[key] = std::move(entry);
  if (young_.size() < half_) return;
  old_ = std::exchange(young_, Map());
}

}  // namespace posthouse::ingress
