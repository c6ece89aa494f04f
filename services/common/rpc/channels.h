// The channels of a process to its peers: dialled from the config, or, in
// `standalone`, in-process channels set by hand. A light header.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace grpc {
class Channel;
}
namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::rpc {

struct Channels {
  std::shared_ptr<grpc::Channel> directory;
  std::shared_ptr<grpc::Channel> routing;
  std::vector<std::shared_ptr<grpc::Channel>> queue;
  std::map<std::string, std::shared_ptr<grpc::Channel>> mailbox;  // by home; "" is the default
};

// Dials what `config.peers` names; absent peers stay null.
absl::StatusOr<Channels> DialPeers(const config::v1::Config& config);

// The channel of an account's home; the only one when there is one; null: unknown.
std::shared_ptr<grpc::Channel> MailboxFor(const Channels& channels, const std::string& home);

}  // namespace posthouse::rpc
