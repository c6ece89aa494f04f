// Resolution: applies routing's answers to recipients. Pure.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/schedule/settlement.h"

namespace posthouse::queue {

// ---- a recipient whose destination is not known yet (the sender of a failed message)

// Writes the answer into recipients[index]. When the address is an alias of several
// recipients, appends the others; commit them before any of them is delivered, since their
// index is part of the delivery id. Returns an outcome when the recipient cannot be
// delivered (now).
std::optional<Outcome> ApplyResolution(int index, const absl::StatusOr<routing::v1::ResolveRecipientResponse>& answer,
                                       absl::Time now, const SettlementPolicy& policy, v1::Item* item,
                                       Unsaved* unsaved);

// ---- a local recipient, before each attempt
//
// Since the message was accepted its account may have been deleted, made again, moved to another store or given
// another quota, and its alias may have got other targets. Routing is asked for the address of RCPT TO, and for the
// final address when that answer does not settle it.

// Whether routing's answer for the address of RCPT TO leaves open what becomes of recipients[index], so that its final
// address must be asked for.
bool MustAskForFinalAddress(const v1::Item& item, int index,
                            const absl::StatusOr<routing::v1::ResolveRecipientResponse>& answer);

// What a new answer of routing changed.
struct ResolvedAgain {
  enum class Result { kSame, kChanged, kRefused, kUnknown };  // closed: also a metric label
  Result result = Result::kSame;
  std::optional<Outcome> outcome;  // kRefused: why the recipient cannot be delivered (now)
};
// Writes the answer (for the final address if MustAskForFinalAddress()) into recipients[index]. When an alias has got
// other targets, the recipient becomes the first of those that the item does not have, and the others are appended;
// commit them before any of them is delivered. An answer that is unknown for now changes nothing: the earlier one
// still holds. The recipient's delivery id stays as it is.
ResolvedAgain ApplyNewResolution(int index, const absl::StatusOr<routing::v1::ResolveRecipientResponse>& answer,
                                 absl::Time now, const SettlementPolicy& policy, v1::Item* item, Unsaved* unsaved);

}  // namespace posthouse::queue
