#include "services/common/backup/grpc_service.h"

#include <utility>

#include "posthouse/backup/v1/backup.grpc.pb.h"
#include "services/common/async/task.h"
#include "services/common/rpc/audit.h"
#include "services/common/rpc/server_calls.h"
#include "services/common/status/status.h"

namespace posthouse::backup {
namespace {

class BackupRpc final : public v1::BackupService::CallbackService {
 public:
  BackupRpc(rpc::ServerRunner& runner, Backups& backups, ThreadPool& pool)
      : runner_(runner), backups_(backups), pool_(pool) {}

  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, const v1::RunRequest* request,
                                v1::RunResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) {
      return Answer(call, "RunBackup", [this, id = call.request().id()] { return backups_.Run(id); });
    });
  }
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const v1::ListRequest* request,
                                 v1::ListResponse* response) override {
    return rpc::Unary(runner_, context, request, response,
                      [this](auto& call) { return Answer(call, "", [this] { return backups_.List(); }); });
  }
  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext* context, const v1::VerifyRequest* request,
                                   v1::VerifyResponse* response) override {
    return rpc::Unary(runner_, context, request, response, [this](auto& call) {
      return Answer(call, "VerifyBackup", [this, id = call.request().id()] { return backups_.Verify(id); });
    });
  }

 private:
  // `audited`: the name of a method that changes something.
  template <typename Call, typename Work>
  Task<absl::Status> Answer(Call& call, absl::string_view audited, Work work) {
    auto response = co_await RunOn(pool_, work);
    if (!audited.empty()) {
      rpc::AuditAdminCall(audited, call.request(), call.info().peer, call.info().trace.trace_id, response.status());
    }
    if (!response.ok()) co_return response.status();
    call.response() = *std::move(response);
    co_return absl::OkStatus();
  }

  rpc::ServerRunner& runner_;
  Backups& backups_;
  ThreadPool& pool_;
};

}  // namespace

std::shared_ptr<grpc::Service> NewBackupService(rpc::ServerRunner& runner, Backups& backups, ThreadPool& pool) {
  return std::make_shared<BackupRpc>(runner, backups, pool);
}

}  // namespace posthouse::backup
