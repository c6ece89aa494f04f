// NamedMailbox: a mailbox process with a name and nothing else, for tests of what callers find behind a target.
// Threads: the test's.
#pragma once

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/async/task.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/listen.h"
#include "services/common/rpc/server.h"
#include "services/common/rpc/streaming.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {

// For rpc.token_file of all processes of a test.
inline std::string TokenFile() {
  const std::string file = absl::StrCat(std::getenv("TEST_TMPDIR"), "/token");
  std::ofstream(file) << "0123456789abcdef0123456789abcdef\n";
  PH_CHECK(chmod(file.c_str(), 0600) == 0);
  return file;
}

// The store `shard`, which counts the questions for usage that are let in.
class NamedMailbox {
 public:
  NamedMailbox(config::v1::Config config, const std::string& shard) {
    config.mutable_mailbox()->set_shard(shard);
    runner_ = std::make_unique<ServerRunner>(loops_, registry_, *AccessOf(config, "mailbox"));
    service_ = std::make_unique<Service>(*runner_);
    ServerOptions options;
    options.port = 0;
    server_ = *RpcServer::Start(options, {service_.get()}, registry_);
  }
  ~NamedMailbox() { server_->Shutdown(absl::ZeroDuration()); }
  NamedMailbox(const NamedMailbox&) = delete;
  std::string target() const { return absl::StrCat("127.0.0.1:", server_->port()); }
  int calls() const { return service_->calls; }

 private:
  class Service final : public mailbox::v1::MailboxService::CallbackService {
   public:
    explicit Service(ServerRunner& runner) : runner_(runner) {}
    grpc::ServerUnaryReactor* GetUsage(grpc::CallbackServerContext* context,
                                       const mailbox::v1::GetUsageRequest* request,
                                       mailbox::v1::GetUsageResponse* response) override {
      return Unary(runner_, context, request, response, [this](auto& call) { return Count(call); });
    }
    int calls = 0;

   private:
    Task<absl::Status> Count(UnaryCall<mailbox::v1::GetUsageRequest, mailbox::v1::GetUsageResponse>&) {
      ++calls;
      co_return absl::OkStatus();
    }
    ServerRunner& runner_;
  };

  net::EventLoops loops_{1};
  metrics::Registry registry_;
  std::unique_ptr<ServerRunner> runner_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<RpcServer> server_;
};

}  // namespace posthouse::rpc
