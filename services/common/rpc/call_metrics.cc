#include "services/common/rpc/call_metrics.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

namespace posthouse::rpc {
namespace {

constexpr std::array<const char*, kCodes> kCodeNames = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

metrics::Labels LabelsOf(const std::string& method) {
  const size_t slash = std::min(method.find('/'), method.size());
  return {{"grpc_service", method.substr(0, slash)},
          {"grpc_method", method.substr(std::min(slash + 1, method.size()))}};
}

}  // namespace

metrics::Counter& HandledCalls(metrics::Registry& registry, const std::string& method, size_t code) {
  metrics::Labels labels = LabelsOf(method);
  labels["grpc_code"] = kCodeNames.at(code);
  return registry.AddCounter("grpc_server_handled_total", "Calls that this server finished, by status code.", labels);
}

metrics::Histogram& HandlingSeconds(metrics::Registry& registry, const std::string& method) {
  return registry.AddHistogram("grpc_server_handling_seconds", "Time from a call's start to its status.",
                               LabelsOf(method));
}

void AnnounceCalls(metrics::Registry& registry, const std::string& service) {
  const auto* const known = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
  if (known == nullptr) return;
  for (int i = 0; i < known->method_count(); ++i) {
    HandledCalls(registry, absl::StrCat(service, "/", known->method(i)->name()), 0);
  }
}

}  // namespace posthouse::rpc
