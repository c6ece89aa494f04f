// LivePeers: the channels of a process to its peers, as the configuration in use names them.
//
// A reload applies changes of peers.mailbox, peers.queue and peers.queue_shards: a new shard is dialled, one that is
// gone is not found any more, and one whose name and target stay keeps its channel. Calls in progress end where they
// began. peers.directory and peers.routing are those of the start.
//
// Threads: Get() any. Reload() the main thread: it asks the peers, and so blocks for up to a second.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/common/rpc/channels.h"

namespace posthouse::rpc {

class LivePeers {
 public:
  // For ever: for parts of standalone, and for tests.
  explicit LivePeers(Channels channels);
  // `channels`: DialPeers() of `config`, which the process has started with, for the calls of `service`.
  LivePeers(Channels channels, const config::v1::Config& config, std::string service);
  ~LivePeers();
  LivePeers(const LivePeers&) = delete;

  // Never null. Keep it for one call, no longer.
  std::shared_ptr<const Channels> Get() const;
  // Takes the shards of `config`, which is valid, and logs `peers_changed`. kInvalidArgument: a target is none;
  // kFailedPrecondition: another service or store answers at a target (peer_check.h). All stays as it was then.
  absl::Status Reload(const config::v1::Config& config);

 private:
  const std::string service_;
  // How channels are dialled, and the peers that `channels_` lead to; null: they never change. Main thread.
  const std::unique_ptr<config::v1::Config> config_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const Channels> channels_ ABSL_GUARDED_BY(mutex_);  // never null
};

}  // namespace posthouse::rpc
