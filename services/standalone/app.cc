#include "services/standalone/app.h"

#include <algorithm>
#include <map>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/backup/backups.h"
#include "services/common/live_sessions/sessions_service.h"
#include "services/common/memory_limit/memory_limit.h"
#include "services/common/rpc/callers.h"
#include "services/common/status/status.h"
#include "services/directory/app.h"
#include "services/gateway/app.h"
#include "services/ingress/app.h"
#include "services/mailbox/app.h"
#include "services/queue/app.h"
#include "services/routing/app.h"

namespace posthouse::standalone {
namespace {

// The configuration of each part: that of the process, without sockets between the parts,
// and with a self-signed certificate when none is named.
config::v1::Config PartConfig(config::v1::Config config) {
  config.mutable_rpc()->set_in_process_only(true);
  config.clear_peers();
  if (config.tls().certificates().empty() && !config.tls().has_self_signed()) {
    config.mutable_tls()->set_self_signed(true);
  }
  // Three stores share the memory of the process.
  const StoreMemory memory = StoreMemoryFor(MemoryLimit(), 3);
  config::v1::StoreSettings& store = *config.mutable_store();
  if (store.block_cache_bytes() == 0) store.set_block_cache_bytes(memory.block_cache_bytes);
  if (store.write_buffer_bytes() == 0) store.set_write_buffer_bytes(memory.write_buffer_bytes);
  return config;
}

}  // namespace

class App::Part final : public runtime::Runtime {
 public:
  explicit Part(runtime::Runtime& rt) : whole_(rt), config_(PartConfig(rt.config())) {}
  const config::v1::Config& config() const override { return config_; }
  net::EventLoops& loops() override { return whole_.loops(); }
  ThreadPool& blocking_pool() override { return whole_.blocking_pool(); }
  metrics::Registry& registry() override { return whole_.registry(); }
  bool accept_data_loss() const override { return whole_.accept_data_loss(); }

 private:
  runtime::Runtime& whole_;
  const config::v1::Config config_;
};

App::App(runtime::Runtime& rt) : ServiceApp(rt, "standalone", CheckConfig), part_(std::make_unique<Part>(rt)) {}

App::~App() {
  Stop();
  while (!apps_.empty()) apps_.pop_back();  // the last started depends on the others
}

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt) {
  std::unique_ptr<App> app(new App(rt));
  PH_RETURN_IF_ERROR(app->Start());
  return app;
}

absl::Status App::CheckConfig(const config::v1::Config& config) {
  const config::v1::Config part = PartConfig(config);
  PH_RETURN_IF_ERROR(directory::App::CheckConfig(part));
  PH_RETURN_IF_ERROR(mailbox::App::CheckConfig(part));
  PH_RETURN_IF_ERROR(routing::App::CheckConfig(part));
  PH_RETURN_IF_ERROR(queue::App::CheckConfig(part));
  PH_RETURN_IF_ERROR(ingress::App::CheckConfig(part));
  return gateway::App::CheckConfig(part);
}

absl::Status App::Start() {
  struct {
    rpc::RpcServer *directory = nullptr, *mailbox = nullptr, *routing = nullptr, *queue = nullptr;
  } running;
  // The channels of one part to those that run: each call says which part makes it.
  const auto channels = [&](rpc::Caller caller) {
    const auto to = [caller](rpc::RpcServer* server) {
      return server == nullptr ? nullptr : server->InProcessChannel(caller);
    };
    rpc::Channels all;
    all.directory = to(running.directory);
    all.routing = to(running.routing);
    if (running.queue != nullptr) all.queue.push_back(to(running.queue));
    if (running.mailbox != nullptr) all.mailbox[Home()] = std::make_shared<rpc::Members>(to(running.mailbox));
    return all;
  };
  std::vector<grpc::Service*> served;
  // Starts one part after those that it needs; its APIs join the process's server.
  const auto add = [&](auto created) -> absl::StatusOr<decltype(created->get())> {
    if (!created.ok()) return created.status();
    const auto app = created->get();
    served.insert(served.end(), app->services().begin(), app->services().end());
    apps_.push_back(*std::move(created));
    return app;
  };
  PH_ASSIGN_OR_RETURN(auto* const directory, add(directory::App::Create(*part_, channels(rpc::Caller::kDirectory))));
  running.directory = &directory->rpc();
  PH_ASSIGN_OR_RETURN(auto* const mailbox, add(mailbox::App::Create(*part_, channels(rpc::Caller::kMailbox))));
  running.mailbox = &mailbox->rpc();
  PH_ASSIGN_OR_RETURN(auto* const routing, add(routing::App::Create(*part_, channels(rpc::Caller::kRouting))));
  running.routing = &routing->rpc();
  PH_ASSIGN_OR_RETURN(auto* const queue, add(queue::App::Create(*part_, channels(rpc::Caller::kQueue))));
  running.queue = &queue->rpc();
  PH_ASSIGN_OR_RETURN(ingress_, add(ingress::App::Create(*part_, channels(rpc::Caller::kIngress))));
  PH_ASSIGN_OR_RETURN(gateway_, add(gateway::App::Create(*part_, channels(rpc::Caller::kGateway))));
  std::vector<LiveSessions*> live = {&gateway_->live()};
  if (ingress_->live() != nullptr) live.push_back(ingress_->live());
  sessions_ = NewSessionsService(runner(), std::move(live));
  served.push_back(sessions_.get());
  std::vector<backup::Target> stores;
  for (const auto& app : apps_) stores.insert(stores.end(), app->stores().begin(), app->stores().end());
  OfferBackups(std::move(stores));
  return Serve(std::move(served));
}

void App::PublishReadiness() {
  std::map<std::string, bool> serving;  // one service may belong to two parts
  for (const auto& app : apps_) {
    const bool ready = app->Ready().ok();
    for (const std::string& service : rpc::ServicesOf(app->name())) {
      serving[service] = serving.emplace(service, true).first->second && ready;
    }
  }
  for (const auto& [service, ready] : serving) rpc().SetServing(service, ready);
  PublishProcess();
}

void App::AnnounceDrain() {
  ServiceApp::AnnounceDrain();
  for (const auto& app : apps_) app->AnnounceDrain();
}

absl::Status App::Health() {
  for (const auto& app : apps_) {
    const absl::Status ready = app->Ready();
    if (!ready.ok()) return Annotate(ready, app->name());
  }
  return absl::OkStatus();
}

absl::Status App::Reload(const config::v1::Config& config) {
  const config::v1::Config part = PartConfig(config);
  absl::Status first;
  for (const auto& app : apps_) {
    absl::Status status = app->Reload(part);
    if (first.ok() && !status.ok()) first = Annotate(status, app->name());
  }
  return first;
}

// posthousectl's calls are short; the grace is for mail.
absl::Duration App::RpcGrace(absl::Duration left) const { return std::min(left, absl::Seconds(2)); }

void App::FinishDrain(absl::Time deadline) {
  // A long download must not take the time of a message that comes in, nor both of them
  // the time of the queue's deliveries.
  const absl::Duration edge = runtime::TimeLeft(deadline) * 0.75;
  std::thread gateway([this, edge] {
    if (gateway_ != nullptr) gateway_->Drain(edge);
  });
  if (ingress_ != nullptr) ingress_->Drain(edge);
  gateway.join();
  for (auto app = apps_.rbegin(); app != apps_.rend(); ++app) (*app)->Drain(runtime::TimeLeft(deadline));
}

std::vector<std::pair<std::string, std::string>> App::Status() {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto& app : apps_) {
    for (auto& [name, value] : app->Status())
      rows.emplace_back(absl::StrCat(app->name(), ": ", name), std::move(value));
  }
  return rows;
}

}  // namespace posthouse::standalone
