#include "services/directory/metrics.h"

#include <map>

#include "services/directory/login_cache.h"
#include "services/directory/password_hash_limiter.h"
#include "services/directory/repository.h"

namespace posthouse::directory {
namespace {

metrics::Counter& Lookups(metrics::Registry& registry, const std::string& outcome) {
  return registry.AddCounter("posthouse_directory_lookups_total", "Address lookups, by outcome.",
                             {{"outcome", outcome}});
}

metrics::Counter& Logins(metrics::Registry& registry, const std::string& outcome) {
  return registry.AddCounter("posthouse_directory_logins_total", "Password checks, by outcome.",
                             {{"outcome", outcome}});
}

metrics::Counter* Guesses(metrics::Registry& r, const char* limit) {
  return &r.AddCounter("posthouse_directory_guesses_refused_total",
                       "Logins refused without a check, by the limit of wrong passwords that was reached.",
                       {{"limit", limit}});
}

metrics::Gauge& Deleted(metrics::Registry& registry, const std::string& state) {
  return registry.AddGauge("posthouse_directory_deleted_accounts",
                           "Deleted accounts: mail kept for the grace time, being erased, erased.", {{"state", state}});
}

}  // namespace

Metrics::Metrics(metrics::Registry& r)
    : lookups_found(Lookups(r, "found")),
      lookups_unknown(Lookups(r, "unknown")),
      lookups_foreign(Lookups(r, "foreign")),
      lookups_suspended(Lookups(r, "suspended")),
      lookups_over_limit(Lookups(r, "over_limit")),
      lookups_failed(Lookups(r, "failed")),
      logins_ok(Logins(r, "ok")),
      logins_cached(r.AddCounter("posthouse_directory_logins_cached_total",
                                 "Password checks that the login cache answered, without hashing.")),
      logins_wrong(Logins(r, "wrong")),
      logins_refused(Logins(r, "refused")),
      logins_overload(Logins(r, "overload")),
      logins_failed(Logins(r, "failed")),
      guesses_refused{Guesses(r, "address"), Guesses(r, "network"), Guesses(r, "account")},
      rehashed(r.AddCounter("posthouse_directory_rehashed_total",
                            "Password hashes of other forms that were replaced by Argon2id at a login.")),
      changes(r.AddCounter("posthouse_directory_changes_total", "Changes by admin calls.")),
      hash_seconds(r.AddHistogram("posthouse_directory_password_check_seconds",
                                  "Time of a password check, with the wait before it.")),
      accounts(r.AddGauge("posthouse_directory_accounts", "Accounts.")),
      aliases(r.AddGauge("posthouse_directory_aliases", "Aliases.")),
      domains(r.AddGauge("posthouse_directory_domains", "Domains.")),
      deleted_kept(Deleted(r, "kept")),
      deleted_erasing(Deleted(r, "erasing")),
      deleted_erased(Deleted(r, "erased")),
      revision(r.AddGauge("posthouse_directory_revision", "Revision of the newest change.")),
      watchers(r.AddGauge("posthouse_directory_watchers", "Open change streams.")),
      hash_waiting(r.AddGauge("posthouse_directory_password_checks_waiting", "Password checks that wait.")),
      login_cache_entries(
          r.AddGauge("posthouse_directory_login_cache_entries", "Proven passwords in the login cache.")),
      damaged_rows(r.AddGauge("posthouse_directory_damaged_rows",
                              "Records, and ranges of records, that could not be read when the store was opened.")),
      fenced(r.AddGauge("posthouse_directory_fenced",
                        "1 when another writer has taken over the store: restart this process.")) {}

void Metrics::Update(const Repository& repository, const PasswordHashLimiter& limiter, const LoginCache& cache) {
  repository.Read([this](const Index& index) {
    damaged_rows.Set(static_cast<double>(index.lost()));
    accounts.Set(static_cast<double>(index.accounts()));
    aliases.Set(static_cast<double>(index.aliases()));
    domains.Set(static_cast<double>(index.domains()));
    std::map<v1::DeletedAccount::State, int> deleted;
    for (const auto& [id, info] : index.deleted()) ++deleted[info.state];
    deleted_kept.Set(deleted[v1::DeletedAccount::STATE_KEPT]);
    deleted_erasing.Set(deleted[v1::DeletedAccount::STATE_ERASING]);
    deleted_erased.Set(deleted[v1::DeletedAccount::STATE_ERASED]);
    return 0;
  });
  revision.Set(static_cast<double>(repository.feed().revision()));
  watchers.Set(static_cast<double>(repository.feed().watchers()));
  hash_waiting.Set(static_cast<double>(limiter.waiting()));
  login_cache_entries.Set(static_cast<double>(cache.size()));
  fenced.Set(repository.fenced() ? 1 : 0);
}

}  // namespace posthouse::directory
