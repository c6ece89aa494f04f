// ServerRunner, and what the reactors share.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/access.h"
#include "services/common/rpc/call_metrics.h"
#include "services/common/rpc/server_calls.h"
#include "services/common/tracing/span.h"

namespace posthouse::rpc {
namespace {

// The executor of a handler's first steps, which run on a gRPC thread: redirects all work
// to the event loop. It is not the loop itself, so `Current() == &loop` stays false there.
class RedirectingExecutor final : public Executor {
 public:
  explicit RedirectingExecutor(Executor& to) : to_(to) {}
  void Post(absl::AnyInvocable<void()> work) override { to_.Post(std::move(work)); }
  uint64_t PostAfter(absl::Duration delay, absl::AnyInvocable<void()> work) override {
    return to_.PostAfter(delay, std::move(work));
  }
  bool CancelTimer(uint64_t id) override { return to_.CancelTimer(id); }

 private:
  Executor& to_;
};

struct MethodMetrics {
  std::array<metrics::Counter*, kCodes> handled{};
  metrics::Histogram* seconds = nullptr;
};

}  // namespace

struct ServerRunner::Impl {
  Impl(net::EventLoops& l, metrics::Registry& r, std::unique_ptr<const Access> a)
      : loops(l), registry(r), access(std::move(a)) {
    for (size_t i = 0; i < loops.size(); ++i) executors.push_back(std::make_unique<RedirectingExecutor>(loops.at(i)));
  }

  net::EventLoops& loops;
  metrics::Registry& registry;
  const std::unique_ptr<const Access> access;  // null: no check
  std::vector<std::unique_ptr<RedirectingExecutor>> executors;
  std::atomic<size_t> next{0};

  absl::Mutex mutex;
  absl::flat_hash_map<std::string, std::unique_ptr<MethodMetrics>> methods ABSL_GUARDED_BY(mutex);

  absl::Mutex drain_mutex;
  bool draining ABSL_GUARDED_BY(drain_mutex) = false;
  std::vector<std::weak_ptr<Drainable>> calls ABSL_GUARDED_BY(drain_mutex);
  size_t prune_at ABSL_GUARDED_BY(drain_mutex) = 64;

  metrics::Counter& Handled(const std::string& method, MethodMetrics& m, size_t code)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (m.handled[code] == nullptr) m.handled[code] = &HandledCalls(registry, method, code);
    return *m.handled[code];
  }
};

ServerRunner::ServerRunner(net::EventLoops& loops, metrics::Registry& registry, AccessOptions access)
    : impl_(std::make_unique<Impl>(loops, registry, std::make_unique<Access>(std::move(access), registry))) {}
ServerRunner::ServerRunner(net::EventLoops& loops, metrics::Registry& registry)
    : impl_(std::make_unique<Impl>(loops, registry, nullptr)) {}
ServerRunner::~ServerRunner() = default;

absl::Status ServerRunner::Admit(const grpc::CallbackServerContext& context, const std::string& method) const {
  return impl_->access == nullptr ? absl::OkStatus() : impl_->access->Admit(context, method);
}

void ServerRunner::Launch(Task<void> task) {
  const size_t i = impl_->next.fetch_add(1, std::memory_order_relaxed) % impl_->executors.size();
  const Executor::Scope scope(impl_->executors[i].get());
  SpawnHere(std::move(task));
}

void ServerRunner::Finished(const std::string& method, const absl::Status& status, absl::Time start,
                            internal::CallBase& call) {
  const absl::Time now = absl::Now();
  const auto code = static_cast<size_t>(status.code());
  metrics::Counter* handled;
  metrics::Histogram* seconds;
  {
    absl::MutexLock lock(&impl_->mutex);
    std::unique_ptr<MethodMetrics>& slot = impl_->methods[method];
    if (slot == nullptr) {
      slot = std::make_unique<MethodMetrics>();
      slot->seconds = &HandlingSeconds(impl_->registry, method);
      impl_->Handled(method, *slot, 0);  // shows zero from the start
    }
    handled = &impl_->Handled(method, *slot, code < kCodes ? code : 2);
    seconds = slot->seconds;
  }
  handled->Add();
  seconds->Observe(now - start);
  if (!tracing::On()) return;
  // A call without a trace (a change stream, an administrator's) is no part of a message's way.
  const CallInfo& info = call.info();
  if (info.parent_span.empty() || !tracing::Wanted(info.trace)) return;
  tracing::Span span;
  span.trace = info.trace;
  span.parent_id = info.parent_span;
  span.name = method;
  span.kind = tracing::SpanKind::kServer;
  span.start = start;
  span.end = now;
  span.status = status;
  tracing::Emit(std::move(span));
}

void ServerRunner::BeginDrain() {
  std::vector<std::weak_ptr<Drainable>> calls;
  {
    absl::MutexLock lock(&impl_->drain_mutex);
    impl_->draining = true;
    calls.swap(impl_->calls);
  }
  for (const auto& weak : calls) {
    if (const auto call = weak.lock()) call->OnDrain();
  }
}

void ServerRunner::Register(const std::shared_ptr<Drainable>& call) {
  {
    absl::MutexLock lock(&impl_->drain_mutex);
    if (!impl_->draining) {
      auto& calls = impl_->calls;
      calls.push_back(call);
      if (calls.size() >= impl_->prune_at) {
        calls.erase(std::remove_if(calls.begin(), calls.end(), [](const auto& weak) { return weak.expired(); }),
                    calls.end());
        impl_->prune_at = std::max<size_t>(64, 2 * calls.size());
      }
      return;
    }
  }
  call->OnDrain();
}

namespace internal {

CallInfo MakeCallInfo(const grpc::CallbackServerContext& context) {
  CallInfo info;
  const auto& metadata = context.client_metadata();
  const auto header = metadata.find("traceparent");
  std::optional<TraceContext> trace;
  if (header != metadata.end()) {
    trace = TraceContext::Parse(absl::string_view(header->second.data(), header->second.size()));
  }
  if (trace.has_value()) info.parent_span = trace->parent_id;
  info.trace = trace.has_value() ? trace->Child() : TraceContext::New();
  info.peer = PeerName(context);
  info.deadline = absl::FromChrono(context.deadline());
  return info;
}

void CancelHook::Set(absl::AnyInvocable<void()> fn) {
  {
    absl::MutexLock lock(&mutex_);
    if (!fired_) {
      fn_ = std::move(fn);
      return;
    }
  }
  fn();
}

void CancelHook::Fire() {
  absl::AnyInvocable<void()> fn;
  {
    absl::MutexLock lock(&mutex_);
    if (fired_) return;
    fired_ = true;
    fn = std::move(fn_);
    fn_ = nullptr;
  }
  if (fn) fn();
}

void CancelHook::Disarm() {
  absl::AnyInvocable<void()> fn;
  absl::MutexLock lock(&mutex_);
  fn_.swap(fn);
}

bool CancelHook::fired() const {
  absl::MutexLock lock(&mutex_);
  return fired_;
}

}  // namespace internal
}  // namespace posthouse::rpc
