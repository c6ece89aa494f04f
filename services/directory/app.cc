#include "services/directory/app.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/status/status.h"
#include "services/common/store/guarded_partition.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/directory/admin.h"
#include "services/directory/authenticator.h"
#include "services/directory/grpc_service.h"
#include "services/directory/login_cache.h"
#include "services/directory/metrics.h"
#include "services/directory/password_hash_limiter.h"
#include "services/directory/repository.h"
#include "services/directory/settings.h"

namespace posthouse::directory {
namespace {

constexpr size_t kLoginCacheEntries = 100000;

store::RocksOptions StoreOptions(const config::v1::Config& config, const Settings& settings) {
  store::RocksOptions options;
  options.path = settings.store_dir;
  options.name = "directory";
  const auto& own = config.store();
  if (own.block_cache_bytes() != 0) options.block_cache_bytes = own.block_cache_bytes();
  if (own.write_buffer_bytes() != 0) options.write_buffer_bytes = own.write_buffer_bytes();
  if (own.min_free_bytes() != 0) options.min_free_bytes = own.min_free_bytes();
  if (own.read_threads() != 0) options.read_threads = static_cast<int>(own.read_threads());
  return options;
}

absl::Status MakeDirectory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("cannot create ", path, ": ", error.message()));
}

}  // namespace

// In the order of construction.
struct App::Parts {
  Parts(runtime::Runtime& rt, Settings s)
      : settings(std::move(s)),
        metrics(rt.registry()),
        guard_metrics(rt.registry(), "directory"),
        limiter(rt.blocking_pool(), settings.concurrent_checks, settings.max_waiting_checks),
        cache(settings.login_cache, kLoginCacheEntries) {}

  const Settings settings;
  Metrics metrics;
  store::GuardMetrics guard_metrics;
  std::unique_ptr<store::RocksStore> store;
  std::unique_ptr<Repository> repository;
  PasswordHashLimiter limiter;
  LoginCache cache;
  std::unique_ptr<Authenticator> authenticator;
  std::unique_ptr<Admin> admin;
};

App::App(runtime::Runtime& rt, std::unique_ptr<Parts> parts)
    : ServiceApp(rt, "directory", CheckConfig), parts_(std::move(parts)) {}

App::~App() { Stop(); }

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels) {
  PH_ASSIGN_OR_RETURN(Settings settings, ReadSettings(rt.config()));
  PH_RETURN_IF_ERROR(MakeDirectory(rt.config().data_dir()));
  const HashCost cost{settings.argon2_memory_kib, settings.argon2_passes};
  auto parts = std::make_unique<Parts>(rt, std::move(settings));
  PH_ASSIGN_OR_RETURN(parts->store, store::RocksStore::Open(StoreOptions(rt.config(), parts->settings), rt.registry()));
  RepositoryOptions options;
  options.executor = &rt.loops().Next();
  options.metrics = &parts->guard_metrics;
  PH_ASSIGN_OR_RETURN(parts->repository, SyncWait(Repository::Open(*parts->store, options)));
  PH_ASSIGN_OR_RETURN(parts->authenticator,
                      Authenticator::Create(*parts->repository, parts->limiter, parts->cache, parts->metrics, cost));
  parts->admin = std::make_unique<Admin>(*parts->repository, parts->limiter, parts->cache, parts->metrics, cost);
  std::unique_ptr<App> app(new App(rt, std::move(parts)));
  Parts& p = *app->parts_;
  app->OnCollect([&p] { p.metrics.Update(*p.repository, p.limiter, p.cache); });
  PH_RETURN_IF_ERROR(app->Serve(
      NewGrpcServices(app->runner(), *p.repository, *p.admin, *p.authenticator, p.metrics, p.settings.hostname)));
  return app;
}

absl::Status App::CheckConfig(const config::v1::Config& config) { return ReadSettings(config).status(); }

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
    return 0;
  });
  rows.emplace_back("newest change", absl::StrCat(parts_->repository->feed().revision()));
  rows.emplace_back("change streams", absl::StrCat(parts_->repository->feed().watchers()));
  rows.emplace_back("password checks waiting", absl::StrCat(parts_->limiter.waiting()));
  return rows;
}

}  // namespace posthouse::directory
