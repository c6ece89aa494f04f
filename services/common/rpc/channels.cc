#include "services/common/rpc/channels.h"

#include "posthouse/config/v1/config.pb.h"
#include "services/common/rpc/channel.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {

absl::StatusOr<Channels> DialPeers(const config::v1::Config& config) {
  const TlsFiles tls{config.rpc().certificate_file(), config.rpc().private_key_file(), config.rpc().ca_file()};
  const config::v1::Peers& peers = config.peers();
  const auto dial = [&tls](const std::string& key,
                           const std::string& target) -> absl::StatusOr<std::shared_ptr<grpc::Channel>> {
    if (target.empty()) return std::shared_ptr<grpc::Channel>();
    auto channel = Dial(target, tls);
    if (!channel.ok()) return Annotate(channel.status(), key);
    return channel;
  };
  Channels channels;
  PH_ASSIGN_OR_RETURN(channels.directory, dial("peers.directory", peers.directory()));
  PH_ASSIGN_OR_RETURN(channels.routing, dial("peers.routing", peers.routing()));
  for (const std::string& target : peers.queue()) {
    PH_ASSIGN_OR_RETURN(auto channel, dial("peers.queue", target));
    if (channel != nullptr) channels.queue.push_back(std::move(channel));
  }
  for (const config::v1::Shard& shard : peers.mailbox()) {
    PH_ASSIGN_OR_RETURN(auto channel, dial("peers.mailbox", shard.target()));
    if (channel != nullptr) channels.mailbox[shard.name()] = std::move(channel);
  }
  return channels;
}

std::shared_ptr<grpc::Channel> MailboxFor(const Channels& channels, const std::string& home) {
  const auto it = channels.mailbox.find(home);
  if (it != channels.mailbox.end()) return it->second;
  // An account written before there were shards has no home: with one shard that is no question.
  if (home.empty() && channels.mailbox.size() == 1) return channels.mailbox.begin()->second;
  return nullptr;
}

}  // namespace posthouse::rpc
