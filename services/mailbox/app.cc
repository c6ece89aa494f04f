#include "services/mailbox/app.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/log/log.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/mailbox/folder/mailboxes.h"
#include "services/mailbox/folder/sweeper.h"
#include "services/mailbox/grpc_service.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"
#include "services/mailbox/settings.h"

namespace posthouse::mailbox {
namespace {

store::RocksOptions StoreOptions(const config::v1::Config& config) {
  store::RocksOptions options;
  options.path = absl::StrCat(config.data_dir(), "/mailbox");
  options.name = "mailbox";
  const auto& own = config.store();
  if (own.block_cache_bytes() != 0) options.block_cache_bytes = own.block_cache_bytes();
  if (own.write_buffer_bytes() != 0) options.write_buffer_bytes = own.write_buffer_bytes();
  if (own.min_free_bytes() != 0) options.min_free_bytes = own.min_free_bytes();
  if (own.read_threads() != 0) options.read_threads = static_cast<int>(own.read_threads());
  return options;
}

// The store's schema number: newer than ours refuses to open (STYLE of all stores).
Task<absl::Status> CheckSchema(store::Store& store) {
  store::ReadRequest request;
  request.partition = SystemPartition();
  request.keys = {SystemKey()};
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult read, co_await store.Read(std::move(request)));
  if (read.values[0].has_value()) {
    PH_CO_ASSIGN_OR_RETURN(const v1::SystemRow row, DecodeRow<v1::SystemRow>(*read.values[0]));
    if (row.schema() <= kSchemaVersion) co_return absl::OkStatus();
    co_return absl::FailedPreconditionError(
        absl::StrCat("the mail store has schema ", row.schema(), ", this binary knows ", kSchemaVersion));
  }
  v1::SystemRow row;
  row.set_schema(kSchemaVersion);
  store::CommitRequest commit;
  commit.partition = SystemPartition();
  commit.mutations = {{SystemKey(), EncodeRow(row)}};
  co_return co_await store.Commit(std::move(commit));
}

}  // namespace

// In the order of their making; shared with the metrics' collector, which may look
// while the service goes down.
struct App::Parts {
  Parts(runtime::Runtime& rt, std::unique_ptr<store::Store> s)
      : runtime(rt),
        store(std::move(s)),
        metrics(rt.registry()),
        deps{*store, metrics, hints, pins, SettingsFrom(rt.config())},
        mailboxes(deps),
        sweeper(deps, mailboxes),
        runner(rt.loops(), rt.registry()) {}

  runtime::Runtime& runtime;
  std::unique_ptr<store::Store> store;
  store::RocksStore* rocks = nullptr;  // when it is one
  Metrics metrics;
  ChangeHints hints;
  BlobPins pins;
  MailboxDeps deps;
  Mailboxes mailboxes;
  Sweeper sweeper;
  rpc::ServerRunner runner;
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<rpc::RpcServer> server;

  // The background task; it works on the blocking pool.
  Wakeup wake;
  std::atomic<bool> stopping{false};
  absl::Notification background_done;

  // Touches nothing of `parts` after background_done, which Stop() waits for.
  static Task<void> Background(Parts& parts) {
    log::LogIfError(co_await parts.sweeper.RecoverAll(), "finishing moves");
    while (!parts.stopping) {
      co_await parts.wake.WaitFor(parts.deps.settings.sweep_interval);
      if (parts.stopping) break;
      parts.mailboxes.Trim();
      log::LogIfError((co_await parts.sweeper.Sweep()).status(), "sweeping");
    }
    parts.background_done.Notify();
  }

  void Stop() {
    if (stopping.exchange(true)) return;
    sweeper.Stop();
    wake.Signal();
    background_done.WaitForNotification();
  }
};

App::App(std::shared_ptr<Parts> parts) : parts_(std::move(parts)) {}

App::~App() {
  parts_->hints.Close();
  parts_->Stop();
  parts_->server.reset();
}

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt, rpc::Channels) {
  const store::RocksOptions options = StoreOptions(rt.config());
  if (rt.config().data_dir().empty()) return absl::InvalidArgumentError("data_dir: the mailbox needs one");
  std::error_code error;
  std::filesystem::create_directories(rt.config().data_dir(), error);
  if (error) {
    return absl::FailedPreconditionError(absl::StrCat("cannot create ", rt.config().data_dir(), ": ", error.message()));
  }
  PH_ASSIGN_OR_RETURN(std::unique_ptr<store::RocksStore> rocks, store::RocksStore::Open(options, rt.registry()));
  store::RocksStore* const borrowed = rocks.get();
  const auto parts = std::make_shared<Parts>(rt, std::move(rocks));
  parts->rocks = borrowed;
  return Start(rt, parts);
}

absl::StatusOr<std::unique_ptr<App>> App::CreateOn(runtime::Runtime& rt, std::unique_ptr<store::Store> store) {
  return Start(rt, std::make_shared<Parts>(rt, std::move(store)));
}

absl::StatusOr<std::unique_ptr<App>> App::Start(runtime::Runtime& rt, std::shared_ptr<Parts> parts) {
  PH_RETURN_IF_ERROR(Validate(parts->deps.settings));
  parts->deps.executor = &rt.blocking_pool();
  PH_RETURN_IF_ERROR(SyncWait(CheckSchema(*parts->store)));
  parts->service = NewMailboxService(parts->deps, parts->mailboxes, parts->runner, rt.blocking_pool());
  const std::weak_ptr<Parts> weak = parts;
  rt.registry().OnCollect([weak] {
    const auto live = weak.lock();
    if (live == nullptr) return;
    live->mailboxes.UpdateMetrics();
    live->metrics.watch_streams.Set(static_cast<double>(live->hints.streams()));
    live->metrics.watched_folders.Set(static_cast<double>(live->hints.watched_folders()));
  });
  PH_ASSIGN_OR_RETURN(parts->server, rpc::RpcServer::Start(runtime::RpcOptions(rt.config(), "mailbox"),
                                                           {parts->service.get()}, rt.registry()));
  Spawn(rt.blocking_pool(), Parts::Background(*parts));
  parts->server->SetServing(true);
  return std::unique_ptr<App>(new App(parts));
}

absl::Status App::Ready() { return parts_->rocks == nullptr ? absl::OkStatus() : parts_->rocks->Health(); }

// Nothing of the mailbox's changes without a restart; a bad config is refused all the same.
absl::Status App::CheckConfig(const config::v1::Config& config) { return Validate(SettingsFrom(config)); }

absl::Status App::Reload(const config::v1::Config& config) { return CheckConfig(config); }

void App::Drain(absl::Duration grace) {
  parts_->hints.Close();
  parts_->runner.BeginDrain();
  parts_->server->Shutdown(grace);
  parts_->Stop();
}

std::vector<std::pair<std::string, std::string>> App::Status() {
  parts_->mailboxes.UpdateMetrics();
  return {{"open folders", absl::StrCat(parts_->metrics.open_folders.Value())},
          {"memory of open folders", absl::StrCat(parts_->metrics.open_folder_bytes.Value(), " bytes")},
          {"open accounts", absl::StrCat(parts_->metrics.open_accounts.Value())},
          {"watch streams", absl::StrCat(parts_->hints.streams())},
          {"watched folders", absl::StrCat(parts_->hints.watched_folders())},
          {"deliveries stored", absl::StrCat(parts_->metrics.Deliveries(DeliveryResult::kStored).Value())},
          {"appends stored", absl::StrCat(parts_->metrics.appends.Value())}};
}

rpc::RpcServer& App::rpc() { return *parts_->server; }

std::vector<grpc::Service*> App::services() { return {parts_->service.get()}; }

}  // namespace posthouse::mailbox
