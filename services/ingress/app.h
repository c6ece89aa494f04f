// App: the ingress service. Owns its listeners, what their sessions share, and the gRPC
// server with IngressAdminService.
//
// Ports: smtp (2525, from other hosts), submission (2587, STARTTLS and AUTH),
// submissions (2465, TLS at once and AUTH). Without certificates the last one stays
// closed and STARTTLS is not offered.
// Threads: as runtime::App says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "services/common/live_sessions/live_sessions.h"
#include "services/common/memory_budget/memory_budget.h"
#include "services/common/net/connection.h"
#include "services/common/rpc/live_peers.h"
#include "services/common/runtime/service_app.h"
#include "services/ingress/enqueue.h"
#include "services/ingress/lost_addresses.h"
#include "services/ingress/metrics.h"
#include "services/ingress/open_networks.h"
#include "services/ingress/refusals.h"
#include "services/ingress/routing_and_directory.h"
#include "services/ingress/session.h"
#include "services/ingress/settings.h"

namespace posthouse::ingress {

class App final : public runtime::ServiceApp {
 public:
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt, rpc::Channels channels);
  static absl::Status CheckConfig(const config::v1::Config& config);
  ~App() override;

  absl::Status Reload(const config::v1::Config& config) override;
  std::vector<std::pair<std::string, std::string>> Status() override;

  // 0 when the port is not open.
  uint16_t smtp_port() const { return PortOf(Port::kMx); }
  uint16_t submission_port() const { return PortOf(Port::kSubmission); }
  uint16_t submissions_port() const { return PortOf(Port::kSubmissions); }
  Metrics& metrics() { return *metrics_; }
  Refusals& refusals() { return *refusals_; }
  const MemoryBudget& memory() const { return *memory_; }
  LiveSessions* live() { return live_.get(); }  // the sessions whose clients are logged in; null: there are no logins

 private:
  App(runtime::Runtime& rt, const rpc::Channels& channels, Settings settings,
      std::shared_ptr<net::TlsServerContext> tls);
  absl::Status Listen(Port port, const Settings::Listener& listener);
  uint16_t PortOf(Port port) const;
  std::shared_ptr<const Settings> settings() const;
  void FinishDrain(absl::Time deadline) override;
  void Collect();

  const std::shared_ptr<Metrics> metrics_;
  const std::shared_ptr<Refusals> refusals_;
  OpenNetworks open_networks_;
  const std::shared_ptr<LostAddresses> lost_addresses_;
  const std::shared_ptr<rpc::LivePeers> live_peers_;
  const std::shared_ptr<RoutingAndDirectory> peers_;
  const std::shared_ptr<LiveSessions> live_;  // null: no directory is configured
  const std::shared_ptr<MemoryBudget> memory_;
  const std::shared_ptr<Enqueuer> enqueuer_;
  const std::shared_ptr<net::TlsServerContext> tls_;  // null: no certificates
  std::unique_ptr<net::Listener> listeners_[kPorts];

  mutable absl::Mutex mutex_;
  std::shared_ptr<const Settings> settings_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::ingress
