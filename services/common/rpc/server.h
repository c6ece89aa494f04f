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
#include "services/common/rpc/callers.h"

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
  int port = 0;        // 0: any; -1: no TCP
  std::string socket;  // path of a Unix socket for administrators (unix_socket.h); "": none
  TlsFiles tls;
  // mTLS: the peers that may call, by common name or DNS SAN. Empty: all that the CA signed.
  std::vector<std::string> allowed_peers;
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
  // A channel into this server without a socket. `caller`: the service that calls (callers.h); kProcess may call all.
  virtual std::shared_ptr<grpc::Channel> InProcessChannel(Caller caller = Caller::kProcess) = 0;
  // gRPC health of `service` ("posthouse.queue.v1.QueueService"), or of the server as a whole (""), which is SERVING
  // from the start. Any thread. Nothing after Shutdown().
  virtual void SetServing(const std::string& service, bool serving) = 0;
  // Reports NOT_SERVING, refuses new calls, waits up to `grace` for the calls in flight and
  // cancels the rest. Returns when the last handler has ended, so the loops must still turn.
  // Call ServerRunner::BeginDrain() first: it ends the change streams.
  // When InProcessChannel() was used, the server serves until it is destroyed: by then
  // its in-process callers must be gone.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace posthouse::rpc
