#include "services/common/rpc/client.h"

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/time/clock.h"
#include "services/common/rpc/access_options.h"
#include "services/common/rpc/admission.h"
#include "services/common/tracing/span.h"

namespace posthouse::rpc {

CallOptions OptionsFor(absl::Duration deadline) {
  CallOptions options;
  options.deadline = deadline;
  return options;
}

CallOptions OptionsFor(absl::Duration deadline, const std::string& traceparent) {
  CallOptions options = OptionsFor(deadline);
  if (std::optional<TraceContext> trace = TraceContext::Parse(traceparent)) options.trace = *std::move(trace);
  return options;
}

// The numbers of absl::StatusCode and grpc::StatusCode are the same by design.
absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  // A refusal is no answer about what was asked, so services take it for a failure that passes.
  if (status.error_details() == kRefusalPayload) {
    absl::Status refused = absl::UnavailableError(status.error_message());
    refused.SetPayload(kWasRefusedPayload, absl::Cord("1"));
    return refused;
  }
  return FromGrpcVerbatim(status);
}

absl::Status FromGrpcVerbatim(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      status.GetPayload(kRefusalPayload).has_value() ? kRefusalPayload : "");
}

ClientSpan::ClientSpan() = default;
ClientSpan::ClientSpan(ClientSpan&&) noexcept = default;
ClientSpan& ClientSpan::operator=(ClientSpan&&) noexcept = default;
ClientSpan::~ClientSpan() = default;

void ClientSpan::End(const absl::Status& status) {
  if (span_ == nullptr) return;
  const std::unique_ptr<tracing::Span> span = std::move(span_);
  span->end = absl::Now();
  span->status = status;
  tracing::Emit(std::move(*span));
}

ClientSpan Prepare(grpc::ClientContext& context, const CallOptions& options, const std::string& (*method)()) {
  if (options.deadline != absl::InfiniteDuration()) {
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(options.deadline));
  }
  ClientSpan span;
  if (options.trace.trace_id.empty()) return span;
  TraceContext own = options.trace.Child();
  context.AddMetadata("traceparent", own.ToHeader());
  if (method == nullptr || !tracing::Wanted(own)) return span;
  span.span_ = std::make_unique<tracing::Span>();
  span.span_->parent_id = options.trace.parent_id;
  span.span_->trace = std::move(own);
  span.span_->name = method();
  span.span_->kind = tracing::SpanKind::kClient;
  span.span_->start = absl::Now();
  return span;
}

}  // namespace posthouse::rpc
