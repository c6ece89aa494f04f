// posthouse-routing: routing as a process of its own.
#include "services/common/rpc/channels.h"
#include "services/common/runtime/runtime.h"
#include "services/routing/app.h"

int main(int argc, char** argv) {
  using namespace posthouse;
  return runtime::Main(
      argc, argv, "routing",
      [](runtime::Runtime& rt) -> absl::StatusOr<std::unique_ptr<runtime::App>> {
        absl::StatusOr<rpc::Channels> channels = rpc::DialPeers(rt.config());
        if (!channels.ok()) return channels.status();
        absl::StatusOr<std::unique_ptr<routing::App>> app = routing::App::Create(rt, *std::move(channels));
        if (!app.ok()) return app.status();
        return std::unique_ptr<runtime::App>(*std::move(app));
      },
      routing::App::CheckConfig);
}
