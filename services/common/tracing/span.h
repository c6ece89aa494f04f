// Spans: what a process did for a trace, for a collector of the operator's choice (otlp_exporter.h).
//
// A trace context (rpc/trace.h) travels with each mail transaction, whether tracing is on or not: it is in logs, in
// gRPC metadata and in the queue's records. Spans are made only while a sink is set. Without one, Wanted() is one load.
//
//   const rpc::TraceContext own = parent.Child();   // what the work passes on
//   ...
//   if (tracing::Wanted(own)) tracing::Emit({own, parent.parent_id, "queue.attempt", SpanKind::kInternal, start, end});
//
// As with the log, there is one sink in a process. Threads: any; Emit() does not block.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/common/rpc/trace.h"

namespace posthouse::tracing {

// The numbers are OTLP's.
enum class SpanKind { kInternal = 1, kServer = 2, kClient = 3 };

// A finished piece of work.
struct Span {
  rpc::TraceContext trace;  // its own: trace.parent_id is the id of this span, which its children name as their parent
  std::string parent_id;    // span that caused it; "": the root of the trace
  std::string name;         // from a closed set: "smtp.transaction"
  SpanKind kind = SpanKind::kInternal;
  absl::Time start, end;
  absl::Status status;
  // Key and value. No mail addresses and no content: collectors keep spans where logs may not go.
  std::vector<std::pair<const char*, std::string>> attributes;
};

class SpanSink {
 public:
  virtual ~SpanSink() = default;
  // Must not block. Any thread.
  virtual void Take(Span span) = 0;
};

// Where spans go from now on; null: nowhere. A share `ratio` of the traces, 0 to 1, has spans. The choice is made by
// the trace id, so that all processes with one ratio choose the same traces.
void SetSink(std::shared_ptr<SpanSink> sink, double ratio);

namespace internal {
extern std::atomic<uint64_t> wanted_below;  // of 2^56; 0: no sink
bool IsChosen(const rpc::TraceContext& trace);
}  // namespace internal

// Whether there is a sink.
inline bool On() { return internal::wanted_below.load(std::memory_order_relaxed) != 0; }
// Whether a span of `trace` has somewhere to go.
inline bool Wanted(const rpc::TraceContext& trace) { return On() && internal::IsChosen(trace); }
void Emit(Span span);
// The span that begins `trace`, from `start` to now, if it is wanted.
void EmitRoot(const rpc::TraceContext& trace, std::string name, absl::Time start, const absl::Status& status,
              std::vector<std::pair<const char*, std::string>> attributes = {});

}  // namespace posthouse::tracing
