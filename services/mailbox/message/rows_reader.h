// Reads rows of many messages at once: as pages when the UIDs are close together, else by keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/common/store/store.h"

namespace posthouse::mailbox {

// Values of the rows `key_of(uid)`, pairwise with `uids` (ascending, at most
// store::kMaxReadKeys); nullopt where there is none. `prefix` is that of the keys. When the store
// cannot read all of them (kDataLoss), each is read alone: `damaged`, else empty, then has a status
// for each, and those that are not OK have no value.
Task<absl::StatusOr<std::vector<std::optional<std::string>>>> ReadRows(store::Store& store, store::Partition partition,
                                                                       const char* prefix, std::string (*key_of)(Uid),
                                                                       const std::vector<Uid>& uids,
                                                                       std::vector<absl::Status>* damaged);

}  // namespace posthouse::mailbox
