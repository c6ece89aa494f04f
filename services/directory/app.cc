#include "services/directory/app.h"

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/status/status.h"
#include "services/common/store/open.h"
#include "services/directory/admin.h"
#include "services/directory/authenticator.h"
#include "services/directory/grpc_service.h"
#include "services/directory/hash_gate.h"
#include "services/directory/login_cache.h"
#include "services/directory/metrics.h"
#include "services/directory/records.h"
#include "services/directory/settings.h"

namespace posthouse::directory {
namespace {

constexpr size_t kLoginCacheEntries = 100000;

}  // namespace

// In the order of their making; shared with the metrics' collector, which may
// look while the service goes down.
struct App::Parts {
  Parts(runtime::Runtime& rt, Settings s)
      : settings(std::move(s)),
        metrics(rt.registry()),
        gate(rt.blocking_pool(), settings.concurrent_checks, settings.max_waiting_checks),
        cache(settings.login_cache, kLoginCacheEntries) {}

  const Settings settings;
  Metrics metrics;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<Records> records;
  HashGate gate;
  LoginCache cache;
  std::unique_ptr<Authenticator> authenticator;
  std::unique_ptr<Admin> admin;
  std::unique_ptr<GrpcService> service;
  std::unique_ptr<rpc::RpcServer> server;
};

App::App(std::shared_ptr<Parts> parts) : parts_(std::move(parts)) {}

App::~App() { parts_->server.reset(); }

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels) {
  PH_ASSIGN_OR_RETURN(Settings settings, ReadSettings(rt.config()));
  const HashCost cost{settings.argon2_memory_kib, settings.argon2_passes};
  const auto parts = std::make_shared<Parts>(rt, std::move(settings));
  PH_ASSIGN_OR_RETURN(parts->store,
                      store::Open("directory", parts->settings.store_dir, rt.config().store(), rt.registry()));
  PH_ASSIGN_OR_RETURN(parts->records, SyncWait(Records::Open(*parts->store)));
  PH_ASSIGN_OR_RETURN(parts->authenticator,
                      Authenticator::Create(*parts->records, parts->gate, parts->cache, parts->metrics, cost));
  parts->admin = std::make_unique<Admin>(*parts->records, parts->gate, parts->cache, parts->metrics, cost);
  parts->service = GrpcService::Create(rt.loops(), rt.registry(), *parts->records, *parts->admin, *parts->authenticator,
                                       parts->metrics, parts->settings.hostname);
  const std::weak_ptr<Parts> weak = parts;
  rt.registry().OnCollect([weak] {
    if (const auto live = weak.lock()) live->metrics.Update(*live->records, live->gate, live->cache);
  });
  PH_ASSIGN_OR_RETURN(parts->server, rpc::RpcServer::Start(runtime::RpcOptions(rt.config(), "directory"),
                                                           parts->service->services(), rt.registry()));
  parts->server->SetServing(true);
  return std::unique_ptr<App>(new App(parts));
}

absl::Status App::CheckConfig(const config::v1::Config& config) { return ReadSettings(config).status(); }

absl::Status App::Ready() {
  if (parts_->records->fenced()) {
    return absl::FailedPreconditionError("another directory writer has taken over the store; restart this one");
  }
  return parts_->store->Health();
}

// Nothing of the directory's changes without a restart; a bad config is refused all the same.
absl::Status App::Reload(const config::v1::Config& config) { return CheckConfig(config); }

void App::Drain(absl::Duration grace) {
  parts_->service->BeginDrain();
  parts_->server->Shutdown(grace);
}

std::vector<std::pair<std::string, std::string>> App::Status() {
  std::vector<std::pair<std::string, std::string>> rows;
  parts_->records->Read([&rows](const Index& index) {
    rows.emplace_back("tenants", absl::StrCat(index.tenants()));
    rows.emplace_back("domains", absl::StrCat(index.domains()));
    rows.emplace_back("accounts", absl::StrCat(index.accounts()));
    rows.emplace_back("aliases", absl::StrCat(index.aliases()));
    return 0;
  });
  rows.emplace_back("newest change", absl::StrCat(parts_->records->feed().revision()));
  rows.emplace_back("change streams", absl::StrCat(parts_->records->feed().watchers()));
  rows.emplace_back("password checks waiting", absl::StrCat(parts_->gate.waiting()));
  return rows;
}

rpc::RpcServer& App::rpc() { return *parts_->server; }

std::vector<grpc::Service*> App::services() { return parts_->service->services(); }

}  // namespace posthouse::directory
