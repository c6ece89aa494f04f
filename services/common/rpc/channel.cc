#include "services/common/rpc/channel.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/match.h"
#include "services/common/rpc/channel_metadata.h"
#include "services/common/rpc/credentials.h"
#include "services/common/rpc/reconnect.h"
#include "services/common/rpc/unix_socket.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {

namespace {

void SetMillis(grpc::ChannelArguments& arguments, const char* name, absl::Duration value) {
  arguments.SetInt(name, static_cast<int>(absl::ToInt64Milliseconds(value)));
}

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  // Only the queue retries (docs/architecture.md, "Who owes the message").
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  // Also when no call runs (change streams wait long). gRPC gives the time-out to the kernel, too (TCP_USER_TIMEOUT): a
  // request that the other end does not acknowledge ends the connection.
  SetMillis(arguments, GRPC_ARG_KEEPALIVE_TIME_MS, kPingInterval);
  SetMillis(arguments, GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeout);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The pauses do not grow: a refused connection costs little. "Min back-off" is gRPC's word for the time of an
  // attempt.
  SetMillis(arguments, GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kRetryPause);
  SetMillis(arguments, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kRetryPause);
  SetMillis(arguments, GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeout);
  // A restarted pod has another address. gRPC asks for addresses when a connection ends or fails, but by default at
  // most every 30 seconds: so long all calls would go to the old one.
  SetMillis(arguments, GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kResolvePause);
  return arguments;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const std::string& host, const TlsFiles& tls) {
  RouteGrpcLog();
  return ChannelCredentialsFor(tls, host);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> DialUnix(const std::string& path, const ChannelMetadata& metadata) {
  RouteGrpcLog();
  // The channel uses the path whenever it connects, so the folder stays open as long as the process: programs dial a
  // socket once.
  PH_ASSIGN_OR_RETURN(SocketPath short_path, SocketPath::Of(path));
  const std::string target = "unix:" + short_path.path();
  short_path.KeepOpen();
  return grpc::experimental::CreateCustomChannelWithInterceptors(target, grpc::InsecureChannelCredentials(),
                                                                 Arguments(), AddToCalls(metadata));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const std::string& target, const TlsFiles& tls,
                                                    const ChannelMetadata& metadata) {
  if (absl::StartsWith(target, "unix:")) return DialUnix(target.substr(5), metadata);
  const std::string host = HostOfTarget(target);
  if (host.empty()) {
    return absl::InvalidArgumentError("a gRPC target is host:port or dns:///host:port, not \"" + target + "\"");
  }
  PH_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials, Credentials(host, tls));
  grpc::ChannelArguments arguments = Arguments();
  // A name may stand for several processes: use them all.
  if (absl::StartsWith(target, "dns:")) arguments.SetLoadBalancingPolicyName("round_robin");
  return grpc::experimental::CreateCustomChannelWithInterceptors(target, credentials, arguments, AddToCalls(metadata));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> DialAddress(const std::string& address, const std::string& host,
                                                           const TlsFiles& tls, const ChannelMetadata& metadata) {
  PH_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials, Credentials(host, tls));
  grpc::ChannelArguments arguments = Arguments();
  if (!tls.ca.empty()) arguments.SetSslTargetNameOverride(host);
  return grpc::experimental::CreateCustomChannelWithInterceptors(address, credentials, arguments, AddToCalls(metadata));
}

}  // namespace posthouse::rpc
