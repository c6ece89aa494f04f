#include "services/directory/login_cache.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <string>

#include "services/common/status/status.h"

namespace posthouse::directory {

LoginCache::LoginCache(absl::Duration ttl, size_t max_entries) : ttl_(ttl), max_entries_(max_entries) {
  PH_CHECK(RAND_bytes(key_.data(), static_cast<int>(key_.size())) == 1);
}

LoginCache::Mac LoginCache::MacOf(const AccountId& account, absl::string_view password) const {
  // The account id has a fixed length, so the concatenation is unambiguous.
  std::string message = account.value();
  message.push_back('\0');
  message.append(password.data(), password.size());
  Mac mac{};
  unsigned int size = 0;
  PH_CHECK(HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
                reinterpret_cast<const unsigned char*>(message.data()), message.size(), mac.data(), &size) != nullptr);
  OPENSSL_cleanse(message.data(), message.size());
  return mac;
}

bool LoginCache::Contains(const AccountId& account, absl::string_view password, absl::Time now) const {
  if (ttl_ <= absl::ZeroDuration()) return false;
  const Mac mac = MacOf(account, password);
  absl::MutexLock lock(&mutex_);
  const auto it = entries_.find(account);
  if (it == entries_.end() || it->second.expires <= now) return false;
  return CRYPTO_memcmp(it->second.mac.data(), mac.data(), mac.size()) == 0;
}

uint64_t LoginCache::generation() const {
  absl::MutexLock lock(&mutex_);
  return generation_;
}

void LoginCache::Insert(const AccountId& account, absl::string_view password, uint64_t generation, absl::Time now) {
  if (ttl_ <= absl::ZeroDuration()) return;
  const Mac mac = MacOf(account, password);
  absl::MutexLock lock(&mutex_);
  if (generation != generation_) return;
  if (entries_.size() >= max_entries_ && !entries_.contains(account)) {
    absl::erase_if(entries_, [now](const auto& entry) { return entry.second.expires <= now; });
    // Still full: start again with an empty cache. Rare, and cheaper than an LRU list.
    if (entries_.size() >= max_entries_) entries_.clear();
  }
  entries_[account] = Entry{mac, now + ttl_};
}

void LoginCache::Forget(const AccountId& account) {
  absl::MutexLock lock(&mutex_);
  ++generation_;
  entries_.erase(account);
}

size_t LoginCache::size() const {
  absl::MutexLock lock(&mutex_);
  return entries_.size();
}

}  // namespace posthouse::directory
