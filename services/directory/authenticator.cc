#include "services/directory/authenticator.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/time/calm_clock.h"
#include "services/directory/account_edit.h"
#include "services/directory/key_schema.h"
#include "services/directory/lookup.h"
#include "services/directory/metrics.h"
#include "services/directory/repository.h"

namespace posthouse::directory {
namespace {

absl::Status Wrong() { return absl::UnauthenticatedError("wrong login name or password"); }

// Whether an account with the right password may log in now.
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

struct Judgement {
  bool proven = false;
  std::string new_hash;  // set when it replaces the old hash
};

// Runs on the pool. Every path makes or checks exactly one Argon2id of full cost.
Judgement Judge(const std::string& hash, const std::string& dummy, const std::string& password, const HashCost& cost) {
  Judgement verdict;
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

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(Repository& repository,
                                                                     PasswordHashLimiter& limiter, LoginCache& cache,
                                                                     GuessLimiter& guesses, Metrics& metrics,
                                                                     HashCost cost) {
  PH_ASSIGN_OR_RETURN(std::string dummy, MakeHash("nobody has this password", cost));
  return std::unique_ptr<Authenticator>(
      new Authenticator(repository, limiter, cache, guesses, metrics, cost, std::move(dummy)));
}

Task<absl::StatusOr<AccountInfo>> Authenticator::Check(std::string username, std::string password, std::string client,
                                                       absl::Time now) {
  absl::StatusOr<AccountInfo> result =
      co_await CheckUncounted(std::move(username), std::move(password), std::move(client), now);
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
                                                                std::string client, absl::Time now) {
  // No account can have such a password, so the answer does not reveal who exists.
  if (!CheckPassword(password).ok()) co_return Wrong();
  const std::optional<AccountInfo> account =
      repository_.Read([&username](const Index& index) { return FindLogin(index, username); });
  if (!account && repository_.Read([&username](const Index& index) { return LoginMayBeLost(index, username); })) {
    co_return absl::UnavailableError("the record of this account may be damaged; see the directory's log");
  }
  const uint64_t generation = cache_.generation();
  // An entry proves a password of one revision: the old password proves nothing once the index has the new revision.
  const std::string proof = account ? absl::StrCat(account->credential_revision, ":", password) : "";
  if (account && cache_.Contains(account->account_id, proof, now)) {
    metrics_.logins_cached.Add();
    PH_CO_RETURN_IF_ERROR(MayLogIn(*account));
    co_return *account;
  }
  // The name stands for an account that does not exist, so that the limits do not tell which do.
  const std::string guessed = account ? account->account_id.value() : absl::AsciiStrToLower(username);
  PH_CO_RETURN_IF_ERROR(Refusal(client, guessed));
  // For an unknown name, too, one row is read: one that never exists.
  AccountInfo nobody;
  nobody.tenant = TenantId(kDefaultTenant);
  nobody.account_id = AccountId("nobody");
  PH_CO_ASSIGN_OR_RETURN(const std::string hash, co_await ReadHash(account ? *account : nobody));
  const absl::Time start = absl::Now();
  // The checks before this one may have filled a bucket while it waited.
  absl::Status refused;
  bool proven_meanwhile = false;
  PH_CO_ASSIGN_OR_RETURN(const Judgement verdict, co_await limiter_.Run(client, [&] {
    // A mail client opens several connections at once: the first one's hash serves all.
    proven_meanwhile = account && cache_.Contains(account->account_id, proof, now);
    if (proven_meanwhile) return Judgement{};
    refused = Refusal(client, guessed);
    if (!refused.ok()) return Judgement{};
    Judgement made = Judge(hash, dummy_hash_, password, cost_);
    // Before the next check begins, which may be one for the same password.
    if (account && made.proven) cache_.Insert(account->account_id, proof, generation, now);
    return made;
  }));
  if (proven_meanwhile) {
    metrics_.logins_cached.Add();
    PH_CO_RETURN_IF_ERROR(MayLogIn(*account));
    co_return *account;
  }
  PH_CO_RETURN_IF_ERROR(refused);
  metrics_.hash_seconds.Observe(absl::Now() - start);
  if (!account || !verdict.proven) {
    guesses_.Wrong(client, guessed, MonotonicNow());
    co_return Wrong();
  }
  guesses_.Right(client, guessed, MonotonicNow());
  if (!verdict.new_hash.empty()) {
    const absl::Status status = co_await Rehash(*account, hash, verdict.new_hash);
    log::LogIfError(status, "storing a stronger password hash");
    if (status.ok()) metrics_.rehashed.Add();
  }
  PH_CO_RETURN_IF_ERROR(MayLogIn(*account));
  co_return *account;
}

absl::Status Authenticator::Refusal(absl::string_view client, absl::string_view account) {
  const std::optional<GuessLimiter::Refusal> refusal = guesses_.Ask(client, account, MonotonicNow());
  if (!refusal.has_value()) return absl::OkStatus();
  static constexpr absl::string_view kWhat[] = {"from this address", "from this network", "for this account"};
  const auto full = static_cast<size_t>(refusal->full);
  metrics_.guesses_refused[full]->Add();
  if (int64_t dropped = 0; log_limit_.Allow(&dropped)) {
    LOG_EVENT(kWarning, "guesses_limited")
        .Str("client_address", client)
        .Str("limit", kWhat[full])
        .Int("retry_after_seconds", absl::ToInt64Seconds(absl::Ceil(refusal->retry_after, absl::Seconds(1))))
        .Int("not_logged", dropped);
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("too many wrong passwords ", kWhat[full], ", try again in ",
                   absl::FormatDuration(absl::Ceil(refusal->retry_after, absl::Seconds(1)))));
}

Task<absl::StatusOr<std::string>> Authenticator::ReadHash(const AccountInfo& account) {
  store::ReadRequest request;
  request.partition = TenantPartition(account.tenant);
  request.keys.push_back(CredentialKey(account.account_id));
  const absl::StatusOr<store::ReadResult> result = co_await repository_.store().Read(std::move(request));
  absl::Status read = result.status();
  v1::CredentialRecord credential;
  if (result.ok() && result->values[0]) read = Decode(*result->values[0], &credential);
  if (absl::IsDataLoss(read)) {
    LOG_EVENT(kError, "directory_password_damaged")
        .Str("address", account.address.ToString())
        .Str("account_id", account.account_id.value())
        .Str("what_to_do", absl::StrCat("posthousectl password set ", account.address.ToString()))
        .Err(read);
    co_return absl::UnavailableError("the record of the password is damaged");
  }
  if (!result.ok()) {
    // kResourceExhausted would mean that too many checks wait; a store that cannot read is unavailable.
    co_return IsTemporary(result.status()) ? absl::UnavailableError(result.status().message()) : result.status();
  }
  PH_CO_RETURN_IF_ERROR(read);
  co_return credential.password_hash();
}

// Stores the password in its new form, unless it was changed meanwhile.
Task<absl::Status> Authenticator::Rehash(AccountInfo account, std::string old_hash, std::string new_hash) {
  PH_CO_ASSIGN_OR_RETURN(Repository::Turn turn, co_await repository_.Begin());
  PH_CO_ASSIGN_OR_RETURN(const std::string present, co_await ReadHash(account));
  if (present != old_hash) co_return absl::OkStatus();
  co_return co_await turn.Commit(DecideRehash(account, turn.stamp(), new_hash));
}

}  // namespace posthouse::directory
