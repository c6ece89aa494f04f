#include "services/mailbox/app.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/backup/settings.h"
#include "services/common/log/log.h"
#include "services/common/runtime/shard.h"
#include "services/common/status/status.h"
#include "services/common/store/open.h"
#include "services/mailbox/directory_registry.h"
#include "services/mailbox/folder/eraser.h"
#include "services/mailbox/folder/mailboxes.h"
#include "services/mailbox/folder/sweeper.h"
#include "services/mailbox/grpc_service.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"
#include "services/mailbox/settings.h"

namespace posthouse::mailbox {
namespace {

// Refuses a store that a newer version has written; writes the schema number into a new one.
Task<absl::Status> CheckSchema(store::Store& store) {
  store::ReadRequest request;
  request.partition = SystemPartition();
  request.keys = {SystemKey()};
  const absl::StatusOr<store::ReadResult> read = co_await store.Read(std::move(request));
  if (!read.ok() && !absl::IsDataLoss(read.status())) co_return read.status();
  if (read.ok() && read->values[0].has_value()) {
    // RocksDB checks what it reads: a row of another form is not damage, another program wrote it.
    if (read->values[0]->empty() || read->values[0]->front() != kSchemaTag) {
      co_return absl::FailedPreconditionError(
          "the mail store has a schema that this binary does not know. Run the release that wrote it, or a newer one.");
    }
    const absl::StatusOr<v1::SystemRow> row = DecodeRow<v1::SystemRow>(*read->values[0]);
    if (row.ok() && row->schema() <= kSchemaVersion) co_return absl::OkStatus();
    if (row.ok()) {
      co_return absl::FailedPreconditionError(
          absl::StrCat("the mail store has schema ", row->schema(), ", this binary knows ", kSchemaVersion));
    }
    LOG_EVENT(kError, "mailbox_schema_row_damaged").Err(row.status());
  } else if (!read.ok()) {
    // Each other row says by its tag whether this binary knows it.
    LOG_EVENT(kError, "mailbox_schema_row_damaged").Err(read.status());
  }
  v1::SystemRow row;
  row.set_schema(kSchemaVersion);
  store::CommitRequest commit;
  commit.partition = SystemPartition();
  commit.mutations = {{SystemKey(), EncodeRow(row)}};
  commit.use_reserve = true;  // a full disk must not stop the start
  co_return co_await store.Commit(std::move(commit));
}

constexpr absl::Duration kSweepWhenFull = absl::Minutes(1);  // between sweeps of a full store

}  // namespace

// In the order of construction.
struct App::Parts {
  Parts(runtime::Runtime& rt, std::unique_ptr<store::Store> s)
      : store(std::move(s)),
        metrics(rt.registry()),
        deps{*store, metrics, hints, pins, nullptr, SettingsFrom(rt.config())},
        mailboxes(deps),
        sweeper(deps, mailboxes),
        eraser(deps, mailboxes) {}

  std::unique_ptr<store::Store> store;
  Metrics metrics;
  ChangeHints hints;
  BlobPins pins;
  MailboxDeps deps;
  Mailboxes mailboxes;
  Sweeper sweeper;
  Eraser eraser;

  // The background tasks; they work on the blocking pool.
  Wakeup wake;
  Wakeup wake_eraser;
  std::atomic<bool> stopping{false};
  bool background_runs = false;
  absl::Notification background_done;
  absl::Notification erasing_done;

  std::unique_ptr<AccountRegistry> registry;  // calls wake_eraser

  // Returns when sweep_interval has passed, or earlier when the store is full, so that
  // expunged mail makes room at once.
  static Task<void> WaitForSweep(Parts& parts) {
    constexpr absl::Duration kLook = absl::Seconds(10);
    absl::Duration waited;
    while (!parts.stopping && waited < parts.deps.settings.sweep_interval) {
      const absl::Duration wait = std::min(kLook, parts.deps.settings.sweep_interval - waited);
      co_await parts.wake.WaitFor(wait);
      waited += wait;
      const absl::StatusOr<store::CapacityInfo> capacity = co_await parts.store->Capacity();
      if (capacity.ok() && capacity->full && waited >= std::min(kSweepWhenFull, parts.deps.settings.sweep_interval)) {
        co_return;
      }
    }
  }

  // Touches nothing of `parts` after background_done, which Stop() waits for.
  static Task<void> Background(Parts& parts) {
    log::LogIfError(co_await parts.sweeper.RecoverAll(), "finishing moves");
    while (!parts.stopping) {
      co_await WaitForSweep(parts);
      if (parts.stopping) break;
      parts.mailboxes.Trim();
      log::LogIfError((co_await parts.sweeper.Sweep()).status(), "sweeping");
    }
    parts.background_done.Notify();
  }

  static Task<void> Erasing(Parts& parts) {
    while (!parts.stopping) {
      co_await parts.wake_eraser.WaitFor(parts.deps.settings.erase_interval);
      if (parts.stopping) break;
      const absl::StatusOr<uint64_t> erased = co_await parts.eraser.Run();
      // The directory is away: the next run asks again.
      if (!erased.ok() && !absl::IsUnavailable(erased.status()) && !absl::IsCancelled(erased.status())) {
        LOG_EVENT(kError, "account_erasure_failed").Err(erased.status());
      }
    }
    parts.erasing_done.Notify();
  }

  void Stop() {
    if (stopping.exchange(true)) return;
    sweeper.Stop();
    eraser.Stop();
    wake.Signal();
    wake_eraser.Signal();
    if (registry != nullptr) registry->Close();
    if (!background_runs) return;
    background_done.WaitForNotification();
    erasing_done.WaitForNotification();
  }
};

App::App(runtime::Runtime& rt, std::unique_ptr<Parts> parts)
    : ServiceApp(rt, "mailbox", CheckConfig), parts_(std::move(parts)) {}

App::~App() { Stop(); }

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels channels) {
  if (rt.config().data_dir().empty()) return absl::InvalidArgumentError("data_dir: the mailbox needs one");
  if (channels.directory == nullptr) return absl::InvalidArgumentError("peers.directory: the mailbox needs it");
  PH_ASSIGN_OR_RETURN(std::unique_ptr<store::Store> opened,
                      store::Open("mailbox", absl::StrCat(rt.config().data_dir(), "/mailbox"), rt.config().store(),
                                  rt.registry(), rt.accept_data_loss()));
  PH_RETURN_IF_ERROR(runtime::ClaimShard(absl::StrCat(rt.config().data_dir(), "/mailbox"), "mailbox.shard",
                                         rt.config().mailbox().shard()));
  auto parts = std::make_unique<Parts>(rt, std::move(opened));
  parts->registry = NewDirectoryRegistry(channels.directory, parts->deps.settings.shard, rt.blocking_pool(),
                                         [p = parts.get()] { p->wake_eraser.Signal(); });
  return Start(rt, std::move(parts));
}

absl::StatusOr<std::unique_ptr<App>> App::CreateOn(runtime::Runtime& rt, std::unique_ptr<store::Store> store,
                                                   std::unique_ptr<AccountRegistry> registry) {
  auto parts = std::make_unique<Parts>(rt, std::move(store));
  parts->registry = std::move(registry);
  return Start(rt, std::move(parts));
}

absl::StatusOr<std::unique_ptr<App>> App::Start(runtime::Runtime& rt, std::unique_ptr<Parts> parts) {
  parts->deps.registry = parts->registry.get();
  PH_RETURN_IF_ERROR(Validate(parts->deps.settings));
  parts->deps.executor = &rt.blocking_pool();
  PH_RETURN_IF_ERROR(SyncWait(CheckSchema(*parts->store)));
  std::unique_ptr<App> app(new App(rt, std::move(parts)));
  Parts& p = *app->parts_;
  app->OnCollect([&p] {
    p.mailboxes.UpdateMetrics();
    p.metrics.watch_streams.Set(static_cast<double>(p.hints.streams()));
    p.metrics.watched_folders.Set(static_cast<double>(p.hints.watched_folders()));
  });
  app->OfferBackups(
      {{"mailbox", p.deps.settings.shard.value(), absl::StrCat(rt.config().data_dir(), "/mailbox"), p.store.get()}});
  p.background_runs = true;
  Spawn(rt.blocking_pool(), Parts::Background(p));
  Spawn(rt.blocking_pool(), Parts::Erasing(p));
  PH_RETURN_IF_ERROR(app->Serve(NewGrpcServices(app->runner(), p.deps, p.mailboxes, rt.blocking_pool())));
  return app;
}

absl::Status App::Health() { return parts_->store->Health(); }

absl::Status App::CheckConfig(const config::v1::Config& config) {
  PH_RETURN_IF_ERROR(backup::Settings::FromConfig(config).status());
  return Validate(SettingsFrom(config));
}

void App::BeginDrain() { parts_->hints.Close(); }

void App::FinishDrain(absl::Time /*deadline*/) { parts_->Stop(); }

std::vector<std::pair<std::string, std::string>> App::Status() {
  parts_->mailboxes.UpdateMetrics();
  return {{"open folders", absl::StrCat(parts_->metrics.open_folders.Value())},
          {"memory of open folders", absl::StrCat(parts_->metrics.open_folder_bytes.Value(), " bytes")},
          {"open accounts", absl::StrCat(parts_->metrics.open_accounts.Value())},
          {"erasures pending", absl::StrCat(parts_->metrics.erasures_pending.Value())},
          {"watch streams", absl::StrCat(parts_->hints.streams())},
          {"watched folders", absl::StrCat(parts_->hints.watched_folders())},
          {"deliveries stored", absl::StrCat(parts_->metrics.Deliveries(DeliveryResult::kStored).Value())},
          {"appends stored", absl::StrCat(parts_->metrics.appends.Value())}};
}

}  // namespace posthouse::mailbox
