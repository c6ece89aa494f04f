// FakeCollector: an OTLP collector in the test's process, which keeps the spans that it gets. Threads: any.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"

namespace posthouse::tracing {

class FakeCollector {
 public:
  using Spans = std::vector<opentelemetry::proto::trace::v1::Span>;
  // Listens on a free port of 127.0.0.1.
  FakeCollector();
  ~FakeCollector();
  std::string endpoint() const;
  // Answers the next call with `code` (of gRPC) instead of keeping its spans.
  void FailNext(int code);
  // Says of the next call that so many of its spans were refused.
  void RejectNext(int spans);
  Spans spans() const;
  // The attributes of the newest resource: "service.name=posthouse-queue".
  std::vector<std::string> resource() const;
  // Waits until `enough` is true of the spans; false: not within `patience`.
  bool WaitFor(const std::function<bool(const Spans&)>& enough, absl::Duration patience) const;

 private:
  class Service;
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace posthouse::tracing
