// App: the mailbox service. Owns the store, the open folders, the gRPC service and the
// background work (finishing moves at the start, sweeping). Threads: as runtime::App says.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/runtime/service_app.h"

namespace posthouse::store {
class Store;
}

namespace posthouse::mailbox {

class AccountRegistry;

class App final : public runtime::ServiceApp {
 public:
  // Opens the store below data_dir and serves. Uses the channel to the directory.
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt, rpc::Channels channels);
  static absl::Status CheckConfig(const config::v1::Config& config);
  // The same over a store, and a directory, of the caller's (tests).
  static absl::StatusOr<std::unique_ptr<App>> CreateOn(runtime::Runtime& rt, std::unique_ptr<store::Store> store,
                                                       std::unique_ptr<AccountRegistry> registry);
  ~App() override;

  std::vector<std::pair<std::string, std::string>> Status() override;

 private:
  struct Parts;
  App(runtime::Runtime& rt, std::unique_ptr<Parts> parts);
  static absl::StatusOr<std::unique_ptr<App>> Start(runtime::Runtime& rt, std::unique_ptr<Parts> parts);
  absl::Status Health() override;
  void BeginDrain() override;
  void FinishDrain(absl::Time deadline) override;
  const std::unique_ptr<Parts> parts_;
};

}  // namespace posthouse::mailbox
