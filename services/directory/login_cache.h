// LoginCache: passwords that were proven a short while ago. A client that opens ten
// connections costs one Argon2 check.
//
// Holds no password, but HMAC-SHA256 of account and password under a key that is made at
// the start and never leaves the process. Bounded. Threads: any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/common/ids/ids.h"

namespace posthouse::directory {

class LoginCache {
 public:
  // With a `ttl` of zero the cache stays empty.
  LoginCache(absl::Duration ttl, size_t max_entries);

  // Whether this password was proven for the account within the TTL before `now`.
  bool Contains(const AccountId& account, absl::string_view password, absl::Time now) const;
  // Call before reading the credential, and give the result to Insert(): a password that
  // was changed in between is not kept.
  uint64_t generation() const;
  void Insert(const AccountId& account, absl::string_view password, uint64_t generation, absl::Time now);
  // Call when the account's password or its right to log in has changed.
  void Forget(const AccountId& account);
  size_t size() const;

 private:
  using Mac = std::array<unsigned char, 32>;
  struct Entry {
    Mac mac{};
    absl::Time expires;
  };
  Mac MacOf(const AccountId& account, absl::string_view password) const;

  const absl::Duration ttl_;
  const size_t max_entries_;
  Mac key_{};
  mutable absl::Mutex mutex_;
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<AccountId, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::directory
