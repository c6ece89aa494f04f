#include "services/common/rpc/client.h"

#include <chrono>

#include "absl/strings/cord.h"
#include "services/common/rpc/access_options.h"
#include "services/common/rpc/admission.h"

namespace posthouse::rpc {

CallOptions OptionsFor(absl::Duration deadline, const std::string& trace_id) {
  CallOptions options;
  options.deadline = deadline;
  if (!trace_id.empty()) {
    options.trace = TraceContext::New();
    options.trace.trace_id = trace_id;
  }
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

void Prepare(grpc::ClientContext& context, const CallOptions& options) {
  if (options.deadline != absl::InfiniteDuration()) {
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(options.deadline));
  }
  if (!options.trace.trace_id.empty()) context.AddMetadata("traceparent", options.trace.Child().ToHeader());
}

}  // namespace posthouse::rpc
