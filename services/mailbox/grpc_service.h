// The gRPC service of the mailbox: checks requests, calls the parts, converts answers.
// Threads: any. Errors: the Status of the part that was called, code for code.
#pragma once

#include <memory>
#include <vector>

#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/mailboxes.h"

namespace grpc {
class Service;
}
namespace posthouse {
class Executor;
namespace rpc {
class ServerRunner;
}
}  // namespace posthouse

namespace posthouse::mailbox {

// `pool` runs what costs CPU for long (SEARCH). All arguments outlive the services.
std::vector<std::shared_ptr<grpc::Service>> NewGrpcServices(rpc::ServerRunner& runner, MailboxDeps& deps,
                                                            Mailboxes& mailboxes, Executor& pool);

}  // namespace posthouse::mailbox
