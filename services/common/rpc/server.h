// RpcServer: one gRPC server of a process, on the callback API, with TLS or mTLS,
// health, reflection, metrics and trace propagation; reachable over TCP and,
// inside the process, over an in-process channel.
//
// How a service method is written (Task on an event loop; the reactor is ours):
//
//   class QueueRpc final : public v1::QueueService::CallbackService {
//     grpc::ServerUnaryReactor* GetItem(grpc::CallbackServerContext* context, const v1::GetItemRequest* request,
//                                       v1::GetItemResponse* response) override {
//       return rpc::Unary(runner_, context, request, response, [this](auto& call) { return DoGetItem(call); });
//     }
//     Task<absl::Status> DoGetItem(rpc::UnaryCall<v1::GetItemRequest, v1::GetItemResponse>& call);
//   };
//
// Streaming (streaming.h): rpc::ClientStreaming and ServerStreaming give the task a
// call object with `co_await call.Read()` and `co_await call.Write()`.
//
// Threads: a handler starts on a gRPC thread and continues on an event loop (streaming.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/metrics/metrics.h"

namespace grpc {
class Service;
class Channel;
}  // namespace grpc

namespace posthouse::net {
class EventLoops;
}

namespace posthouse::rpc {

// Certificates of a process for service-to-service traffic, reloaded when the files
// change. Empty: plaintext, which is allowed on loopback and in-process only.
struct TlsFiles {
  std::string certificate_chain;
  std::string private_key;
  std::string ca;  // peers must chain to it (mTLS, both ways)
};

struct ServerOptions {
  std::string address = "127.0.0.1";
  int port = 0;  // 0: any; -1: no TCP, in-process only
  TlsFiles tls;
  // mTLS: the peers that may call, by common name or DNS SAN. Empty: all that the CA signed.
  std::vector<std::string> allowed_peers;
  std::string service_name;  // for metrics and health: "queue"
};

class RpcServer {
 public:
  // `services` and `registry` outlive the server. kInvalidArgument: plaintext beyond loopback,
  // or contradictory options; kFailedPrecondition: a TLS file; kUnavailable: the port is taken.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const ServerOptions& options,
                                                          const std::vector<grpc::Service*>& services,
                                                          metrics::Registry& registry);
  virtual ~RpcServer() = default;
  virtual int port() const = 0;
  // A channel into this server without a socket.
  virtual std::shared_ptr<grpc::Channel> InProcessChannel() = 0;
  // gRPC health (and so Kubernetes probes): SERVING or NOT_SERVING.
  virtual void SetServing(bool serving) = 0;
  // Reports NOT_SERVING, refuses new calls, waits up to `grace` for the calls in flight and
  // cancels the rest. Returns when the last handler has ended, so the loops must still turn.
  // Call ServerRunner::BeginDrain() first: it ends the change streams.
  // When InProcessChannel() was used, the server serves until it is destroyed: by then
  // its in-process callers must be gone.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace posthouse::rpc
