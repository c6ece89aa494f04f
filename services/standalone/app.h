// App: all six services in one process, joined by in-process gRPC channels.
//
// The same Apps as in separate processes, each with its own in-process gRPC server, whose
// callers are the other parts. One more server serves all their APIs for posthousectl: on the
// socket <data_dir>/posthouse.sock, and with mTLS or a token also on TCP (rpc.port, 7400).
// Starts upwards (directory, mailbox, routing, queue, then ingress and gateway) and
// drains downwards, so that no service loses another that it still needs. Ingress and
// gateway drain side by side within three quarters of the grace; the rest is for the
// services below them.
//
// Threads: as service_app.h and runtime.h say.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/runtime/service_app.h"

namespace posthouse::ingress {
class App;
}
namespace posthouse::gateway {
class App;
}

namespace posthouse::standalone {

class App final : public runtime::ServiceApp {
 public:
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt);
  static absl::Status CheckConfig(const config::v1::Config& config);
  ~App() override;

  // To every part. A part that refuses keeps what it had; the others go on. Returns the first error.
  absl::Status Reload(const config::v1::Config& config) override;
  std::vector<std::pair<std::string, std::string>> Status() override;
  void PublishReadiness() override;
  void AnnounceDrain() override;

  ingress::App& ingress() { return *ingress_; }
  gateway::App& gateway() { return *gateway_; }

 private:
  class Part;  // the Runtime that a service sees
  explicit App(runtime::Runtime& rt);
  absl::Status Start();
  absl::Status Health() override;
  absl::Duration RpcGrace(absl::Duration left) const override;
  void FinishDrain(absl::Time deadline) override;

  const std::unique_ptr<Part> part_;
  std::vector<std::unique_ptr<runtime::ServiceApp>> apps_;  // in order of start
  std::shared_ptr<grpc::Service> sessions_;                 // of gateway and ingress together
  ingress::App* ingress_ = nullptr;
  gateway::App* gateway_ = nullptr;
};

}  // namespace posthouse::standalone
