// The names of methods, by their request types: each method has a request type of its own.
// Threads: any.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>

namespace posthouse::rpc::internal {

// "package.Service/Method" of the method that takes `request`; "unknown" when there is none in the request's file.
std::string MethodTaking(const google::protobuf::Descriptor& request);

template <typename Request>
const std::string& MethodName() {
  static const auto& name = *new std::string(MethodTaking(*Request::descriptor()));
  return name;
}

}  // namespace posthouse::rpc::internal
