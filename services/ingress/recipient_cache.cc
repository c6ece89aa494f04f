#include "services/ingress/recipient_cache.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace posthouse::ingress {
namespace {
constexpr size_t kMaxChangedAccounts = 10000;  // then everything is forgotten instead

std::string Key(absl::string_view address, bool may_relay) { return absl::StrCat(may_relay ? "1" : "0", address); }
}  // namespace

std::optional<Resolution> RecipientCache::Find(absl::string_view address, bool may_relay, absl::Time now) {
  const std::string key = Key(address, may_relay);
  absl::MutexLock lock(&mutex_);
  if (const auto it = young_.find(key); it != young_.end()) {
    if (Usable(it->second, now)) return it->second.resolution;
    young_.erase(it);
    return std::nullopt;
  }
  const auto it = old_.find(key);
  if (it == old_.end()) return std::nullopt;
  Entry entry = std::move(it->second);
  old_.erase(it);
  if (!Usable(entry, now)) return std::nullopt;
  Resolution resolution = entry.resolution;
  Insert(key, std::move(entry));
  return resolution;
}

bool RecipientCache::Usable(const Entry& entry, absl::Time now) const {
  if (entry.expires <= now || entry.stored < forget_all_) return false;
  if (entry.resolution.account_id.empty()) return entry.stored >= forget_mixed_;
  const auto it = forget_.find(entry.resolution.account_id);
  return it == forget_.end() || entry.stored >= it->second;
}

void RecipientCache::Forget(const AccountId& account, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  forget_mixed_ = now + kSettle;
  if (forget_.size() >= kMaxChangedAccounts) {
    forget_all_ = forget_mixed_;
    forget_.clear();
  }
  forget_.insert_or_assign(account, forget_mixed_);
}

void RecipientCache::ForgetAll(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  forget_all_ = now + kSettle;
  forget_.clear();
}

void RecipientCache::Put(absl::string_view address, bool may_relay, const Resolution& resolution, absl::Time now,
                         absl::Time expires) {
  if (half_ == 0) return;
  const std::string key = Key(address, may_relay);
  absl::MutexLock lock(&mutex_);
  Insert(key, Entry{resolution, now, expires});
}

void RecipientCache::Insert(const std::string& key, Entry entry) {
  young_[key] = std::move(entry);
  if (young_.size() < half_) return;
  old_ = std::exchange(young_, Map());
}

}  // namespace posthouse::ingress
