// TtlCache: a bounded map whose entries expire. An expired entry stays for a while and is
// returned as not fresh, for use while the source does not answer.
//
// When there are too many entries, the least recently used one is dropped. Threads: any.
#pragma once

#include <cstddef>
#include <list>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace posthouse::routing {

template <typename Value>
class TtlCache {
 public:
  struct Hit {
    Value value;
    bool fresh = false;
    absl::Time stored;
    absl::Time expires;
  };

  // Entries stay for `stale_for` after they expire.
  TtlCache(size_t max_entries, absl::Duration stale_for) : max_entries_(max_entries), stale_for_(stale_for) {}

  std::optional<Hit> Get(absl::string_view key, absl::Time now) {
    absl::MutexLock lock(&mutex_);
    const auto it = by_key_.find(key);
    if (it == by_key_.end()) return std::nullopt;
    const Entry& entry = *it->second;
    if (entry.expires + stale_for_ <= now) {
      Erase(it);
      return std::nullopt;
    }
    by_use_.splice(by_use_.begin(), by_use_, it->second);
    return Hit{entry.value, now < entry.expires, entry.stored, entry.expires};
  }

  void Put(const std::string& key, Value value, absl::Duration ttl, absl::Time now) {
    if (max_entries_ == 0) return;
    absl::MutexLock lock(&mutex_);
    const auto it = by_key_.find(key);
    if (it != by_key_.end()) Erase(it);
    by_use_.push_front(Entry{key, std::move(value), now, now + ttl});
    by_key_[key] = by_use_.begin();
    while (by_use_.size() > max_entries_) Erase(by_key_.find(by_use_.back().key));
  }

  void Erase(absl::string_view key) {
    absl::MutexLock lock(&mutex_);
    const auto it = by_key_.find(key);
    if (it != by_key_.end()) Erase(it);
  }
  void Clear() {
    absl::MutexLock lock(&mutex_);
    by_key_.clear();
    by_use_.clear();
  }
  size_t size() const {
    absl::MutexLock lock(&mutex_);
    return by_use_.size();
  }

 private:
  struct Entry {
    std::string key;
    Value value;
    absl::Time stored, expires;
  };
  using ByKey = absl::flat_hash_map<std::string, typename std::list<Entry>::iterator>;

  void Erase(typename ByKey::iterator it) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const typename std::list<Entry>::iterator entry = it->second;
    by_key_.erase(it);
    by_use_.erase(entry);
  }

  const size_t max_entries_;
  const absl::Duration stale_for_;
  mutable absl::Mutex mutex_;
  std::list<Entry> by_use_ ABSL_GUARDED_BY(mutex_);  // newest first
  ByKey by_key_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::routing
