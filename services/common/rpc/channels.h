// The channels of a process to its peers: dialled from the config, or, in
// `standalone`, in-process channels set by hand. A light header.
// Threads: any; Channels is a value whose channels are shared.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/common/ids/ids.h"
#include "services/common/rpc/members.h"

namespace grpc {
class Channel;
}
namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::rpc {

// Does the store with the name `store` hold accounts with this home? The one rule for queue, gateway,
// directory and mailbox. A store without a name is the only one, so it holds all; so does the only
// store hold accounts without a home.
bool ServesHome(const Home& store, const Home& home);

struct Channels {
  std::shared_ptr<grpc::Channel> directory;
  std::shared_ptr<grpc::Channel> routing;
  std::vector<std::shared_ptr<grpc::Channel>> queue;
  std::map<Home, std::shared_ptr<Members>> mailbox;

  // The members of the store `home`; null: no such store is configured. With one store,
  // accounts without a home live there; when it has no name, all accounts do.
  std::shared_ptr<Members> MailboxOf(const Home& home) const;
};

// Channels that are open already, and the configuration that names them.
struct OpenPeers {
  const config::v1::Config* config = nullptr;  // null: none are open
  std::shared_ptr<const Channels> channels;
};

// Dials what `config.peers` names, for the calls of `service` ("queue"); absent peers stay null. A call to a store
// that has a name in `config.peers` says it, and the store compares it with its own. `open`: their channels are used
// for directory and routing, and for shards with the same name and target.
absl::StatusOr<Channels> DialPeers(const config::v1::Config& config, const std::string& service,
                                   const OpenPeers& open = {});

}  // namespace posthouse::rpc
