// How soon a channel to a peer (channel.h) notices that the peer is gone, or back.
//
// A peer that is away and refuses connections is tried again after kRetryPause, give or take a fifth; so calls succeed
// within 200 ms after it listens again. An address that answers nothing (its pod is gone) holds an attempt for
// kConnectTimeout at most; then the name is resolved again, at most once in kResolvePause, and a new address is tried
// at once. An open connection whose other end has vanished fails its calls after kPingTimeout, and ends after
// kPingInterval and kPingTimeout when no call runs. Threads: constants.
#pragma once

#include "absl/time/time.h"

namespace posthouse::rpc {

// gRPC takes nothing shorter.
inline constexpr absl::Duration kRetryPause = absl::Milliseconds(100);
// For TCP and TLS together. A shorter time could fail for ever on a machine that is busy.
inline constexpr absl::Duration kConnectTimeout = absl::Seconds(1);
inline constexpr absl::Duration kResolvePause = absl::Milliseconds(200);
// Servers allow a ping every kLeastPingInterval. Neighbouring versions must agree: an interval that is shorter than 9 s
// needs callers and servers of two releases (0.2 allows 9 s).
inline constexpr absl::Duration kPingInterval = absl::Seconds(10);
inline constexpr absl::Duration kPingTimeout = absl::Seconds(5);
inline constexpr absl::Duration kLeastPingInterval = absl::Seconds(4);

}  // namespace posthouse::rpc
