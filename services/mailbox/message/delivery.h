// Delivery: one message to many accounts, each idempotent by its delivery id.
//
// A delivery adds the message to INBOX and writes the delivery id as a dedupe row, in one commit.
// There are no user rules yet (Sieve): mail to a subaddress goes to INBOX, too.
//
// Threads: any.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/mailboxes.h"
#include "services/mailbox/message/body_receiver.h"

namespace posthouse::mailbox::v1 {
class DeliverRequest_Header;
class DeliverResponse;
}  // namespace posthouse::mailbox::v1

namespace posthouse::mailbox {

// Stores `message` for every target of `header` and answers one outcome for each, in order. An
// outcome that is not definite is KIND_TEMPORARY. True: some row may name the blob.
Task<bool> DeliverToAll(MailboxDeps& deps, Mailboxes& mailboxes, const v1::DeliverRequest_Header& header,
                        const ReceivedMessage& message, v1::DeliverResponse* response);

}  // namespace posthouse::mailbox
