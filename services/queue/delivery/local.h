// Local delivery: messages for accounts, handed to the mailbox shard that is their
// home. One MailboxService.Deliver stream for all recipients of an item there.
//
// Each recipient has the delivery id "<queue id>/<index>/keep", under which the
// mailbox stores a message once, however often it is delivered: so a crash between
// its commit and ours costs nothing.
//
// Threads: any.
#pragma once

#include <memory>

#include "services/common/rpc/channels.h"
#include "services/queue/delivery/delivery.h"

namespace posthouse::mailbox::v1 {
class DeliveryOutcome;
}

namespace posthouse::queue {

struct LocalOptions {
  // For a message of any size; a byte takes a microsecond more.
  absl::Duration deadline = absl::Seconds(60);
};

std::unique_ptr<Delivery> NewLocalDelivery(rpc::Channels channels, LocalOptions options = {});

// ---- the parts that are pure, for tests

// Trace fields for the top of the message at final delivery (RFC 5321 §4.4):
// Return-Path:, and Delivered-To: when the copy is for one recipient.
std::string DeliveryFields(const DeliveryAttempt& attempt);
// What the mailbox's answer means for the recipient.
Outcome OutcomeForDelivered(const mailbox::v1::DeliveryOutcome& outcome);
// What a failed call means; never permanent.
DeliveryResult ResultForFailedCall(const DeliveryAttempt& attempt, const absl::Status& status);

}  // namespace posthouse::queue
