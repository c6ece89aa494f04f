// For tools that read the files of a directory: whether a row is one that the directory can parse. No I/O.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/common/store/store.h"

namespace posthouse::directory {

// OK also for rows of other services. kDataLoss: the row is of the directory, and damaged.
// kFailedPrecondition: its schema is newer than this binary's.
absl::Status CheckStoredRow(const store::Partition& partition, absl::string_view key, absl::string_view value);

}  // namespace posthouse::directory
