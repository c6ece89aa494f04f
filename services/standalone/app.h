// App: all six services in one process, joined by in-process gRPC channels.
//
// The same Apps as in separate processes, each with its own in-process RPC server;
// one more server on TCP (rpc.port, 7400) serves all their APIs for posthousectl.
// Starts downwards (directory, mailbox, routing, queue, then ingress and gateway)
// and drains upwards, so that nobody loses a service that he still needs: ingress and
// gateway side by side within three quarters of the grace, the rest keeps the others.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/rpc/server.h"
#include "services/common/runtime/runtime.h"

namespace posthouse::ingress {
class App;
}
namespace posthouse::gateway {
class App;
}

namespace posthouse::standalone {

class App final : public runtime::App {
 public:
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt);
  static absl::Status CheckConfig(const config::v1::Config& config);
  ~App() override;

  absl::string_view name() const override { return "standalone"; }
  absl::Status Ready() override;
  absl::Status Reload(const config::v1::Config& config) override;
  bool Reloadable(absl::string_view key) const override;
  void Drain(absl::Duration grace) override;
  std::vector<std::pair<std::string, std::string>> Status() override;

  rpc::RpcServer& rpc() { return *admin_; }
  ingress::App& ingress() { return *ingress_; }
  gateway::App& gateway() { return *gateway_; }

 private:
  class Part;  // the Runtime that a service sees
  explicit App(runtime::Runtime& rt);
  absl::Status Start();

  const std::unique_ptr<Part> part_;
  std::vector<std::unique_ptr<runtime::App>> apps_;  // in order of start
  std::vector<grpc::Service*> services_;
  ingress::App* ingress_ = nullptr;
  gateway::App* gateway_ = nullptr;
  std::unique_ptr<rpc::RpcServer> admin_;
};

}  // namespace posthouse::standalone
