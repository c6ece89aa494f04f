#include "services/common/rpc/channel_metadata.h"

#include <utility>

namespace posthouse::rpc {
namespace {

using grpc::experimental::InterceptionHookPoints;

class Adder final : public grpc::experimental::Interceptor {
 public:
  explicit Adder(const ChannelMetadata& metadata) : metadata_(metadata) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      for (const auto& entry : metadata_) methods->GetSendInitialMetadata()->insert(entry);
    }
    methods->Proceed();
  }

 private:
  const ChannelMetadata& metadata_;  // of the factory, which the channel owns and calls keep
};

class AdderFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit AdderFactory(ChannelMetadata metadata) : metadata_(std::move(metadata)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo*) override {
    return new Adder(metadata_);
  }

 private:
  const ChannelMetadata metadata_;
};

}  // namespace

std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> AddToCalls(
    ChannelMetadata metadata) {
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> creators;
  if (!metadata.empty()) creators.push_back(std::make_unique<AdderFactory>(std::move(metadata)));
  return creators;
}

}  // namespace posthouse::rpc
