// A process that does nothing but live and end, for runtime_test.cc.
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/log/log.h"
#include "services/common/runtime/runtime.h"

namespace posthouse::runtime {
namespace {

class Probe final : public App {
 public:
  absl::string_view name() const override { return "probe"; }
  absl::Status Ready() override { return absl::OkStatus(); }
  void AnnounceDrain() override { LOG_EVENT(kInfo, "probe_announces"); }
  absl::Status Reload(const config::v1::Config& config) override {
    if (config.ingress().max_errors() == 13) return absl::InvalidArgumentError("ingress.max_errors: not 13");
    return absl::OkStatus();
  }
  void Drain(absl::Duration grace) override {
    LOG_EVENT(kInfo, "probe_drains").Seconds("grace", grace);
    // A hanging session.
    if (getenv("PROBE_HANGS") != nullptr) absl::SleepFor(grace);
  }
  std::vector<std::pair<std::string, std::string>> Status() override { return {}; }
};

absl::Status Check(const config::v1::Config& config) {
  if (config.ingress().max_recipients() == 13) return absl::InvalidArgumentError("ingress.max_recipients: not 13");
  return absl::OkStatus();
}

}  // namespace
}  // namespace posthouse::runtime

int main(int argc, char** argv) {
  using posthouse::runtime::App;
  return posthouse::runtime::Main(
      argc, argv, "probe",
      [](posthouse::runtime::Runtime&) -> absl::StatusOr<std::unique_ptr<App>> {
        return std::make_unique<posthouse::runtime::Probe>();
      },
      posthouse::runtime::Check);
}
