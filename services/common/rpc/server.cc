#include "services/common/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_posix.h>

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "services/common/rpc/certificate_watch.h"
#include "services/common/rpc/channel_metadata.h"
#include "services/common/rpc/credentials.h"
#include "services/common/rpc/reconnect.h"
#include "services/common/rpc/unix_socket.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {
namespace {

// Both switches are global in gRPC, which reads them when a server is built.
void EnablePlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

std::string HostPort(const std::string& host, int port) {
  const bool v6 = absl::StrContains(host, ':') && !absl::StartsWith(host, "[");
  return v6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

// gRPC does not say why it cannot listen.
std::string WhyNot(const std::string& host, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  const std::string name(absl::StripSuffix(absl::StripPrefix(host, "["), "]"));
  if (getaddrinfo(name == "localhost" ? "127.0.0.1" : name.c_str(), std::to_string(port).c_str(), &hints, &found) !=
      0) {
    return "rpc.address is not an IP address";
  }
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int error = fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 ? errno : 0;
  if (fd >= 0) close(fd);
  freeaddrinfo(found);
  switch (error) {
    case EADDRNOTAVAIL:
      return "this machine does not have the address; change rpc.address";
    case EACCES:
      return "ports below 1024 are for root; change rpc.port";
    default:  // also when the port has become free
      return "another process uses the port; stop it, or change rpc.port";
  }
}

class GrpcServer final : public RpcServer {
 public:
  GrpcServer(std::unique_ptr<grpc::Server> server, int port, metrics::CollectHandle collect)
      : server_(std::move(server)), port_(port), collect_(std::move(collect)) {
    server_->GetHealthCheckService()->SetServingStatus("", true);
  }
  ~GrpcServer() override { Stop(absl::ZeroDuration()); }

  int port() const override { return port_; }

  absl::Status ListenOn(const std::string& path) {
    PH_ASSIGN_OR_RETURN(
        socket_, UnixListener::Start(path, [this](int fd) { grpc::AddInsecureChannelFromFd(server_.get(), fd); }));
    return absl::OkStatus();
  }

  std::shared_ptr<grpc::Channel> InProcessChannel(Caller caller) override {
    in_process_ = true;
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
    ChannelMetadata metadata;
    if (caller != Caller::kProcess) metadata.emplace_back(kCallerKey, CallerName(caller));
    return server_->experimental().InProcessChannelWithInterceptors(arguments, AddToCalls(std::move(metadata)));
  }

  void SetServing(const std::string& service, bool serving) override {
    server_->GetHealthCheckService()->SetServingStatus(service, serving);
  }

  void Shutdown(absl::Duration grace) override {
    // For every service, and whatever SetServing() says afterwards.
    server_->GetHealthCheckService()->Shutdown();
    socket_ = nullptr;
    // gRPC 1.51 crashes on a call into an in-process transport whose server is shut down.
    // With such channels the server therefore serves until it is destroyed.
    if (!in_process_) Stop(grace);
  }

 private:
  void Stop(absl::Duration grace) {
    if (std::exchange(stopped_, true)) return;
    socket_ = nullptr;
    // Refuses new calls at once. At the deadline it cancels the calls in flight, and returns
    // when their handlers have ended.
    server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
    server_->Wait();
  }

  const std::unique_ptr<grpc::Server> server_;
  const int port_;
  const metrics::CollectHandle collect_;
  std::unique_ptr<UnixListener> socket_;  // null: none
  std::atomic<bool> in_process_{false};
  bool stopped_ = false;  // Shutdown() and the destructor: one thread
};

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const ServerOptions& options,
                                                            const std::vector<grpc::Service*>& services,
                                                            metrics::Registry& registry) {
  EnablePlugins();
  RouteGrpcLog();
  grpc::ServerBuilder builder;
  int port = 0;
  if (options.port >= 0) {
    PH_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                        ServerCredentialsFor(options.tls, options.address, options.allowed_peers));
    builder.AddListeningPort(HostPort(options.address, options.port), credentials, &port);
  }
  const auto watch = std::make_shared<CertificateWatch>(options.port >= 0 ? options.tls : TlsFiles(), registry);
  metrics::CollectHandle collect = registry.OnCollect([watch] { watch->Look(); });
  for (grpc::Service* service : services) builder.RegisterService(service);
  // A second process on the same port is an error, not a second listener.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  // Peers check an idle connection.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             static_cast<int>(absl::ToInt64Milliseconds(kLeastPingInterval)));
  // Reflection is the only synchronous service; it needs one thread.
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 1);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || (options.port >= 0 && port == 0)) {
    return absl::UnavailableError(absl::StrCat("rpc.port: cannot listen on ", HostPort(options.address, options.port),
                                               ": ", WhyNot(options.address, options.port)));
  }
  auto started = std::make_unique<GrpcServer>(std::move(server), port, std::move(collect));
  if (!options.socket.empty()) PH_RETURN_IF_ERROR(started->ListenOn(options.socket));
  return started;
}

}  // namespace posthouse::rpc
