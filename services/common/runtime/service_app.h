// ServiceApp: the part of a service's App that is the same in all of them: its gRPC
// server, its gauges at each scrape, the order of a drain, and main().
//
// A service's App derives from ServiceApp. Its Create() starts the parts from the
// lowest to the highest and calls Serve() last, so that whoever calls finds all parts
// running. Its destructor calls Stop() first, while all parts live.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/backup/backups.h"
#include "services/common/metrics/metrics.h"
#include "services/common/rpc/access_options.h"
#include "services/common/rpc/channels.h"
#include "services/common/rpc/peer_check.h"
#include "services/common/rpc/server.h"
#include "services/common/runtime/runtime.h"
#include "services/common/status/status.h"

namespace grpc {
class Service;
}
namespace posthouse::rpc {
class ServerRunner;
}

namespace posthouse::runtime {

using GrpcServices = std::vector<std::shared_ptr<grpc::Service>>;

class ServiceApp : public App {
 public:
  ~ServiceApp() override;

  absl::string_view name() const final { return name_; }
  // kUnavailable from AnnounceDrain() or Drain() on, else Health().
  absl::Status Ready() final;
  // For the process, and its gRPC services (rpc::ServicesOf).
  void PublishReadiness() override;
  // Refuses a config that the service could not start with; else keeps everything as it is.
  absl::Status Reload(const config::v1::Config& config) override;
  void AnnounceDrain() override;
  // BeginDrain(), the gRPC server's Shutdown(), FinishDrain(). The second call does nothing.
  void Drain(absl::Duration grace) final;

  // Only after Serve().
  rpc::RpcServer& rpc() { return *server_; }
  // What rpc() serves, to be served by another server of the process as well.
  const std::vector<grpc::Service*>& services() const { return services_; }
  // The stores of this service, for backups.
  const std::vector<backup::Target>& stores() const { return stores_; }

 protected:
  // `check`: what the service requires of a config; also the default Reload().
  ServiceApp(Runtime& rt, std::string name, CheckConfig check);

  Runtime& runtime() { return runtime_; }
  bool draining() const { return phase_ == Phase::kDraining; }
  // For the methods of `services`. Refuses callers, counts calls, ends change streams at a drain.
  rpc::ServerRunner& runner() { return *runner_; }
  // Before Serve(): the stores that BackupService is for. They live until Stop() has returned.
  void OfferBackups(std::vector<backup::Target> stores) { stores_ = std::move(stores); }
  // Starts the gRPC server: with BackupService, if there are stores and other processes can call.
  absl::Status Serve(GrpcServices services);
  absl::Status Serve(std::vector<grpc::Service*> services);  // of other owners
  // gRPC health of the process: "" and "readiness" say what Ready() says, "liveness" whether the event loops turn.
  // Only after Serve(); main thread.
  void PublishProcess();
  // Calls `update` before each scrape, until Stop().
  void OnCollect(std::function<void()> update);
  // Drain() without grace; afterwards no scrape and no gRPC call uses a part. First in each destructor.
  void Stop();

  // Whether the service can serve its own work. Any thread.
  virtual absl::Status Health() { return absl::OkStatus(); }
  // The part of `left` that calls in flight may take, when other work needs time as well.
  virtual absl::Duration RpcGrace(absl::Duration left) const { return left; }
  // Wakes what waits for an end (change streams). Must not block.
  virtual void BeginDrain() {}
  // Ends the work that is no gRPC call, until `deadline`.
  virtual void FinishDrain(absl::Time /*deadline*/) {}

 private:
  Runtime& runtime_;
  const std::string name_;
  const CheckConfig check_;
  const absl::StatusOr<rpc::AccessOptions> access_;
  const std::unique_ptr<rpc::ServerRunner> runner_;
  GrpcServices owned_;
  std::vector<grpc::Service*> services_;
  std::vector<backup::Target> stores_;
  std::unique_ptr<backup::Backups> backups_;
  std::unique_ptr<rpc::RpcServer> server_;
  metrics::CollectHandle collect_;
  // An announced drain only ends readiness: the service goes on with its work.
  enum class Phase { kServing, kAnnounced, kDraining };
  std::atomic<Phase> phase_{Phase::kServing};
  bool stopped_ = false;
};

// The time from now to `deadline`, at least zero.
absl::Duration TimeLeft(absl::Time deadline);

// main() of the service `App`, a ServiceApp.
template <typename App>
int ServiceMain(int argc, char** argv, const std::string& name) {
  const auto make = [name](Runtime& rt) -> absl::StatusOr<std::unique_ptr<runtime::App>> {
    PH_ASSIGN_OR_RETURN(rpc::Channels channels, rpc::DialPeers(rt.config(), name));
    PH_RETURN_IF_ERROR(rpc::CheckPeers(rt.config(), name, channels));
    return App::Create(rt, std::move(channels));
  };
  return Main(argc, argv, name, make, App::CheckConfig);
}

}  // namespace posthouse::runtime
