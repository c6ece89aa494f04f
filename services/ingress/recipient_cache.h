// RecipientCache: answers of routing, each for the time to live that routing gave it.
//
// Bounded: two generations of `entries` / 2. A full generation becomes the old one; an
// entry that is used moves to the young one. Threads: any.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/ingress/envelope.h"

namespace posthouse::ingress {

class RecipientCache {
 public:
  explicit RecipientCache(size_t entries) : half_(entries / 2) {}
  std::optional<Resolution> Find(absl::string_view address, bool may_relay, absl::Time now);
  void Put(absl::string_view address, bool may_relay, const Resolution& resolution, absl::Time expires);

 private:
  struct Entry {
    Resolution resolution;
    absl::Time expires;
  };
  using Map = absl::flat_hash_map<std::string, Entry>;
  void Insert(const std::string& key, Entry entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t half_;
  absl::Mutex mutex_;
  Map young_ ABSL_GUARDED_BY(mutex_);
  Map old_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::ingress
