// ReadPastDamage: a page of rows of which some cannot be read.
//
// A damaged block of a file makes each read that meets it kDataLoss, so a scan would end there
// for ever. This goes on behind it. What was left out is a range of keys: which rows were in it
// nobody knows. Threads: any.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/common/store/store.h"

namespace posthouse::store {

struct LostKeys {
  std::string after;                 // the rows behind this key, or from the request's prefix on...
  std::optional<std::string> until;  // ... up to this key; nothing: up to the end of the prefix
  absl::Status why;
};

// As store.Read(), for a page and no keys. Never kDataLoss: calls `lost` for each range that cannot be
// read, and goes on behind it. An empty page is the end. A damaged range costs at most one
// read for each octet of the key before it, and 8 for each octet in which its end differs from that key; a range
// at the start of the prefix, 8 for each octet of a key. 64 octets count.
Task<absl::StatusOr<ReadResult>> ReadPastDamage(Store& store, ReadRequest request,
                                                std::function<void(const LostKeys&)> lost);

}  // namespace posthouse::store
