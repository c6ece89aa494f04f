// App: the routing service: caches, the DNS client and the gRPC service. Keeps nothing
// on disk. Threads: as runtime::App says.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/runtime/service_app.h"

namespace posthouse::routing {

class App final : public runtime::ServiceApp {
 public:
  // Needs `channels.directory`; the directory itself need not be up yet.
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt, rpc::Channels channels);
  static absl::Status CheckConfig(const config::v1::Config& config);
  ~App() override;

  std::vector<std::pair<std::string, std::string>> Status() override;

 private:
  struct Parts;
  explicit App(runtime::Runtime& rt);
  void FinishDrain(absl::Time deadline) override;
  std::unique_ptr<Parts> parts_;
};

}  // namespace posthouse::routing
