// What an attempt to deliver needs and what comes of it; shared by the local and
// the remote delivery, and by the dispatcher that removal_only_ok the outcomes.
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
#include "services/queue/spool/destination.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {

struct Target {
  int index = 0;  // of the recipient in its item
  v1::EnvelopeRecipient recipient;
};

// One item's recipients at one destination, for one attempt. The dispatcher owns it and
// keeps the item until the attempt is over.
struct DeliveryAttempt {
  explicit DeliveryAttempt(const v1::Envelope& e) : envelope(e) {}

  const v1::Envelope& envelope;  // of the item; its own list of recipients is empty
  QueueId queue_id;
  Destination destination;  // resolved
  std::vector<Target> targets;
  absl::Time accepted;
  uint64_t size_bytes = 0;
  // Reads the message: bytes [offset, offset+length), fewer only at its end.
  std::function<Task<absl::StatusOr<absl::Cord>>(uint64_t offset, uint64_t length)> read;
  std::shared_ptr<const std::string> memory;  // the whole message; null: use `read`
};

struct Outcome {
  // Closed: also a metric label.
  enum class Kind { kDelivered, kRelayed, kTemporary, kPermanent };
  Kind kind = Kind::kTemporary;  // what is not known is temporary
  v1::Attempt attempt;           // host, address, reply or error; times are the dispatcher's
  std::string status;            // RFC 3463, for the DSN: "5.1.1"
  // The host that took it reports about it from here on (RFC 3461 §5.2.1).
  bool dsn_handed_on = false;
  // The host may have taken it: nobody else is tried in this attempt.
  bool maybe_accepted = false;
  std::vector<std::string> redirects;  // recipients to add, before this one is settled
};

// What an attempt shows about its destination.
enum class Reachability {
  kSuccess,      // it answered
  kNeutral,      // nothing is known
  kUnreachable,  // it could not be spoken to: leave it alone for a while
};

struct DeliveryResult {
  std::vector<Outcome> outcomes;  // one for each target, in order
  Reachability reachability = Reachability::kNeutral;
  std::string site;  // who serves the destination, when it is now known; else ""
};

// An outcome of our own making: `code` "451", `status` "4.3.0".
Outcome MakeOutcome(Outcome::Kind kind, uint32_t code, absl::string_view status, absl::string_view text);
// The same one for every target.
DeliveryResult SameForAll(const DeliveryAttempt& attempt, const Outcome& outcome, Reachability reachability);

// What a failed read of the message means: gone for good is permanent, all else is not.
Outcome OutcomeForUnreadable(const absl::Status& status);

// Cut for rows and logs; a peer's words are kept, but not all of them. The result is
// UTF-8 whatever they were: a proto with another `string` cannot be read back.
std::string CutText(absl::string_view text, size_t max = 500);

class Delivery {
 public:
  virtual ~Delivery() = default;
  // Never fails: every end is an outcome. `transaction` is the caller's until the end.
  virtual Task<DeliveryResult> Deliver(const DeliveryAttempt& attempt) = 0;
  // Cuts what is in progress, and what starts later: it ends as a temporary failure.
  virtual void Abort() = 0;
};

}  // namespace posthouse::queue
