#include "services/common/rpc/audit.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "services/common/log/log.h"

namespace posthouse::rpc {

std::string AuditTarget(const google::protobuf::Message& request) {
  const google::protobuf::Descriptor& type = *request.GetDescriptor();
  for (const char* name : {"address", "account", "alias", "queue_id", "session_id", "domain", "account_id", "tenant"}) {
    const google::protobuf::FieldDescriptor* const field = type.FindFieldByName(name);
    if (field == nullptr || field->is_repeated()) continue;
    const google::protobuf::Reflection& reflection = *request.GetReflection();
    if (field->message_type() != nullptr) return AuditTarget(reflection.GetMessage(request, field));
    std::string text = reflection.GetString(request, field);
    if (!text.empty()) return text;
  }
  return "";
}

void AuditAdminCall(absl::string_view method, const google::protobuf::Message& request, absl::string_view peer,
                    absl::string_view trace_id, const absl::Status& status) {
  LOG_EVENT(kInfo, "admin_call")
      .Str("method", method)
      .Str("target", AuditTarget(request))
      .Str("peer", peer)
      .Str("code", absl::StatusCodeToString(status.code()))
      .Trace(trace_id);
}

}  // namespace posthouse::rpc
