// posthouse-gateway: the process.
#include "services/common/rpc/channels.h"
#include "services/common/runtime/runtime.h"
#include "services/common/status/status.h"
#include "services/gateway/app.h"

int main(int argc, char** argv) {
  using posthouse::runtime::Runtime;
  return posthouse::runtime::Main(
      argc, argv, "gateway",
      [](Runtime& rt) -> absl::StatusOr<std::unique_ptr<posthouse::runtime::App>> {
        PH_ASSIGN_OR_RETURN(posthouse::rpc::Channels channels, posthouse::rpc::DialPeers(rt.config()));
        return posthouse::gateway::App::Create(rt, std::move(channels));
      },
      posthouse::gateway::App::CheckConfig);
}
