// SmtpAttempt: a delivery attempt in the terms of SMTP. What to send, what replies mean
// for the recipients, and which recipients another host should still be tried for.
// Pure, but for the message, which is read before it is sent and while it is sent.
// Threads: one attempt belongs to one task.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/common/async/task.h"
#include "services/mail_formats/message/downgrade.h"
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

  // Reads the message, once for all hosts, to learn whether a host with or without 8BITMIME
  // can take it as it is (RFC 6152 §3, RFC 5322 §2.1.1). If not, MessageFor() gives a
  // converted one (mail_formats/message/downgrade.h), for which the message is read four
  // times more. True: it is converted. A message that cannot be read is not: to send it
  // fails, too.
  Task<bool> Prepare(bool eight_bit_mime);

  // The message for some of the recipients, as of the last Prepare(). When the message
  // cannot be read, unreadable() says why. It outlives the message.
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
  Task<absl::Status> ReadAll(std::function<void(absl::string_view)> piece);

  const DeliveryAttempt& attempt_;
  std::optional<message::LineScan> scan_;
  // What to do for a host without and one with 8BITMIME; null: nothing, or not known yet.
  std::unique_ptr<const message::DowngradePlan> plans_[2];
  uint64_t converted_bytes_[2] = {0, 0};
  const message::DowngradePlan* plan_ = nullptr;  // of the host that Prepare() was for
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
// The same for a session that the host did not open. A 5yz reply to the connection, to EHLO
// or to STARTTLS says nothing about the message, and often passes: it is temporary, unless
// `bounce` or the code says that the host never accepts mail (RFC 7504).
Outcome OutcomeForRefusedSession(const smtp::Outcome& from, bool bounce);
// What failed in a kConnection outcome: "end of data: connection reset by peer".
std::string ErrorText(const smtp::Outcome& from);

}  // namespace posthouse::queue
