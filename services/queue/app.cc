#include "services/queue/app.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/backup/restore.h"
#include "services/common/backup/settings.h"
#include "services/common/durable_file/durable_file.h"
#include "services/common/log/log.h"
#include "services/common/runtime/shard.h"
#include "services/common/status/status.h"
#include "services/common/store/open.h"
#include "services/queue/delivery/local.h"
#include "services/queue/delivery/remote.h"
#include "services/queue/delivery/routing_client.h"
#include "services/queue/grpc_service.h"
#include "services/queue/spool/hold.h"

namespace posthouse::queue {
namespace {

// What a commit that hands the shard back gets at least, however late it is.
constexpr absl::Duration kReleaseTime = absl::Seconds(2);

}  // namespace

App::App(runtime::Runtime& rt, Settings settings)
    : ServiceApp(rt, "queue", CheckConfig),
      settings_(std::move(settings)),
      metrics_(rt.registry()),
      guard_metrics_(rt.registry(), "queue") {}

App::~App() { Stop(); }

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels channels) {
  PH_ASSIGN_OR_RETURN(Settings settings, Settings::FromConfig(rt.config()));
  if (channels.routing == nullptr) {
    return absl::InvalidArgumentError("peers.routing is required: the queue asks it for the hosts of a domain");
  }
  if (channels.mailbox.empty()) {
    return absl::InvalidArgumentError("peers.mailbox is required: the queue delivers local mail to it");
  }
  std::unique_ptr<App> app(new App(rt, std::move(settings)));
  PH_RETURN_IF_ERROR(app->Start(std::move(channels)));
  return app;
}

absl::Status App::Start(rpc::Channels channels) {
  PH_ASSIGN_OR_RETURN(store_, store::Open("queue", settings_.store_dir, runtime().config().store(),
                                          runtime().registry(), runtime().accept_data_loss()));
  PH_RETURN_IF_ERROR(runtime::ClaimShard(settings_.store_dir, "queue.shard", settings_.shard));
  SpoolOptions spool_options;
  spool_options.shard = settings_.shard;
  spool_options.clock = [this] { return clock_.Now(); };
  spool_options.executor = &runtime().loops().Next();
  spool_options.metrics = &guard_metrics_;
  PH_ASSIGN_OR_RETURN(spool_, SyncWait(Spool::Open(*store_, spool_options)));
  metrics_.TookShard(spool_->predecessor());
  PH_RETURN_IF_ERROR(HoldAfterRestore());
  const Clock clock = spool_->options().clock;
  routing_ = NewRouting(channels.routing, MonotonicNow);
  peers_ = std::make_shared<rpc::LivePeers>(std::move(channels), runtime().config(), "queue");
  local_ = NewLocalDelivery(peers_);
  PH_ASSIGN_OR_RETURN(remote_, RemoteDelivery::Create(runtime().loops(), *routing_, settings_.remote));
  DispatcherOptions dispatch;
  dispatch.scheduler = settings_.scheduler;
  dispatch.settlement = settings_.settlement;
  dispatch.bounce = settings_.bounce;
  dispatch.clock = clock;
  dispatch.calm = &clock_;
  dispatcher_ = Dispatcher::Create({runtime().loops(), *spool_, *routing_, *local_, *remote_, metrics_}, dispatch);
  maintenance_ = std::make_unique<Maintenance>(
      *spool_, metrics_, runtime().loops().Next(),
      MaintenanceOptions{.done_retention = settings_.done_retention,
                         .delay_warning_after = settings_.settlement.delay_warning_after});
  OnCollect([this] { Collect(); });
  dispatcher_->Start();
  maintenance_->Start();
  const ServiceParts parts{.loops = runtime().loops(),
                           .spool = *spool_,
                           .dispatcher = dispatcher_,
                           .metrics = metrics_,
                           .clock = clock,
                           .expire_after = settings_.expire_after,
                           .delay_warning_after = settings_.settlement.delay_warning_after,
                           .accepting = [this]() -> absl::Status {
                             if (draining()) return absl::UnavailableError("the queue is stopping");
                             if (!spool_->healthy().ok()) return absl::UnavailableError(spool_->healthy().message());
                             return absl::OkStatus();
                           },
                           .oldest = [this] { return maintenance_->oldest(); }};
  OfferBackups({{"queue", settings_.shard, settings_.store_dir, store_.get()}});
  PH_RETURN_IF_ERROR(Serve(NewGrpcServices(runner(), parts)));
  const Ledger ledger = spool_->ledger();
  LOG_EVENT(kInfo, "queue_open")
      .Str("shard", settings_.shard)
      .Str("predecessor", PredecessorName(spool_->predecessor()))
      .Int("items", static_cast<int64_t>(ledger.items))
      .Int("recipients", static_cast<int64_t>(ledger.queued()));
  return absl::OkStatus();
}

// Only other hosts know which messages were delivered after the backup.
absl::Status App::HoldAfterRestore() {
  const std::string mark = absl::StrCat(settings_.store_dir, "/", backup::kHoldFile);
  std::error_code error;
  if (!std::filesystem::exists(mark, error)) return absl::OkStatus();
  const absl::StatusOr<uint64_t> held = SyncWait(HoldAll(*spool_, settings_.settlement.delay_warning_after));
  if (!held.ok()) return Annotate(held.status(), absl::StrCat("holding the messages of a restored queue (", mark, ")"));
  LOG_EVENT(kWarning, "restored_messages_held").Str("shard", settings_.shard).Int("items", static_cast<int64_t>(*held));
  if (!std::filesystem::remove(mark, error)) {
    return absl::FailedPreconditionError(absl::StrCat("cannot remove ", mark, ": ", error.message()));
  }
  return SyncDirectory(settings_.store_dir);
}

absl::Status App::Health() {
  PH_RETURN_IF_ERROR(spool_->healthy());
  return store_->Health();
}

absl::Status App::CheckConfig(const config::v1::Config& config) {
  PH_RETURN_IF_ERROR(backup::Settings::FromConfig(config).status());
  return Settings::FromConfig(config).status();
}

absl::Status App::Reload(const config::v1::Config& config) {
  PH_RETURN_IF_ERROR(CheckConfig(config));
  return peers_->Reload(config);
}

void App::FinishDrain(absl::Time deadline) {
  if (dispatcher_ != nullptr) dispatcher_->Drain(runtime::TimeLeft(deadline));
  if (remote_ != nullptr) remote_->Abort();  // idle connections
  if (maintenance_ != nullptr) maintenance_->Stop();
  if (spool_ == nullptr) return;
  ReleaseShard(deadline);
  SyncWait(spool_->Close());
}

// The last commit: nothing is claimed, tried or accepted any more.
void App::ReleaseShard(absl::Time deadline) {
  const absl::Time began = absl::Now();
  const absl::Status released = SyncWait(spool_->Release(std::max(deadline, began + kReleaseTime)));
  const Ledger ledger = spool_->ledger();
  log::Event(released.ok() ? log::Level::kInfo : log::Level::kWarning, "queue_released")
      .Str("shard", settings_.shard)
      .Int("items", static_cast<int64_t>(ledger.items))
      .Int("recipients", static_cast<int64_t>(ledger.queued()))
      .Seconds("took", absl::Now() - began)
      .Err(released);
}

void App::Collect() {
  metrics_.SetLedger(spool_->ledger());
  metrics_.oldest_seconds.Set(absl::ToDoubleSeconds(maintenance_->oldest()));
  dispatcher_->UpdateMetrics();
  const RemoteDelivery::Stats stats = remote_->stats();
  metrics_.connections_opened.Add(static_cast<double>(stats.opened - counted_.opened));
  metrics_.connections_reused.Add(static_cast<double>(stats.reused - counted_.reused));
  metrics_.connections_failed.Add(static_cast<double>(stats.failed - counted_.failed));
  metrics_.tls_refused.Add(static_cast<double>(stats.tls_refused - counted_.tls_refused));
  metrics_.tls_failed.Add(static_cast<double>(stats.tls_failed - counted_.tls_failed));
  metrics_.converted.Add(static_cast<double>(stats.converted - counted_.converted));
  metrics_.sessions_tls12.Add(static_cast<double>(stats.tls12 - counted_.tls12));
  metrics_.sessions_tls13.Add(static_cast<double>(stats.tls13 - counted_.tls13));
  metrics_.sessions_clear.Add(static_cast<double>(stats.clear - counted_.clear));
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
