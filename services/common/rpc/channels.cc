#include "services/common/rpc/channels.h"

#include <optional>

#include "posthouse/config/v1/config.pb.h"
#include "services/common/rpc/channel.h"
#include "services/common/rpc/listen.h"
#include "services/common/rpc/resolve.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {
namespace {

// One member for each address of the target's name, or one alone (NameOfTarget()).
absl::StatusOr<std::shared_ptr<Members>> DialMembers(const std::string& target, const TlsFiles& tls,
                                                     const ChannelMetadata& metadata) {
  PH_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> whole, Dial(target, tls, metadata));
  const std::optional<TargetName> name = NameOfTarget(target);
  if (!name) return std::make_shared<Members>(std::move(whole));
  return std::make_shared<Members>(
      std::move(whole), [name = *name] { return Resolve(name); },
      [host = name->host, tls, metadata](const std::string& address) {
        return DialAddress(address, host, tls, metadata);
      });
}

// The channel of `open` to that target, of peers.queue ("" as name) or peers.queue_shards; null: it has none.
std::shared_ptr<grpc::Channel> OpenQueue(const OpenPeers& open, const std::string& name, const std::string& target) {
  if (open.config == nullptr) return nullptr;
  const config::v1::Peers& peers = open.config->peers();
  // DialPeers() makes the channels in this order, one for each target that is not empty.
  size_t at = 0;
  for (const std::string& known : peers.queue()) {
    if (known.empty()) continue;
    if (name.empty() && known == target) return open.channels->queue[at];
    ++at;
  }
  for (const config::v1::Shard& known : peers.queue_shards()) {
    if (!name.empty() && known.name() == name && known.target() == target) return open.channels->queue[at];
    ++at;
  }
  return nullptr;
}

// The same for a mailbox store.
std::shared_ptr<Members> OpenMailbox(const OpenPeers& open, const config::v1::Shard& shard) {
  if (open.config == nullptr) return nullptr;
  for (const config::v1::Shard& known : open.config->peers().mailbox()) {
    if (known.name() != shard.name() || known.target() != shard.target()) continue;
    const auto found = open.channels->mailbox.find(Home(shard.name()));
    return found == open.channels->mailbox.end() ? nullptr : found->second;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<Channels> DialPeers(const config::v1::Config& config, const std::string& service,
                                   const OpenPeers& open) {
  PH_ASSIGN_OR_RETURN(const ChannelMetadata metadata, CallerMetadata(config, service));
  const TlsFiles tls{config.rpc().certificate_file(), config.rpc().private_key_file(), config.rpc().ca_file()};
  const config::v1::Peers& peers = config.peers();
  const auto dial = [&](const std::string& key, const std::string& target,
                        const std::string& shard = "") -> absl::StatusOr<std::shared_ptr<grpc::Channel>> {
    if (target.empty()) return std::shared_ptr<grpc::Channel>();
    ChannelMetadata with_shard = metadata;
    if (!shard.empty()) with_shard.emplace_back(kShardKey, shard);
    auto channel = Dial(target, tls, with_shard);
    if (!channel.ok()) return Annotate(channel.status(), key);
    return channel;
  };
  Channels channels;
  if (open.config != nullptr) {
    channels.directory = open.channels->directory;
    channels.routing = open.channels->routing;
  } else {
    PH_ASSIGN_OR_RETURN(channels.directory, dial("peers.directory", peers.directory(), peers.directory_shard()));
    PH_ASSIGN_OR_RETURN(channels.routing, dial("peers.routing", peers.routing()));
  }
  for (const std::string& target : peers.queue()) {
    std::shared_ptr<grpc::Channel> channel = OpenQueue(open, "", target);
    if (channel == nullptr) {
      PH_ASSIGN_OR_RETURN(channel, dial("peers.queue", target));
    }
    if (channel != nullptr) channels.queue.push_back(std::move(channel));
  }
  for (const config::v1::Shard& shard : peers.queue_shards()) {
    std::shared_ptr<grpc::Channel> known = OpenQueue(open, shard.name(), shard.target());
    if (known != nullptr) {
      channels.queue.push_back(std::move(known));
      continue;
    }
    ChannelMetadata with_shard = metadata;
    with_shard.emplace_back(kShardKey, shard.name());
    auto channel = Dial(shard.target(), tls, with_shard);
    if (!channel.ok()) return Annotate(channel.status(), "peers.queue_shards");
    channels.queue.push_back(*std::move(channel));
  }
  for (const config::v1::Shard& shard : peers.mailbox()) {
    if (shard.target().empty()) continue;
    std::shared_ptr<Members>& members = channels.mailbox[Home(shard.name())];
    members = OpenMailbox(open, shard);
    if (members != nullptr) continue;
    ChannelMetadata with_shard = metadata;
    with_shard.emplace_back(kShardKey, shard.name());
    absl::StatusOr<std::shared_ptr<Members>> dialled = DialMembers(shard.target(), tls, with_shard);
    if (!dialled.ok()) return Annotate(dialled.status(), "peers.mailbox");
    members = *std::move(dialled);
  }
  return channels;
}

bool ServesHome(const Home& store, const Home& home) { return store == home || store.empty() || home.empty(); }

std::shared_ptr<Members> Channels::MailboxOf(const Home& home) const {
  const auto it = mailbox.find(home);
  if (it != mailbox.end()) return it->second;
  const bool only = mailbox.size() == 1 && ServesHome(mailbox.begin()->first, home);
  return only ? mailbox.begin()->second : nullptr;
}

}  // namespace posthouse::rpc
