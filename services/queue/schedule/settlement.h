// Settlement: what the outcomes of an attempt, the time and operators do to an item.
// Pure functions; the dispatcher commits the result. Threads: the caller locks the item.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/schedule/active_item.h"
#include "services/queue/schedule/backoff.h"

namespace posthouse::queue {

// What an attempt's outcome leads to.
struct SettlementPolicy {
  BackoffPolicy retry;
  absl::Duration delay_warning_after = absl::Hours(4);  // zero: never
  size_t max_recipients = 5000;                         // of an item, with those that aliases add
};

// When an attempt ran.
struct AttemptTime {
  absl::Time started;
  absl::Time now;
  // The destination is blocked until then; no retry comes sooner.
  absl::Time blocked_until = absl::InfinitePast();
  bool unreachable = false;  // it was the destination, not the message
  // How much of `now` - the item's acceptance is a step of the clock, not age.
  absl::Duration stepped;
  double random = 0.5;  // in [0, 1)
};

// Each of these adds what it changed to `unsaved`, and returns the number of double
// bounces: recipients that failed while the message has the null reverse-path, so that no
// report can be sent (RFC 5321 §4.5.5).

// Settles or reschedules recipients[targets[i].index] by outcomes[i].
int ApplyOutcomes(const std::vector<Target>& targets, const std::vector<Outcome>& outcomes, const AttemptTime& time,
                  const SettlementPolicy& policy, v1::Item* item, Unsaved* unsaved);

// Once the item has expired: expires each waiting recipient that was tried, or that cannot
// be tried since its destination is blocked. Before: notes delay warnings that are due.
// `failure_of` answers the last failed attempt at a blocked destination, null for one that is
// not blocked. A recipient without an attempt of its own gets that one as its last: the reason
// in reports to the sender.
int ApplyTime(absl::Time now, const SettlementPolicy& policy,
              const std::function<const v1::Attempt*(const Destination&)>& failure_of, v1::Item* item,
              Unsaved* unsaved);

// An operator deletes the item. With `bounce` its sender gets a report.
int ApplyDeletion(absl::Time now, bool bounce, v1::Item* item, Unsaved* unsaved);

// Adds an unresolved recipient for the same message. False when the item has this
// recipient already, or max_recipients.
bool AddRecipient(const std::string& address, absl::Time now, const SettlementPolicy& policy, v1::Item* item,
                  Unsaved* unsaved);

}  // namespace posthouse::queue
