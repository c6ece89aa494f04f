// Resolution: applies routing's answer to a recipient whose destination is not known yet
// (the sender of a failed message, a redirect). Pure.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/schedule/settlement.h"

namespace posthouse::queue {

// Writes the answer into recipients[index]. When the address is an alias of several
// recipients, appends the others; commit them before any of them is delivered, since their
// index is part of the delivery id. Returns an outcome when the recipient cannot be
// delivered (now).
std::optional<Outcome> ApplyResolution(int index, const absl::StatusOr<routing::v1::ResolveRecipientResponse>& answer,
                                       absl::Time now, const SettlementPolicy& policy, v1::Item* item,
                                       Unsaved* unsaved);

}  // namespace posthouse::queue
