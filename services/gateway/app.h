// App: the gateway service. It owns the listeners for IMAP and POP3 and the state that their sessions share.
// Threads: as service_app.h and runtime.h say; the ports are constant after Create().
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "services/common/runtime/service_app.h"

namespace posthouse {
class LiveSessions;
}

namespace posthouse::gateway {

class App final : public runtime::ServiceApp {
 public:
  // kInvalidArgument: a configuration value; kFailedPrecondition: a port is taken, or
  // no channel to the directory or to a mailbox shard is given.
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt, rpc::Channels channels);
  static absl::Status CheckConfig(const config::v1::Config& config);
  ~App() override;

  absl::Status Reload(const config::v1::Config& config) override;
  std::vector<std::pair<std::string, std::string>> Status() override;

  // 0: not listening (switched off, or no certificate for the TLS ports).
  // The sessions whose clients are logged in.
  LiveSessions& live();
  uint16_t imap_port() const;
  uint16_t imaps_port() const;
  uint16_t pop3_port() const;
  uint16_t pop3s_port() const;

 private:
  struct Parts;
  App(runtime::Runtime& rt, std::shared_ptr<Parts> parts);
  absl::Status Health() override;
  void FinishDrain(absl::Time deadline) override;
  // Sessions hold it, too: a session that ends after the App still needs it.
  const std::shared_ptr<Parts> parts_;
};

}  // namespace posthouse::gateway
