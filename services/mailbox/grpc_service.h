// The gRPC face of the mailbox: checks what was sent, calls the parts, converts.
#pragma once

#include <memory>

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

// `pool` runs what costs CPU for long (SEARCH). All arguments outlive the service.
std::unique_ptr<grpc::Service> NewMailboxService(MailboxDeps& deps, Mailboxes& mailboxes, rpc::ServerRunner& runner,
                                                 Executor& pool);

}  // namespace posthouse::mailbox
