// The audit log: one line `admin_call` for each call of an operator that changes something,
// whether it succeeds or not.
// Threads: any.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace google::protobuf {
class Message;
}

namespace posthouse::rpc {

// Writes `method`, the object that `request` names, the caller (CallInfo.peer), the code of `status` and the trace id.
// Nothing else of the request: it may hold a password.
void AuditAdminCall(absl::string_view method, const google::protobuf::Message& request, absl::string_view peer,
                    absl::string_view trace_id, const absl::Status& status);

// The object of an admin call: the name in the request or in its record; "": there is none.
std::string AuditTarget(const google::protobuf::Message& request);

}  // namespace posthouse::rpc
