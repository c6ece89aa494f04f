// The two calls that bring messages: each reads its stream, keeps the body, and stores it.
// Threads: any.
#pragma once

#include "absl/status/status.h"
#include "services/common/async/task.h"
#include "services/common/rpc/streaming.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/mailboxes.h"

namespace posthouse::mailbox::v1 {
class AppendRequest;
class AppendResponse;
class DeliverRequest;
class DeliverResponse;
}  // namespace posthouse::mailbox::v1

namespace posthouse::mailbox {

// Answers one outcome for each target. Fails only when the stream is not what the proto says,
// or the body cannot be kept.
Task<absl::Status> ReceiveDelivery(MailboxDeps& deps, Mailboxes& mailboxes,
                                   rpc::ReaderCall<v1::DeliverRequest, v1::DeliverResponse>& call);

// One APPEND. Errors: those of AppendWithinQuota().
Task<absl::Status> ReceiveAppend(MailboxDeps& deps, Mailboxes& mailboxes,
                                 rpc::ReaderCall<v1::AppendRequest, v1::AppendResponse>& call);

}  // namespace posthouse::mailbox
