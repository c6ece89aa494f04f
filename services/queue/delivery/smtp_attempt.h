// SmtpAttempt: a delivery attempt in the terms of SMTP. What to send, what replies mean
// for the recipients, and which recipients another host should still be tried for.
// Pure, but for the pieces of the message that are read while it is sent.
// Threads: one attempt belongs to one task.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "services/mail_formats/smtp/client.h"
#include "services/queue/delivery/delivery.h"

namespace posthouse::routing::v1 {
class ResolveDestinationResponse;
}

namespace posthouse::queue {

// Outcomes of the recipients so far, over all hosts of the destination.
class SmtpAttempt {
 public:
  // `attempt` outlives it.
  SmtpAttempt(const DeliveryAttempt& attempt, bool smtputf8)
      : attempt_(attempt), smtputf8_(smtputf8), final_(attempt.targets.size()), deferred_(attempt.targets.size()) {}

  // Recipients for which another host may be tried, as indexes of `targets`.
  std::vector<size_t> Open() const;

  // The message for some of the recipients. When the message cannot be read, unreadable()
  // says why. It outlives the message.
  smtp::ClientMessage MessageFor(const std::vector<size_t>& recipients);
  const absl::Status& unreadable() const { return unreadable_; }

  // A host replied to a recipient. 4yz leaves the recipient to the next host (RFC 5321
  // §5.1: until an attempt succeeds). A later 5yz then does not count: a host with a
  // better preference did not say it.
  void Replied(size_t recipient, Outcome outcome);
  // Whatever other hosts might say.
  void Settle(size_t recipient, Outcome outcome) { final_[recipient] = std::move(outcome); }
  // Records a failed host. A temporary failure takes precedence over a permanent one.
  void HostFailed(Outcome outcome);

  // The outcome of each target, in order. Once, at the end.
  std::vector<Outcome> TakeOutcomes();

 private:
  const DeliveryAttempt& attempt_;
  const bool smtputf8_;
  std::vector<std::optional<Outcome>> final_;
  std::vector<std::optional<Outcome>> deferred_;  // the first 4yz reply
  std::optional<Outcome> host_failure_;
  absl::Status unreadable_;
};

// Whether the message needs SMTPUTF8 (RFC 6531 §3.6), by its reverse-path and header:
// many clients ask for it whenever it is offered, and an ASCII message must not fail at a
// host without it. True when the header cannot be read now.
Task<bool> NeedsSmtpUtf8(const DeliveryAttempt& attempt);

// What a routing answer without hosts means (RFC 7505 §3, RFC 5321 §5.1).
DeliveryResult ResultForNoHosts(const DeliveryAttempt& attempt, const routing::v1::ResolveDestinationResponse& answer);
// What a host's reply means for the recipient.
Outcome OutcomeForReply(const smtp::Outcome& from);

}  // namespace posthouse::queue
