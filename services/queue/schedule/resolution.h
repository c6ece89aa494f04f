// Resolution: recipients whose destination is not known yet (the sender of a
// bounce, a redirect), as routing answers about them. Pure.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/queue/delivery/delivery.h"
#include "services/queue/schedule/settlement.h"

namespace posthouse::queue {

// Writes the answer into recipients[index]; more than one final recipient are
// appended, which must be committed before any of them is delivered (their index
// is part of the delivery id). An outcome when it cannot be delivered (now).
std::optional<Outcome> ApplyResolution(int index, const absl::StatusOr<routing::v1::ResolveRecipientResponse>& answer,
                                       absl::Time now, const SettlementPolicy& policy, v1::Item* item,
                                       Unsaved* unsaved);

}  // namespace posthouse::queue
