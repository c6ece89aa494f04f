// Compares what answers at the targets of `peers` with what the configuration says is there. A light header.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/common/rpc/channels.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::rpc {

// Asks each peer of `service` at its start whether it is the service and the store that the configuration names. All
// at once; blocks for at most `patience`. Peers that do not answer in time are no error: the calls say which store
// they mean, so a wrong one refuses them later.
//
// kFailedPrecondition: a target leads to another service or store; the message has the key, the target and both names.
absl::Status CheckPeers(const config::v1::Config& config, const std::string& service, const Channels& channels,
                        absl::Duration patience = absl::Seconds(1));

}  // namespace posthouse::rpc
