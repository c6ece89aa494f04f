#include "services/standalone/app.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/rpc/channels.h"
#include "services/common/status/status.h"
#include "services/directory/app.h"
#include "services/gateway/app.h"
#include "services/ingress/app.h"
#include "services/mailbox/app.h"
#include "services/queue/app.h"
#include "services/routing/app.h"

namespace posthouse::standalone {
namespace {

// What the configuration of each part says beyond the file: no socket between the
// parts, and a certificate of our own when none is named.
config::v1::Config PartConfig(config::v1::Config config) {
  config.mutable_rpc()->set_in_process_only(true);
  config.clear_peers();
  if (config.tls().certificates().empty() && !config.tls().has_self_signed()) {
    config.mutable_tls()->set_self_signed(true);
  }
  return config;
}

void Append(std::vector<grpc::Service*>* all, const std::vector<grpc::Service*>& more) {
  all->insert(all->end(), more.begin(), more.end());
}

}  // namespace

class App::Part final : public runtime::Runtime {
 public:
  explicit Part(runtime::Runtime& rt) : whole_(rt), config_(PartConfig(rt.config())) {}
  const config::v1::Config& config() const override { return config_; }
  net::EventLoops& loops() override { return whole_.loops(); }
  ThreadPool& blocking_pool() override { return whole_.blocking_pool(); }
  metrics::Registry& registry() override { return whole_.registry(); }
  const config::v1::Config& whole_config() const { return whole_.config(); }

 private:
  runtime::Runtime& whole_;
  const config::v1::Config config_;
};

App::App(runtime::Runtime& rt) : part_(std::make_unique<Part>(rt)) {}

App::~App() {
  admin_.reset();
  while (!apps_.empty()) apps_.pop_back();  // the last started depends on the others
}

absl::StatusOr<std::unique_ptr<App>> App::Create(runtime::Runtime& rt) {
  std::unique_ptr<App> app(new App(rt));
  const absl::Status started = app->Start();
  if (!started.ok()) {
    app->Drain(absl::ZeroDuration());
    return started;
  }
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

bool App::Reloadable(absl::string_view key) const {
  return std::any_of(apps_.begin(), apps_.end(), [key](const auto& app) { return app->Reloadable(key); });
}

absl::Status App::Start() {
  PH_ASSIGN_OR_RETURN(std::unique_ptr<directory::App> directory, directory::App::Create(*part_, {}));
  rpc::Channels channels;
  channels.directory = directory->rpc().InProcessChannel();
  Append(&services_, directory->services());
  apps_.push_back(std::move(directory));

  PH_ASSIGN_OR_RETURN(std::unique_ptr<mailbox::App> mailbox, mailbox::App::Create(*part_, {}));
  channels.mailbox[""] = mailbox->rpc().InProcessChannel();
  Append(&services_, mailbox->services());
  apps_.push_back(std::move(mailbox));

  PH_ASSIGN_OR_RETURN(std::unique_ptr<routing::App> routing, routing::App::Create(*part_, channels));
  channels.routing = routing->rpc().InProcessChannel();
  Append(&services_, routing->services());
  apps_.push_back(std::move(routing));

  PH_ASSIGN_OR_RETURN(std::unique_ptr<queue::App> queue, queue::App::Create(*part_, channels));
  channels.queue.push_back(queue->rpc().InProcessChannel());
  Append(&services_, queue->services());
  apps_.push_back(std::move(queue));

  PH_ASSIGN_OR_RETURN(std::unique_ptr<ingress::App> ingress, ingress::App::Create(*part_, channels));
  ingress_ = ingress.get();
  apps_.push_back(std::move(ingress));

  PH_ASSIGN_OR_RETURN(std::unique_ptr<gateway::App> gateway, gateway::App::Create(*part_, channels));
  gateway_ = gateway.get();
  apps_.push_back(std::move(gateway));

  PH_ASSIGN_OR_RETURN(admin_, rpc::RpcServer::Start(runtime::RpcOptions(part_->whole_config(), "standalone"), services_,
                                                    part_->registry()));
  return absl::OkStatus();
}

absl::Status App::Ready() {
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
    absl::Status status = app->Reload(part);  // one that fails keeps what it had; the others go on
    if (first.ok() && !status.ok()) first = Annotate(status, app->name());
  }
  return first;
}

void App::Drain(absl::Duration grace) {
  const absl::Time deadline = absl::Now() + grace;
  const auto left = [&] { return std::max(deadline - absl::Now(), absl::ZeroDuration()); };
  if (admin_ != nullptr) admin_->Shutdown(std::min(left(), absl::Seconds(2)));
  // A long download must not take the time of a message that comes in, nor both that
  // of the queue's deliveries.
  const absl::Duration edge = left() * 0.75;
  std::thread gateway([this, edge] {
    if (gateway_ != nullptr) gateway_->Drain(edge);
  });
  if (ingress_ != nullptr) ingress_->Drain(edge);
  gateway.join();
  for (auto app = apps_.rbegin(); app != apps_.rend(); ++app) (*app)->Drain(left());
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
