// LoginCache: passwords proven a short while ago, so that a client that opens ten
// connections costs one Argon2.
//
// Holds no password and no hash of one that could be attacked from a memory dump
// of something else: HMAC-SHA256 of account and password under a key that is made
// at start and never leaves the process. Bounded. Threads: any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace posthouse::directory {

class LoginCache {
 public:
  // `ttl` zero: nothing is remembered.
  LoginCache(absl::Duration ttl, size_t max_entries);

  // Was this password proven for the account within the TTL before `now`?
  bool Contains(absl::string_view account_id, absl::string_view password, absl::Time now) const;
  // Taken before the credential is read, and given to Insert: a password that was
  // changed meanwhile is not remembered.
  uint64_t generation() const;
  void Insert(absl::string_view account_id, absl::string_view password, uint64_t generation, absl::Time now);
  // The account's password or right to log in changed.
  void Forget(absl::string_view account_id);
  size_t size() const;

 private:
  using Mac = std::array<unsigned char, 32>;
  struct Entry {
    Mac mac{};
    absl::Time expires;
  };
  Mac MacOf(absl::string_view account_id, absl::string_view password) const;

  const absl::Duration ttl_;
  const size_t max_entries_;
  Mac key_{};
  mutable absl::Mutex mutex_;
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::directory
