// App: the queue service. Owns the store, the spool, the deliveries and the gRPC services.
// Threads: as runtime::App says.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/rpc/channels.h"
#include "services/common/rpc/server.h"
#include "services/common/runtime/runtime.h"
#include "services/queue/grpc_service.h"
#include "services/queue/metrics.h"
#include "services/queue/schedule/dispatcher.h"
#include "services/queue/settings.h"
#include "services/queue/spool/maintenance.h"
#include "services/queue/spool/spool.h"

namespace posthouse::store {
class RocksStore;
}

namespace posthouse::queue {

class App final : public runtime::App {
 public:
  // Needs the channels of routing and mailbox.
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt, rpc::Channels channels);
  static absl::Status CheckConfig(const config::v1::Config& config);
  ~App() override;

  absl::string_view name() const override { return "queue"; }
  absl::Status Ready() override;
  absl::Status Reload(const config::v1::Config& config) override;
  void Drain(absl::Duration grace) override;
  std::vector<std::pair<std::string, std::string>> Status() override;

  rpc::RpcServer& rpc() { return *rpc_; }
  std::vector<grpc::Service*> services() { return services_->services(); }
  Spool& spool() { return *spool_; }
  Dispatcher& dispatcher() { return *dispatcher_; }

 private:
  App(runtime::Runtime& rt, Settings settings);
  absl::Status Start(rpc::Channels channels);
  void Collect();

  // What a scrape holds on to: it may come after the app has gone.
  struct Handle {
    absl::Mutex mutex;
    App* app ABSL_GUARDED_BY(mutex) = nullptr;
  };

  runtime::Runtime& runtime_;
  const Settings settings_;
  Metrics metrics_;
  const std::shared_ptr<Handle> handle_ = std::make_shared<Handle>();
  std::unique_ptr<store::RocksStore> store_;
  std::unique_ptr<Spool> spool_;
  std::unique_ptr<Routing> routing_;
  std::unique_ptr<Delivery> local_;
  std::unique_ptr<RemoteDelivery> remote_;
  std::shared_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<Maintenance> maintenance_;
  std::unique_ptr<GrpcServices> services_;
  std::unique_ptr<rpc::RpcServer> rpc_;
  RemoteDelivery::Stats counted_;  // connections already in the counters; scrapes take turns
  std::atomic<bool> draining_{false};
  bool drained_ = false;
};

}  // namespace posthouse::queue
