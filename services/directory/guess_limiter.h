// GuessLimiter: how many wrong passwords an address, a network and an account may try.
//
// Each of the three has a bucket of wrong passwords, which empties evenly over `window`. A
// full bucket of the address, its network or the account refuses a check before any hash is
// computed. So one address that guesses uses up its own bucket and no other address's.
//
// An account that logged in from an address before has a bucket of its own for that pair, and
// only that one counts: neither strangers who guess the account's password nor neighbours
// behind the same address keep the user out. Pairs are remembered in memory for 30 days.
//
// The network is the /24 of an IPv4 and the /48 of an IPv6 address; the address is the /64 of
// an IPv6 address, since a customer has all of it. Without a client address only the
// account's bucket counts. A successful login empties its pair's bucket.
//
// Bounded memory: at most 200,000 buckets and as many pairs. Threads: any. Nothing blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace posthouse::directory {

// Wrong passwords within `window`. 0: not limited.
struct GuessLimits {
  uint32_t per_address = 20;
  uint32_t per_network = 100;
  uint32_t per_account = 50;
  absl::Duration window = absl::Minutes(10);
};

enum class GuessBucket { kAddress, kNetwork, kAccount };

class GuessLimiter {
 public:
  explicit GuessLimiter(const GuessLimits& limits) : limits_(limits) {}

  struct Refusal {
    GuessBucket full = GuessBucket::kAddress;
    absl::Duration retry_after;  // until the bucket has room for one
  };
  // nullopt: the password may be checked. `account` is any text that stays the same for one
  // login name. `now` of all calls is from one monotonic clock.
  std::optional<Refusal> Ask(absl::string_view address, absl::string_view account, absl::Time now) const;
  void Wrong(absl::string_view address, absl::string_view account, absl::Time now);
  void Right(absl::string_view address, absl::string_view account, absl::Time now);

  size_t size() const;  // buckets and pairs

 private:
  struct Bucket {
    double level = 0;
    absl::Time at;
  };
  using Buckets = absl::flat_hash_map<std::string, Bucket>;

  double LevelAt(const Bucket& bucket, uint32_t limit, absl::Time now) const;
  std::optional<absl::Duration> Full(const Buckets& buckets, const std::string& key, uint32_t limit,
                                     absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fill(Buckets& buckets, std::string key, uint32_t limit, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const GuessLimits limits_;
  mutable absl::Mutex mutex_;
  Buckets strangers_ ABSL_GUARDED_BY(mutex_);  // of addresses, networks and accounts
  Buckets pairs_ ABSL_GUARDED_BY(mutex_);      // of account and address that logged in once
  // When each pair logged in last.
  absl::flat_hash_map<std::string, absl::Time> proven_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::directory
