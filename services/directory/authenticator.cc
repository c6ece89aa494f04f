#include "services/directory/authenticator.h"

#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/directory/key_schema.h"
#include "services/directory/lookup.h"
#include "services/directory/metrics.h"
#include "services/directory/records.h"

namespace posthouse::directory {
namespace {

absl::Status Wrong() { return absl::UnauthenticatedError("wrong login name or password"); }

// Right password; may the account log in now?
absl::Status MayLogIn(const AccountInfo& account) {
  switch (account.status) {
    case v1::STATUS_SUSPENDED:
      return absl::PermissionDeniedError("this account is suspended");
    case v1::STATUS_FROZEN:
      return absl::UnavailableError("this account is being moved; try again in a moment");
    case v1::STATUS_DELETED:
      return Wrong();
    default:
      return absl::OkStatus();
  }
}

struct Verdict {
  bool proven = false;
  std::string new_hash;  // set when the old one is to be replaced
};

// Runs on the pool. Every path makes or checks exactly one Argon2id of full cost.
Verdict Judge(const std::string& hash, const std::string& dummy, const std::string& password, const HashCost& cost) {
  Verdict verdict;
  if (hash.empty()) {
    VerifyHash(dummy, password);
    return verdict;
  }
  verdict.proven = VerifyHash(hash, password);
  if (!NeedsRehash(hash, cost)) return verdict;
  if (!verdict.proven) {
    VerifyHash(dummy, password);
    return verdict;
  }
  absl::StatusOr<std::string> made = MakeHash(password, cost);
  if (made.ok()) verdict.new_hash = *std::move(made);
  return verdict;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(Records& records, HashGate& gate,
                                                                     LoginCache& cache, Metrics& metrics,
                                                                     HashCost cost) {
  PH_ASSIGN_OR_RETURN(std::string dummy, MakeHash("nobody has this password", cost));
  return std::unique_ptr<Authenticator>(new Authenticator(records, gate, cache, metrics, cost, std::move(dummy)));
}

Task<absl::StatusOr<AccountInfo>> Authenticator::Check(std::string username, std::string password, absl::Time now) {
  absl::StatusOr<AccountInfo> result = co_await CheckUncounted(std::move(username), std::move(password), now);
  switch (result.status().code()) {
    case absl::StatusCode::kOk:
      metrics_.logins_ok.Add();
      break;
    case absl::StatusCode::kUnauthenticated:
      metrics_.logins_wrong.Add();
      break;
    case absl::StatusCode::kPermissionDenied:
      metrics_.logins_refused.Add();
      break;
    case absl::StatusCode::kResourceExhausted:
      metrics_.logins_overload.Add();
      break;
    default:
      metrics_.logins_failed.Add();
      break;
  }
  co_return result;
}

Task<absl::StatusOr<AccountInfo>> Authenticator::CheckUncounted(std::string username, std::string password,
                                                                absl::Time now) {
  // Says nothing about who exists: no account can have such a password.
  if (!CheckPassword(password).ok()) co_return Wrong();
  const std::optional<AccountInfo> account =
      records_.Read([&username](const Index& index) { return FindLogin(index, username); });
  const uint64_t generation = cache_.generation();
  if (account && cache_.Contains(account->account_id, password, now)) {
    metrics_.logins_cached.Add();
    PH_CO_RETURN_IF_ERROR(MayLogIn(*account));
    co_return *account;
  }
  // Unknown names read a row too, one that is never there.
  AccountInfo nobody;
  nobody.tenant = "default";
  nobody.account_id = "nobody";
  PH_CO_ASSIGN_OR_RETURN(const std::string hash, co_await ReadHash(account ? *account : nobody));
  const absl::Time start = absl::Now();
  PH_CO_ASSIGN_OR_RETURN(const Verdict verdict,
                         co_await gate_.Run([&] { return Judge(hash, dummy_hash_, password, cost_); }));
  metrics_.hash_seconds.Observe(absl::Now() - start);
  if (!account || !verdict.proven) co_return Wrong();
  if (!verdict.new_hash.empty()) {
    const absl::Status status = co_await Rehash(*account, hash, verdict.new_hash);
    log::LogIfError(status, "storing a stronger password hash");
    if (status.ok()) metrics_.rehashed.Add();
  }
  cache_.Insert(account->account_id, password, generation, now);
  PH_CO_RETURN_IF_ERROR(MayLogIn(*account));
  co_return *account;
}

Task<absl::StatusOr<std::string>> Authenticator::ReadHash(const AccountInfo& account) {
  store::ReadRequest request;
  request.partition = TenantPartition(account.tenant);
  request.keys.push_back(CredentialKey(account.account_id));
  const absl::StatusOr<store::ReadResult> result = co_await records_.store().Read(std::move(request));
  if (!result.ok()) {
    // Over capacity is the gate's answer; a store that cannot read is away.
    co_return IsTemporary(result.status()) ? absl::UnavailableError(result.status().message()) : result.status();
  }
  if (!result->values[0]) co_return std::string();
  v1::CredentialRecord credential;
  PH_CO_RETURN_IF_ERROR(Decode(*result->values[0], &credential));
  co_return credential.password_hash();
}

// Tells no watcher: the password is the same.
Task<absl::Status> Authenticator::Rehash(AccountInfo account, std::string old_hash, std::string new_hash) {
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  PH_CO_ASSIGN_OR_RETURN(const std::string present, co_await ReadHash(account));
  if (present != old_hash) co_return absl::OkStatus();  // changed while we hashed
  v1::CredentialRecord credential;
  credential.set_password_hash(std::move(new_hash));
  credential.mutable_changed()->set_seconds(absl::ToUnixSeconds(absl::Now()));
  transaction.Put(CredentialKey(account.account_id), credential);
  co_return co_await transaction.Commit(TenantPartition(account.tenant));
}

}  // namespace posthouse::directory
