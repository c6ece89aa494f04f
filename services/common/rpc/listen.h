// How a process's gRPC server listens and whom it admits, from the `rpc` part of its configuration.
// Threads: stateless. AccessOf, CallerMetadata and ReadToken read a file: at the start, not on an event loop.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "services/common/rpc/access_options.h"
#include "services/common/rpc/metadata.h"
#include "services/common/rpc/server.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::rpc {

// Port: rpc.port, else `default_port`; no TCP with rpc.in_process_only, nor in standalone without mTLS and token.
// Socket: rpc.socket, in standalone else <data_dir>/posthouse.sock.
ServerOptions ListenOptions(const config::v1::Config& config, const std::string& service, int default_port);

// kFailedPrecondition: rpc.token_file cannot be used. The shard is that of queue and mailbox.
absl::StatusOr<AccessOptions> AccessOf(const config::v1::Config& config, const std::string& service);

// What the channels of a process tell the called services about it: with rpc.token_file, the secret and `service`.
absl::StatusOr<ChannelMetadata> CallerMetadata(const config::v1::Config& config, const std::string& service);

// The secret in a file that only its owner can read: one line of 32 to 4096 printable characters without blanks.
// kFailedPrecondition: no such file, or one that others can read or change.
absl::StatusOr<std::string> ReadToken(const std::string& path);

// Whether the files of mTLS can be used now. kFailedPrecondition names the file and its fault.
absl::Status CheckRpcFiles(const config::v1::Config& config);

// What of `rpc` has no effect, for the log and --check-config; "" when there is nothing to say.
std::string ListenWarning(const config::v1::Config& config, const std::string& service);

}  // namespace posthouse::rpc
