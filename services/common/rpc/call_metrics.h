// The metrics of a server's calls, under the names of go-grpc-prometheus, so that common dashboards work.
#pragma once

#include <cstddef>
#include <string>

#include "services/common/metrics/metrics.h"

namespace posthouse::rpc {

inline constexpr size_t kCodes = 17;  // of gRPC

// `method`: "posthouse.queue.v1.QueueService/Enqueue". `code`: below kCodes.
metrics::Counter& HandledCalls(metrics::Registry& registry, const std::string& method, size_t code);
metrics::Histogram& HandlingSeconds(metrics::Registry& registry, const std::string& method);

// Adds the counters of successful calls of a linked-in service, so that they begin at zero: a rate over a method that
// was never called is 0, not absent.
void AnnounceCalls(metrics::Registry& registry, const std::string& service);

}  // namespace posthouse::rpc
