// Local delivery: hands messages to the mailbox process that is the home of their
// recipients. One MailboxService.Deliver stream carries one message for all recipients of
// an item with the same home.
//
// Each recipient has the delivery id "<queue id>/<index>/keep". The mailbox stores a
// message once under it, however often it is delivered, so a crash between the mailbox's
// commit and the queue's does no harm.
//
// Threads: any.
#pragma once

#include <memory>

#include "services/common/rpc/live_peers.h"
#include "services/queue/delivery/delivery.h"

namespace posthouse::mailbox::v1 {
class DeliveryOutcome;
}

namespace posthouse::queue {

struct LocalOptions {
  // Of a delivery, plus a microsecond for each byte of the message.
  absl::Duration deadline = absl::Seconds(60);
};

// Delivers to the mailbox stores of `peers`.
std::unique_ptr<Delivery> NewLocalDelivery(std::shared_ptr<const rpc::LivePeers> peers, LocalOptions options = {});

// ---- the parts that are pure, for tests

// Trace fields for the top of the message at final delivery (RFC 5321 §4.4):
// Return-Path:, and Delivered-To: when the copy is for one recipient.
std::string DeliveryFields(const DeliveryAttempt& attempt);
// Removes the Return-Path fields from the header at the front of a message (RFC 5321 §4.4):
// others than DeliveryFields' would give the user a sender of a stranger's choice. `message`
// has the first bytes; a field that they do not end in stays, and so do all after it.
void RemoveReturnPaths(std::string* message);
// What the mailbox's answer means for a recipient.
Outcome OutcomeForDelivered(const mailbox::v1::DeliveryOutcome& outcome);
// What a failed call means; never permanent.
DeliveryResult ResultForFailedCall(const DeliveryAttempt& attempt, const absl::Status& status);

}  // namespace posthouse::queue
