// Authenticator: does this password prove this login?
//
// A wrong password, an unknown name, an account without a password and a password
// in a cheap old form all cost one Argon2 check, so the time tells nobody which.
// A right password in an old form is stored anew as Argon2id before the answer.
//
// Threads: any; the hashing runs behind the HashGate.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/directory/hash_gate.h"
#include "services/directory/index.h"
#include "services/directory/login_cache.h"
#include "services/directory/password_hash.h"

namespace posthouse::directory {

class Records;
struct Metrics;

class Authenticator {
 public:
  // All outlive this.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(Records& records, HashGate& gate, LoginCache& cache,
                                                               Metrics& metrics, HashCost cost);

  // kUnauthenticated: wrong, whatever the reason. kPermissionDenied: right, but
  // suspended. kUnavailable: right, but being moved, or the store is away.
  // kResourceExhausted: too many checks are waiting.
  Task<absl::StatusOr<AccountInfo>> Check(std::string username, std::string password, absl::Time now);

  const HashCost& cost() const { return cost_; }

 private:
  Authenticator(Records& records, HashGate& gate, LoginCache& cache, Metrics& metrics, HashCost cost, std::string dummy)
      : records_(records), gate_(gate), cache_(cache), metrics_(metrics), cost_(cost), dummy_hash_(std::move(dummy)) {}
  Task<absl::StatusOr<AccountInfo>> CheckUncounted(std::string username, std::string password, absl::Time now);
  Task<absl::StatusOr<std::string>> ReadHash(const AccountInfo& account);
  Task<absl::Status> Rehash(AccountInfo account, std::string old_hash, std::string new_hash);

  Records& records_;
  HashGate& gate_;
  LoginCache& cache_;
  Metrics& metrics_;
  const HashCost cost_;
  const std::string dummy_hash_;
};

}  // namespace posthouse::directory
