// DeliveryAttempt and its outcomes: what the dispatcher gives to the local and the remote
// delivery, and what it settles afterwards.
// Threads: one attempt belongs to one task; Delivery any.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "posthouse/queue/v1/queue.pb.h"
#include "services/common/async/task.h"
#include "services/common/rpc/trace.h"
#include "services/queue/spool/destination.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {

// A recipient that is to be delivered now.
struct Target {
  int index = 0;  // of the recipient in its item
  v1::EnvelopeRecipient recipient;
};

// One item's recipients at one destination, for one attempt. The dispatcher owns it and
// keeps the item until the attempt is over.
struct DeliveryAttempt {
  explicit DeliveryAttempt(const v1::Envelope& e) : envelope(e) {}

  const v1::Envelope& envelope;  // of the item; its own list of recipients is empty
  // Of this attempt, in the message's trace: what a delivery passes on. No trace_id: the message has no trace.
  rpc::TraceContext trace;
  std::string Traceparent() const { return trace.trace_id.empty() ? "" : trace.ToHeader(); }
  QueueId queue_id;
  Destination destination;  // resolved
  std::vector<Target> targets;
  absl::Time accepted;
  uint64_t size_bytes = 0;
  // Reads the message: bytes [offset, offset+length), fewer only at its end.
  std::function<Task<absl::StatusOr<absl::Cord>>(uint64_t offset, uint64_t length)> read;
  std::shared_ptr<const std::string> memory;  // the whole message; null: use `read`
};

// What became of one recipient in one attempt.
struct Outcome {
  // Closed: also a metric label.
  enum class Kind { kDelivered, kRelayed, kTemporary, kPermanent };
  Kind kind = Kind::kTemporary;  // unknown failures are temporary
  v1::Attempt attempt;           // host, address, reply or error; the dispatcher adds the times
  std::string status;            // RFC 3463, for the DSN: "5.1.1"
  // The host that accepted the message sends the reports from here on (RFC 3461 §5.2.1).
  bool dsn_handed_on = false;
  // The mailbox process does not have the account. The directory knows whether, and where, there is one now:
  // resolve the recipient again soon.
  bool resolve_again = false;
  // The host may have accepted the message: no other host is tried in this attempt.
  bool maybe_accepted = false;
};

// What an attempt shows about its destination.
enum class Reachability {
  kSuccess,      // it answered
  kNeutral,      // nothing
  kUnreachable,  // it does not answer, or sends us away: block it for a while
};

// What became of one attempt.
struct DeliveryResult {
  std::vector<Outcome> outcomes;  // one for each target, in order
  Reachability reachability = Reachability::kNeutral;
  std::string site;  // the hosts that serve the destination, as routing names them; "" not known
};

// An outcome that no host replied: `code` 451, `status` "4.3.0".
Outcome MakeOutcome(Outcome::Kind kind, uint32_t code, absl::string_view status, absl::string_view text);
// The same outcome for every target.
DeliveryResult SameForAll(const DeliveryAttempt& attempt, const Outcome& outcome, Reachability reachability);

// What a failed read of the message means: kNotFound is permanent, all else temporary.
Outcome OutcomeForUnreadable(const absl::Status& status);

// A peer's text, cut to `max` bytes for rows and logs. The result is UTF-8 whatever the
// peer sent: a proto with another `string` could not be read back.
std::string CutText(absl::string_view text, size_t max = 500);

// A way to deliver: local (mailbox stores) or remote (SMTP).
class Delivery {
 public:
  virtual ~Delivery() = default;
  // Never fails: every end is an outcome. The caller keeps `attempt` until then.
  virtual Task<DeliveryResult> Deliver(const DeliveryAttempt& attempt) = 0;
  // Aborts the attempts in progress and those that start later: they end as temporary failures.
  virtual void Abort() = 0;
};

}  // namespace posthouse::queue
