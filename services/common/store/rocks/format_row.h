// The row of a store that has its format number (format.h). Internal.
// Threads: any; blocks on the disk.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "services/common/store/format.h"

namespace rocksdb {
class DB;
}

namespace posthouse::store {

// The number of the store that is open as `db`. A new store gets formats.initial. A damaged block that has the number
// does not stop the store: formats.initial then, which every release reads. kFailedPrecondition: newer than
// formats.newest; kDataLoss: the row reads well and is no number, so another program wrote it.
absl::StatusOr<int> CheckFormat(rocksdb::DB& db, const std::string& path, const FormatRange& formats);

}  // namespace posthouse::store
