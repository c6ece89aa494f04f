#include "services/common/runtime/service_app.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/backup/grpc_service.h"
#include "services/common/rpc/call_metrics.h"
#include "services/common/rpc/callers.h"
#include "services/common/rpc/listen.h"
#include "services/common/rpc/server_calls.h"

namespace posthouse::runtime {

ServiceApp::ServiceApp(Runtime& rt, std::string name, CheckConfig check)
    : runtime_(rt),
      name_(std::move(name)),
      check_(std::move(check)),
      access_(rpc::AccessOf(rt.config(), name_)),
      // Without options the server knows no callers, and Serve() fails.
      runner_(std::make_unique<rpc::ServerRunner>(rt.loops(), rt.registry(),
                                                  access_.ok() ? *access_ : rpc::AccessOptions())) {}

ServiceApp::~ServiceApp() { PH_CHECK(stopped_); }

absl::Status ServiceApp::Ready() { return phase_ == Phase::kServing ? Health() : absl::UnavailableError("draining"); }

void ServiceApp::AnnounceDrain() {
  Phase serving = Phase::kServing;
  phase_.compare_exchange_strong(serving, Phase::kAnnounced);
}

void ServiceApp::PublishReadiness() {
  if (server_ == nullptr) return;
  const bool ready = Ready().ok();
  for (const std::string& service : rpc::ServicesOf(name_)) server_->SetServing(service, ready);
  PublishProcess();
}

void ServiceApp::PublishProcess() {
  const bool ready = Ready().ok();
  server_->SetServing("", ready);
  server_->SetServing("readiness", ready);
  server_->SetServing("liveness", runtime_.loops().Alive(kStuckLoop));
}

absl::Status ServiceApp::Reload(const config::v1::Config& config) { return check_(config); }

absl::Status ServiceApp::Serve(GrpcServices services) {
  owned_ = std::move(services);
  std::vector<grpc::Service*> served;
  for (const auto& service : owned_) served.push_back(service.get());
  return Serve(std::move(served));
}

absl::Status ServiceApp::Serve(std::vector<grpc::Service*> services) {
  services_ = std::move(services);
  PH_RETURN_IF_ERROR(access_.status());
  // The parts of standalone leave theirs to the process.
  if (!stores_.empty() && !runtime_.config().rpc().in_process_only()) {
    PH_ASSIGN_OR_RETURN(backup::Settings settings, backup::Settings::FromConfig(runtime_.config()));
    backups_ = std::make_unique<backup::Backups>(std::move(settings), stores_, runtime_.registry());
    owned_.push_back(backup::NewBackupService(*runner_, *backups_, runtime_.blocking_pool()));
    services_.push_back(owned_.back().get());
    rpc::AnnounceCalls(runtime_.registry(), "posthouse.backup.v1.BackupService");
  }
  PH_ASSIGN_OR_RETURN(server_,
                      rpc::RpcServer::Start(RpcOptions(runtime_.config(), name_), services_, runtime_.registry()));
  for (const std::string& service : rpc::ServicesOf(name_)) {
    server_->SetServing(service, true);
    rpc::AnnounceCalls(runtime_.registry(), service);
  }
  // The server starts when recovery is done: a start-up probe of "liveness" covers it.
  for (const char* probe : {"liveness", "readiness"}) server_->SetServing(probe, true);
  return absl::OkStatus();
}

void ServiceApp::OnCollect(std::function<void()> update) {
  collect_ = runtime_.registry().OnCollect(std::move(update));
}

void ServiceApp::Drain(absl::Duration grace) {
  if (phase_.exchange(Phase::kDraining) == Phase::kDraining) return;
  const absl::Time deadline = absl::Now() + grace;
  BeginDrain();
  if (backups_ != nullptr) backups_->Stop();
  runner_->BeginDrain();
  if (server_ != nullptr) server_->Shutdown(RpcGrace(TimeLeft(deadline)));
  FinishDrain(deadline);
}

void ServiceApp::Stop() {
  Drain(absl::ZeroDuration());
  collect_.Unregister();
  server_ = nullptr;
  services_.clear();
  owned_.clear();
  backups_ = nullptr;
  stopped_ = true;
}

absl::Duration TimeLeft(absl::Time deadline) { return std::max(deadline - absl::Now(), absl::ZeroDuration()); }

}  // namespace posthouse::runtime
