// FakeRpc: FakeBackend behind real gRPC services and an in-process channel, so that
// tests go through the same client code as production.
#pragma once

#include <memory>

#include "services/common/metrics/metrics.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/channels.h"
#include "services/gateway/testing/fake_backend.h"

namespace posthouse::gateway {

class FakeRpc {
 public:
  FakeRpc(net::EventLoops& loops, metrics::Registry& registry);
  ~FakeRpc();
  FakeBackend& backend() { return backend_; }
  // Both services under their names.
  rpc::Channels channels();

 private:
  struct Impl;
  FakeBackend backend_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace posthouse::gateway
