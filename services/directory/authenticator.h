// Authenticator: does this password prove this login?
//
// All failure paths (a wrong password, an unknown name, an account without a password,
// a hash in a cheap old form) run one Argon2 check, so response time does not reveal
// whether an account exists. A right password in an old form is stored again as Argon2id
// before the answer.
//
// Wrong passwords are counted by address, network and account (GuessLimiter). A password that
// was proven a short while ago passes before any limit: what strangers do does not delay it.
//
// Threads: any; hashing runs behind the PasswordHashLimiter.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/directory/guess_limiter.h"
#include "services/directory/index.h"
#include "services/directory/login_cache.h"
#include "services/directory/password_hash.h"
#include "services/directory/password_hash_limiter.h"

namespace posthouse::directory {

class Repository;
struct Metrics;

class Authenticator {
 public:
  // All outlive this.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(Repository& repository, PasswordHashLimiter& limiter,
                                                               LoginCache& cache, GuessLimiter& guesses,
                                                               Metrics& metrics, HashCost cost);

  // kUnauthenticated: wrong, whatever the reason. kPermissionDenied: right, but
  // suspended. kUnavailable: right, but being moved, or the store is away.
  // kResourceExhausted: too many wrong passwords came from this client or for this account,
  // or too many checks are waiting. `client`: its IP address; "": unknown.
  Task<absl::StatusOr<AccountInfo>> Check(std::string username, std::string password, std::string client,
                                          absl::Time now);

  const HashCost& cost() const { return cost_; }

 private:
  Authenticator(Repository& repository, PasswordHashLimiter& limiter, LoginCache& cache, GuessLimiter& guesses,
                Metrics& metrics, HashCost cost, std::string dummy)
      : repository_(repository),
        limiter_(limiter),
        cache_(cache),
        guesses_(guesses),
        metrics_(metrics),
        cost_(cost),
        dummy_hash_(std::move(dummy)) {}
  Task<absl::StatusOr<AccountInfo>> CheckUncounted(std::string username, std::string password, std::string client,
                                                   absl::Time now);
  absl::Status Refusal(absl::string_view client, absl::string_view account);
  Task<absl::StatusOr<std::string>> ReadHash(const AccountInfo& account);
  Task<absl::Status> Rehash(AccountInfo account, std::string old_hash, std::string new_hash);

  Repository& repository_;
  PasswordHashLimiter& limiter_;
  LoginCache& cache_;
  GuessLimiter& guesses_;
  Metrics& metrics_;
  const HashCost cost_;
  log::RateLimit log_limit_{1};  // a second
  const std::string dummy_hash_;
};

}  // namespace posthouse::directory
