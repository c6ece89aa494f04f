// The mailbox service: owns the store, the open folders, the RPC server and the
// background work (finishing moves at start, sweeping).
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

namespace posthouse::store {
class Store;
}

namespace posthouse::mailbox {

class App final : public runtime::App {
 public:
  // Opens the store below data_dir and serves. `channels`: none are needed.
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt, rpc::Channels channels);
  static absl::Status CheckConfig(const config::v1::Config& config);
  // The same over a store of the caller's (tests).
  static absl::StatusOr<std::unique_ptr<App>> CreateOn(runtime::Runtime& rt, std::unique_ptr<store::Store> store);
  ~App() override;

  absl::string_view name() const override { return "mailbox"; }
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
  static absl::StatusOr<std::unique_ptr<App>> Start(runtime::Runtime& rt, std::shared_ptr<Parts> parts);
  const std::shared_ptr<Parts> parts_;
};

}  // namespace posthouse::mailbox
