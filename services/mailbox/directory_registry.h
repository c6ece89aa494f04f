// DirectoryRegistry: the AccountRegistry over the directory's RPC, with its change stream.
// Threads: any; the destructor waits for callbacks, so it runs on no thread of `executor`.
#pragma once

#include <functional>
#include <memory>

#include "services/common/ids/ids.h"
#include "services/mailbox/folder/account_registry.h"

namespace grpc {
class Channel;
}
namespace posthouse {
class Executor;
}

namespace posthouse::mailbox {

// `shard`: the name of this store. `changed` is called after a change of an account, on `executor`.
std::unique_ptr<AccountRegistry> NewDirectoryRegistry(std::shared_ptr<grpc::Channel> directory, Home shard,
                                                      Executor& executor, std::function<void()> changed);

}  // namespace posthouse::mailbox
