#include "services/common/tracing/span.h"

#include <algorithm>
#include <cmath>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

namespace posthouse::tracing {
namespace internal {

std::atomic<uint64_t> wanted_below{0};

// W3C Trace Context level 2, §5.2: the rightmost 7 bytes of a trace id are random.
bool IsChosen(const rpc::TraceContext& trace) {
  constexpr size_t kRandomDigits = 14;
  if (!trace.sampled || trace.trace_id.size() < kRandomDigits) return false;
  uint64_t random = 0;
  const absl::string_view digits = absl::string_view(trace.trace_id).substr(trace.trace_id.size() - kRandomDigits);
  return absl::SimpleHexAtoi(digits, &random) && random < wanted_below.load(std::memory_order_relaxed);
}

}  // namespace internal

namespace {

struct CurrentSink {
  absl::Mutex mutex;
  std::shared_ptr<SpanSink> sink ABSL_GUARDED_BY(mutex);
};

// Never destroyed: other threads may still end their work while the process ends.
CurrentSink& Current() {
  static auto& current = *new CurrentSink;
  return current;
}

}  // namespace

void SetSink(std::shared_ptr<SpanSink> sink, double ratio) {
  const double below = std::clamp(ratio, 0.0, 1.0) * std::exp2(56);
  internal::wanted_below = sink == nullptr ? 0 : static_cast<uint64_t>(below);
  absl::MutexLock lock(&Current().mutex);
  Current().sink.swap(sink);  // the old one goes after the lock
}

void Emit(Span span) {
  std::shared_ptr<SpanSink> sink;
  {
    absl::MutexLock lock(&Current().mutex);
    sink = Current().sink;
  }
  if (sink != nullptr) sink->Take(std::move(span));
}

void EmitRoot(const rpc::TraceContext& trace, std::string name, absl::Time start, const absl::Status& status,
              std::vector<std::pair<const char*, std::string>> attributes) {
  if (!Wanted(trace)) return;
  Span span;
  span.trace = trace;
  span.name = std::move(name);
  span.kind = SpanKind::kServer;
  span.start = start;
  span.end = absl::Now();
  span.status = status;
  span.attributes = std::move(attributes);
  Emit(std::move(span));
}

}  // namespace posthouse::tracing
