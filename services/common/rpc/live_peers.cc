#include "services/common/rpc/live_peers.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/log/log.h"
#include "services/common/rpc/peer_check.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {
namespace {

// "mailbox m-0 dns:///m-0:7403"
std::set<std::string> Shards(const config::v1::Peers& peers) {
  std::set<std::string> shards;
  for (const std::string& target : peers.queue()) shards.insert(absl::StrCat("queue ", target));
  for (const auto& shard : peers.queue_shards())
    shards.insert(absl::StrCat("queue ", shard.name(), " ", shard.target()));
  for (const auto& shard : peers.mailbox()) shards.insert(absl::StrCat("mailbox ", shard.name(), " ", shard.target()));
  return shards;
}

// Those of `shards` that `others` has not.
std::string Without(const std::set<std::string>& shards, const std::set<std::string>& others) {
  std::set<std::string> left;
  for (const std::string& shard : shards) {
    if (!others.contains(shard)) left.insert(shard);
  }
  return absl::StrJoin(left, ", ");
}

}  // namespace

LivePeers::LivePeers(Channels channels) : channels_(std::make_shared<const Channels>(std::move(channels))) {}

LivePeers::LivePeers(Channels channels, const config::v1::Config& config, std::string service)
    : service_(std::move(service)),
      // The parts of standalone have no peers in their configuration.
      config_(config.rpc().in_process_only() ? nullptr : std::make_unique<config::v1::Config>(config)),
      channels_(std::make_shared<const Channels>(std::move(channels))) {}

LivePeers::~LivePeers() = default;

std::shared_ptr<const Channels> LivePeers::Get() const {
  absl::MutexLock lock(&mutex_);
  return channels_;
}

absl::Status LivePeers::Reload(const config::v1::Config& config) {
  if (config_ == nullptr) return absl::OkStatus();
  // What needs a restart stays: directory, routing, and all of `rpc`.
  config::v1::Config fresh = *config_;
  *fresh.mutable_peers()->mutable_queue() = config.peers().queue();
  *fresh.mutable_peers()->mutable_queue_shards() = config.peers().queue_shards();
  *fresh.mutable_peers()->mutable_mailbox() = config.peers().mailbox();
  const std::set<std::string> before = Shards(config_->peers());
  const std::set<std::string> after = Shards(fresh.peers());
  if (before == after) return absl::OkStatus();
  PH_ASSIGN_OR_RETURN(Channels channels, DialPeers(fresh, service_, {.config = config_.get(), .channels = Get()}));
  PH_RETURN_IF_ERROR(CheckPeers(fresh, service_, channels));
  LOG_EVENT(kInfo, "peers_changed").Str("added", Without(after, before)).Str("removed", Without(before, after));
  *config_ = std::move(fresh);
  absl::MutexLock lock(&mutex_);
  channels_ = std::make_shared<const Channels>(std::move(channels));
  return absl::OkStatus();
}

}  // namespace posthouse::rpc
