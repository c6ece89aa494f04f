// The routing service: caches, the DNS client and the RPC server. Keeps nothing.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/rpc/channels.h"
#include "services/common/rpc/server.h"
#include "services/common/runtime/runtime.h"

namespace grpc {
class Service;
}

namespace posthouse::routing {

class App final : public runtime::App {
 public:
  // `channels.directory` is needed. The directory itself need not be up yet.
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt, rpc::Channels channels);
  static absl::Status CheckConfig(const config::v1::Config& config);
  ~App() override;

  absl::string_view name() const override { return "routing"; }
  absl::Status Ready() override;
  absl::Status Reload(const config::v1::Config& config) override;
  void Drain(absl::Duration grace) override;
  std::vector<std::pair<std::string, std::string>> Status() override;

  rpc::RpcServer& rpc();
  // What rpc() serves, to be served by another server of the process as well.
  std::vector<grpc::Service*> services();

 private:
  struct Parts;
  explicit App(std::shared_ptr<Parts> parts);
  const std::shared_ptr<Parts> parts_;
};

}  // namespace posthouse::routing
