// The gRPC service BackupService over Backups. Threads: any.
#pragma once

#include <memory>

#include "services/common/async/thread_pool.h"
#include "services/common/backup/backups.h"

namespace grpc {
class Service;
}
namespace posthouse::rpc {
class ServerRunner;
}

namespace posthouse::backup {

// All of them outlive the service. `pool` reads the directory.
std::shared_ptr<grpc::Service> NewBackupService(rpc::ServerRunner& runner, Backups& backups, ThreadPool& pool);

}  // namespace posthouse::backup
