// Channels to other services: TCP with mTLS (reloaded when files change), or an
// in-process channel in `standalone`. A light header: no gRPC in it.
// Threads: any. A channel is shared by all that hold it, and ends with the last of them.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/common/rpc/metadata.h"
#include "services/common/rpc/server.h"

namespace posthouse::rpc {

// `target`: "127.0.0.1:7401", "dns:///queue.posthouse.svc:7402". Lazily connected,
// with keepalive. reconnect.h says how soon a peer that is away or back is noticed.
// "unix:/run/posthouse.sock": a socket of this machine, without TLS; its path may be longer than a socket's address.
// `metadata` goes with every call.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const std::string& target, const TlsFiles& tls,
                                                    const ChannelMetadata& metadata = {});

// The same for `address` ("10.0.0.7:7403"), one of those that `host` resolved to: the
// peer's certificate is checked for the name `host`.
absl::StatusOr<std::shared_ptr<grpc::Channel>> DialAddress(const std::string& address, const std::string& host,
                                                           const TlsFiles& tls, const ChannelMetadata& metadata = {});

}  // namespace posthouse::rpc
