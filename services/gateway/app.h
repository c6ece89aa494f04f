// App: the gateway service: listeners for IMAP and POP3 and what their sessions share.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "services/common/rpc/channels.h"
#include "services/common/runtime/runtime.h"

namespace posthouse::gateway {

class App final : public runtime::App {
 public:
  // kInvalidArgument: a configuration value; kFailedPrecondition: a port is taken, or
  // no channel to the directory or to a mailbox shard is given.
  static absl::StatusOr<std::unique_ptr<App>> Create(runtime::Runtime& rt, rpc::Channels channels);
  static absl::Status CheckConfig(const config::v1::Config& config);
  ~App() override;

  absl::string_view name() const override { return "gateway"; }
  absl::Status Ready() override;
  absl::Status Reload(const config::v1::Config& config) override;
  void Drain(absl::Duration grace) override;
  std::vector<std::pair<std::string, std::string>> Status() override;

  // 0: not listening (switched off, or no certificate for the TLS ports).
  uint16_t imap_port() const;
  uint16_t imaps_port() const;
  uint16_t pop3_port() const;
  uint16_t pop3s_port() const;

 private:
  struct Parts;
  explicit App(std::shared_ptr<Parts> parts);
  // Sessions hold it too: one that ends late finds everything it needs.
  const std::shared_ptr<Parts> parts_;
};

}  // namespace posthouse::gateway
