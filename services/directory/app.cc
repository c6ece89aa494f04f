#include "services/directory/app.h"

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/backup/settings.h"
#include "services/common/runtime/shard.h"
#include "services/common/status/status.h"
#include "services/common/store/guarded_partition.h"
#include "services/common/store/open.h"
#include "services/directory/admin.h"
#include "services/directory/authenticator.h"
#include "services/directory/grpc_service.h"
#include "services/directory/guess_limiter.h"
#include "services/directory/login_cache.h"
#include "services/directory/metrics.h"
#include "services/directory/password_hash_limiter.h"
#include "services/directory/repository.h"
#include "services/directory/settings.h"

namespace posthouse::directory {
namespace {

constexpr size_t kLoginCacheEntries = 100000;

}  // namespace

// In the order of construction.
struct App::Parts {
  Parts(runtime::Runtime& rt, Settings s)
      : settings(std::move(s)),
        metrics(rt.registry()),
        guard_metrics(rt.registry(), "directory"),
        limiter(rt.blocking_pool(), settings.concurrent_checks, settings.max_waiting_checks),
        cache(settings.login_cache, kLoginCacheEntries),
        guesses(settings.guess_limits) {}

  const Settings settings;
  Metrics metrics;
  store::GuardMetrics guard_metrics;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<Repository> repository;
  PasswordHashLimiter limiter;
  LoginCache cache;
  GuessLimiter guesses;
  std::unique_ptr<Authenticator> authenticator;
  std::unique_ptr<Admin> admin;
};

App::App(runtime::Runtime& rt, std::unique_ptr<Parts> parts)
    : ServiceApp(rt, "directory", CheckConfig), parts_(std::move(parts)) {}

App::~App() { Stop(); }

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels) {
  PH_ASSIGN_OR_RETURN(Settings settings, ReadSettings(rt.config()));
  const HashCost cost{settings.argon2_memory_kib, settings.argon2_passes};
  auto parts = std::make_unique<Parts>(rt, std::move(settings));
  PH_ASSIGN_OR_RETURN(parts->store, store::Open("directory", parts->settings.store_dir, rt.config().store(),
                                                rt.registry(), rt.accept_data_loss()));
  PH_RETURN_IF_ERROR(runtime::ClaimShard(parts->settings.store_dir, "directory.shard", parts->settings.shard));
  RepositoryOptions options;
  options.executor = &rt.loops().Next();
  options.metrics = &parts->guard_metrics;
  PH_ASSIGN_OR_RETURN(parts->repository, SyncWait(Repository::Open(*parts->store, options)));
  PH_ASSIGN_OR_RETURN(parts->authenticator, Authenticator::Create(*parts->repository, parts->limiter, parts->cache,
                                                                  parts->guesses, parts->metrics, cost));
  AdminOptions admin{.cost = cost, .homes = Homes(parts->settings.homes)};
  admin.deleted_account_grace = parts->settings.deleted_account_grace;
  parts->admin =
      std::make_unique<Admin>(*parts->repository, parts->limiter, parts->cache, parts->metrics, std::move(admin));
  std::unique_ptr<App> app(new App(rt, std::move(parts)));
  Parts& p = *app->parts_;
  app->OnCollect([&p] { p.metrics.Update(*p.repository, p.limiter, p.cache); });
  app->OfferBackups({{"directory", "", p.settings.store_dir, p.store.get()}});
  PH_RETURN_IF_ERROR(app->Serve(
      NewGrpcServices(app->runner(), *p.repository, *p.admin, *p.authenticator, p.metrics, p.settings.hostname)));
  return app;
}

absl::Status App::CheckConfig(const config::v1::Config& config) {
  PH_RETURN_IF_ERROR(backup::Settings::FromConfig(config).status());
  return ReadSettings(config).status();
}

// The stores that accounts may live in; all else needs a restart.
absl::Status App::Reload(const config::v1::Config& config) {
  PH_RETURN_IF_ERROR(CheckConfig(config));
  PH_ASSIGN_OR_RETURN(Settings settings, ReadSettings(config));
  parts_->admin->SetHomes(Homes(std::move(settings.homes)));
  return absl::OkStatus();
}

absl::Status App::Health() {
  if (parts_->repository->fenced()) {
    return absl::FailedPreconditionError("another directory writer has taken over the store; restart this one");
  }
  return parts_->store->Health();
}

std::vector<std::pair<std::string, std::string>> App::Status() {
  std::vector<std::pair<std::string, std::string>> rows;
  parts_->repository->Read([&rows](const Index& index) {
    rows.emplace_back("tenants", absl::StrCat(index.tenants()));
    rows.emplace_back("domains", absl::StrCat(index.domains()));
    rows.emplace_back("accounts", absl::StrCat(index.accounts()));
    rows.emplace_back("aliases", absl::StrCat(index.aliases()));
    rows.emplace_back("deleted accounts", absl::StrCat(index.deleted().size()));
    return 0;
  });
  rows.emplace_back("newest change", absl::StrCat(parts_->repository->feed().revision()));
  rows.emplace_back("change streams", absl::StrCat(parts_->repository->feed().watchers()));
  rows.emplace_back("password checks waiting", absl::StrCat(parts_->limiter.waiting()));
  return rows;
}

}  // namespace posthouse::directory
