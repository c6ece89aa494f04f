// Adds the metadata of metadata.h to the calls of a channel. For the .cc files of this directory.
// Threads: any.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_interceptor.h>

#include <memory>
#include <vector>

#include "services/common/rpc/metadata.h"

namespace posthouse::rpc {

// Interceptors that add `metadata` to every call; none when there is nothing to add.
std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> AddToCalls(
    ChannelMetadata metadata);

}  // namespace posthouse::rpc
