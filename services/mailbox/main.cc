// posthouse-mailbox: a mailbox shard as a process of its own.
#include "services/common/rpc/channels.h"
#include "services/common/runtime/runtime.h"
#include "services/mailbox/app.h"

int main(int argc, char** argv) {
  using namespace posthouse;
  return runtime::Main(
      argc, argv, "mailbox",
      [](runtime::Runtime& rt) -> absl::StatusOr<std::unique_ptr<runtime::App>> {
        absl::StatusOr<rpc::Channels> channels = rpc::DialPeers(rt.config());
        if (!channels.ok()) return channels.status();
        absl::StatusOr<std::unique_ptr<mailbox::App>> app = mailbox::App::Create(rt, *std::move(channels));
        if (!app.ok()) return app.status();
        return std::unique_ptr<runtime::App>(*std::move(app));
      },
      mailbox::App::CheckConfig);
}
