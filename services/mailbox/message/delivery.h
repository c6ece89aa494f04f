// Delivery: one message to many accounts, each idempotent by its delivery id.
//
// A delivery stores into INBOX with the delivery id as dedupe row, in one commit. The
// user's rules (Sieve) have their place in DeliverTo, between opening the account and
// choosing the folder; until then a subaddress goes to INBOX like everything else.
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

// Stores `message` for every target of `header`; one outcome each, in order. Never
// fails as a whole: what is not known to be definite is KIND_TEMPORARY. True when
// some row may name the blob now.
Task<bool> DeliverToAll(MailboxDeps& deps, Mailboxes& mailboxes, const v1::DeliverRequest_Header& header,
                        const ReceivedMessage& message, v1::DeliverResponse* response);

}  // namespace posthouse::mailbox
