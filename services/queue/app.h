// App: the queue service. Owns the store, the spool, the deliveries and the gRPC services.
// Threads: as runtime::App says.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/rpc/live_peers.h"
#include "services/common/runtime/service_app.h"
#include "services/common/store/guarded_partition.h"
#include "services/common/time/calm_clock.h"
#include "services/queue/metrics.h"
#include "services/queue/schedule/dispatcher.h"
#include "services/queue/settings.h"
#include "services/queue/spool/maintenance.h"
#include "services/queue/spool/spool.h"

namespace posthouse::queue {

class App final : public runtime::ServiceApp {
 public:
  // Needs the channels of routing and mailbox.
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt, rpc::Channels channels);
  static absl::Status CheckConfig(const config::v1::Config& config);
  ~App() override;

  // Takes the mailbox stores of `config`.
  absl::Status Reload(const config::v1::Config& config) override;
  std::vector<std::pair<std::string, std::string>> Status() override;

  Spool& spool() { return *spool_; }
  Dispatcher& dispatcher() { return *dispatcher_; }

 private:
  App(runtime::Runtime& rt, Settings settings);
  absl::Status Start(rpc::Channels channels);
  absl::Status HoldAfterRestore();
  absl::Status Health() override;
  absl::Duration RpcGrace(absl::Duration left) const override { return left / 2; }
  void FinishDrain(absl::Time deadline) override;
  void ReleaseShard(absl::Time deadline);
  void Collect();

  const Settings settings_;
  CalmClock clock_;  // the time of day for all parts
  Metrics metrics_;
  store::GuardMetrics guard_metrics_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Spool> spool_;
  std::unique_ptr<Routing> routing_;
  std::shared_ptr<rpc::LivePeers> peers_;
  std::unique_ptr<Delivery> local_;
  std::unique_ptr<RemoteDelivery> remote_;
  std::shared_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<Maintenance> maintenance_;
  RemoteDelivery::Stats counted_;  // connections already in the counters; scrapes take turns
};

}  // namespace posthouse::queue
