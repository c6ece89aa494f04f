// RecipientCache: answers of routing, each for the time to live that routing gave it, or until the directory changes
// what it was made from.
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
#include "services/common/ids/ids.h"
#include "services/ingress/envelope.h"

namespace posthouse::ingress {

class RecipientCache {
 public:
  explicit RecipientCache(size_t entries) : half_(entries / 2) {}
  std::optional<Resolution> Find(absl::string_view address, bool may_relay, absl::Time now);
  void Put(absl::string_view address, bool may_relay, const Resolution& resolution, absl::Time now, absl::Time expires);

  // Routing hears of a change on a stream of its own, a moment earlier or later than ingress. So what it answers within
  // this time after a change is not kept either.
  static constexpr absl::Duration kSettle = absl::Seconds(1);
  // An account changed: forgets the answers that lead to it. An answer with several recipients, or without a mailbox,
  // is forgotten with any account.
  void Forget(const AccountId& account, absl::Time now);
  // Something else changed, or may have.
  void ForgetAll(absl::Time now);

 private:
  struct Entry {
    Resolution resolution;
    absl::Time stored, expires;
  };
  using Map = absl::flat_hash_map<std::string, Entry>;
  bool Usable(const Entry& entry, absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Insert(const std::string& key, Entry entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t half_;
  absl::Mutex mutex_;
  Map young_ ABSL_GUARDED_BY(mutex_);
  Map old_ ABSL_GUARDED_BY(mutex_);
  // Answers that were stored before these times are not used: of any account, of none or several, of one by its id.
  absl::Time forget_all_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time forget_mixed_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::flat_hash_map<AccountId, absl::Time> forget_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::ingress
