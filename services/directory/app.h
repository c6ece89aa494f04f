// App: the directory service: the store, the repository over it and the gRPC services.
// Threads: as runtime::App says.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/runtime/service_app.h"

namespace posthouse::directory {

class App final : public runtime::ServiceApp {
 public:
  // Opens the store, loads what it has and serves. Uses no channel.
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt, rpc::Channels channels);
  static absl::Status CheckConfig(const config::v1::Config& config);
  ~App() override;

  // Takes the names of the mailbox stores.
  absl::Status Reload(const config::v1::Config& config) override;
  std::vector<std::pair<std::string, std::string>> Status() override;

 private:
  struct Parts;
  App(runtime::Runtime& rt, std::unique_ptr<Parts> parts);
  absl::Status Health() override;
  const std::unique_ptr<Parts> parts_;
};

}  // namespace posthouse::directory
