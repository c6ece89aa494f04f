// posthouse-queue: owns accepted messages until they are delivered.
#include "services/common/rpc/channels.h"
#include "services/common/runtime/runtime.h"
#include "services/common/status/status.h"
#include "services/queue/app.h"

int main(int argc, char** argv) {
  using posthouse::runtime::Runtime;
  return posthouse::runtime::Main(
      argc, argv, "queue",
      [](Runtime& rt) -> absl::StatusOr<std::unique_ptr<posthouse::runtime::App>> {
        PH_ASSIGN_OR_RETURN(posthouse::rpc::Channels channels, posthouse::rpc::DialPeers(rt.config()));
        return posthouse::queue::App::Create(rt, std::move(channels));
      },
      posthouse::queue::App::CheckConfig);
}
