// Settlement: what the outcomes of an attempt do to an item. Pure; the dispatcher
// commits the result. Threads: the caller holds the item.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/schedule/active_item.h"
#include "services/queue/schedule/backoff.h"

namespace posthouse::queue {

struct SettlementPolicy {
  BackoffPolicy retry;
  absl::Duration delay_warning_after = absl::Hours(4);  // zero: never
  size_t max_recipients = 5000;                         // of an item, with what rules and aliases add
};

struct AttemptTime {
  absl::Time started;
  absl::Time now;
  // The destination is backed off until then; no retry comes sooner.
  absl::Time blocked_until = absl::InfinitePast();
  bool unreachable = false;  // it was the destination, not the message
  double random = 0.5;       // in [0, 1)
};

// Settles or reschedules recipients[targets[i].index] by outcomes[i]; adds what
// changed to `unsaved`. Returns how many reports had nobody to go to (the message
// has the null reverse-path; RFC 5321 §4.5.5, a double bounce).
int ApplyOutcomes(const std::vector<Target>& targets, const std::vector<Outcome>& outcomes, const AttemptTime& time,
                  const SettlementPolicy& policy, v1::Item* item, Unsaved* unsaved);

// Expires who is waiting too long and has been tried (or cannot be: `blocked` says
// that of a destination), and notes delay warnings that are due.
int ApplyTime(absl::Time now, const SettlementPolicy& policy, const std::function<bool(const Destination&)>& blocked,
              v1::Item* item, Unsaved* unsaved);

// An operator deletes the item. With `bounce` its sender is told.
int ApplyDeletion(absl::Time now, bool bounce, v1::Item* item, Unsaved* unsaved);

// Adds a recipient for the same message, to be resolved; false when it is there
// already or there are too many.
bool AddRecipient(const std::string& address, absl::Time now, const SettlementPolicy& policy, v1::Item* item,
                  Unsaved* unsaved);

}  // namespace posthouse::queue
