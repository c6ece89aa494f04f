#include "services/common/rpc/channel.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/match.h"
#include "services/common/rpc/credentials.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {

absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const std::string& target, const TlsFiles& tls) {
  RouteGrpcLog();
  const std::string host = HostOfTarget(target);
  if (host.empty()) {
    return absl::InvalidArgumentError("a gRPC target is host:port or dns:///host:port, not \"" + target + "\"");
  }
  PH_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials, ChannelCredentialsFor(tls, host));
  grpc::ChannelArguments arguments;
  // Only the queue retries (docs/architecture.md, "Contracts between services").
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  // A peer that vanished is noticed in 20 seconds, also without calls (change feeds).
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // A name may stand for several pods: use them all.
  if (absl::StartsWith(target, "dns:")) arguments.SetLoadBalancingPolicyName("round_robin");
  return grpc::CreateCustomChannel(target, credentials, arguments);
}

}  // namespace posthouse::rpc
