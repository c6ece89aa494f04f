#include "services/queue/app.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/queue/delivery/local.h"
#include "services/queue/delivery/remote.h"
#include "services/queue/delivery/routing_client.h"

namespace posthouse::queue {
namespace {

store::RocksOptions StoreOptions(const Settings& settings) {
  store::RocksOptions options;
  options.path = settings.store_dir;
  options.name = "queue";
  if (settings.block_cache_bytes != 0) options.block_cache_bytes = settings.block_cache_bytes;
  if (settings.write_buffer_bytes != 0) options.write_buffer_bytes = settings.write_buffer_bytes;
  if (settings.min_free_bytes != 0) options.min_free_bytes = settings.min_free_bytes;
  if (settings.read_threads != 0) options.read_threads = settings.read_threads;
  return options;
}

}  // namespace

App::App(runtime::Runtime& rt, Settings settings)
    : runtime_(rt), settings_(std::move(settings)), metrics_(rt.registry()) {}

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels channels) {
  PH_ASSIGN_OR_RETURN(Settings settings, Settings::FromConfig(rt.config()));
  if (channels.routing == nullptr)
    return absl::InvalidArgumentError("peers.routing is required: the queue asks it for the hosts of a domain");
  if (channels.mailbox.empty())
    return absl::InvalidArgumentError("peers.mailbox is required: the queue delivers local mail to it");
  std::unique_ptr<App> app(new App(rt, std::move(settings)));
  PH_RETURN_IF_ERROR(app->Start(std::move(channels)));
  return app;
}

absl::Status App::Start(rpc::Channels channels) {
  PH_ASSIGN_OR_RETURN(store_, store::RocksStore::Open(StoreOptions(settings_), runtime_.registry()));
  SpoolOptions spool_options;
  spool_options.shard = settings_.shard;
  spool_options.executor = &runtime_.loops().Next();
  PH_ASSIGN_OR_RETURN(spool_, SyncWait(Spool::Open(*store_, spool_options)));
  const Clock clock = spool_->options().clock;
  routing_ = NewRouting(channels.routing, clock);
  local_ = NewLocalDelivery(std::move(channels));
  PH_ASSIGN_OR_RETURN(remote_, RemoteDelivery::Create(runtime_.loops(), *routing_, settings_.remote));
  DispatcherOptions dispatch;
  dispatch.scheduler = settings_.scheduler;
  dispatch.settlement = settings_.settlement;
  dispatch.bounce = settings_.bounce;
  dispatcher_ = Dispatcher::Create({runtime_.loops(), *spool_, *routing_, *local_, *remote_, metrics_}, dispatch);
  maintenance_ = std::make_unique<Maintenance>(
      *spool_, metrics_, runtime_.loops().Next(),
      MaintenanceOptions{.done_retention = settings_.done_retention,
                         .delay_warning_after = settings_.settlement.delay_warning_after});
  services_ =
      std::make_unique<GrpcServices>(ServiceParts{.loops = runtime_.loops(),
                                                  .registry = runtime_.registry(),
                                                  .spool = *spool_,
                                                  .dispatcher = dispatcher_,
                                                  .metrics = metrics_,
                                                  .clock = clock,
                                                  .expire_after = settings_.expire_after,
                                                  .delay_warning_after = settings_.settlement.delay_warning_after,
                                                  .accepting = [this]() -> absl::Status {
                                                    if (draining_)
                                                      return absl::UnavailableError("the queue is stopping");
                                                    if (!spool_->healthy().ok())
                                                      return absl::UnavailableError(spool_->healthy().message());
                                                    return absl::OkStatus();
                                                  },
                                                  .oldest = [this] { return maintenance_->oldest(); }});
  {
    absl::MutexLock lock(&handle_->mutex);
    handle_->app = this;
  }
  runtime_.registry().OnCollect([handle = handle_] {
    absl::MutexLock lock(&handle->mutex);
    if (handle->app != nullptr) handle->app->Collect();
  });
  dispatcher_->Start();
  maintenance_->Start();
  // Last: calls are served only when everything runs.
  PH_ASSIGN_OR_RETURN(rpc_, rpc::RpcServer::Start(runtime::RpcOptions(runtime_.config(), "queue"),
                                                  services_->services(), runtime_.registry()));
  const Ledger ledger = spool_->ledger();
  LOG_EVENT(kInfo, "queue_open")
      .Str("shard", settings_.shard)
      .Int("items", static_cast<int64_t>(ledger.items))
      .Int("recipients", static_cast<int64_t>(ledger.queued()));
  return absl::OkStatus();
}

App::~App() {
  Drain(absl::ZeroDuration());
  rpc_ = nullptr;  // before the services it serves
}

absl::Status App::Ready() {
  if (draining_) return absl::UnavailableError("draining");
  PH_RETURN_IF_ERROR(spool_->healthy());
  return store_->Health();
}

absl::Status App::CheckConfig(const config::v1::Config& config) { return Settings::FromConfig(config).status(); }

// No setting of the queue changes while it runs; Reload only checks the new configuration.
absl::Status App::Reload(const config::v1::Config& config) { return CheckConfig(config); }

void App::Drain(absl::Duration grace) {
  if (drained_) return;
  drained_ = true;
  draining_ = true;
  {
    absl::MutexLock lock(&handle_->mutex);
    handle_->app = nullptr;
  }
  const absl::Time deadline = absl::Now() + grace;
  const auto left = [&] { return std::max(deadline - absl::Now(), absl::ZeroDuration()); };
  if (rpc_ != nullptr) rpc_->Shutdown(left() / 2);
  if (dispatcher_ != nullptr) dispatcher_->Drain(left());
  if (remote_ != nullptr) remote_->Abort();  // idle connections
  if (maintenance_ != nullptr) maintenance_->Stop();
  if (spool_ != nullptr) SyncWait(spool_->Close());
}

void App::Collect() {
  metrics_.SetLedger(spool_->ledger());
  metrics_.oldest_seconds.Set(absl::ToDoubleSeconds(maintenance_->oldest()));
  dispatcher_->UpdateMetrics();
  const RemoteDelivery::Stats stats = remote_->stats();
  metrics_.connections_opened.Add(static_cast<double>(stats.opened - counted_.opened));
  metrics_.connections_reused.Add(static_cast<double>(stats.reused - counted_.reused));
  metrics_.connections_failed.Add(static_cast<double>(stats.failed - counted_.failed));
  metrics_.connections_open.Set(static_cast<double>(stats.open));
  metrics_.connections_idle.Set(static_cast<double>(stats.idle));
  counted_ = stats;
}

std::vector<std::pair<std::string, std::string>> App::Status() {
  const Ledger ledger = spool_->ledger();
  const RemoteDelivery::Stats stats = remote_->stats();
  return {{"messages queued", absl::StrCat(ledger.items)},
          {"recipients queued", absl::StrCat(ledger.queued())},
          {"oldest message", absl::FormatDuration(absl::Trunc(maintenance_->oldest(), absl::Seconds(1)))},
          {"recipients accepted", absl::StrCat(ledger.accepted)},
          {"delivered", absl::StrCat(ledger.delivered)},
          {"relayed", absl::StrCat(ledger.relayed)},
          {"failed", absl::StrCat(ledger.failed)},
          {"expired", absl::StrCat(ledger.expired)},
          {"outgoing connections", absl::StrCat(stats.open, " busy, ", stats.idle, " idle")}};
}

}  // namespace posthouse::queue
