// Reads a whole store of a process that does not run, names what cannot be read, and
// copies what can. For posthousectl: it works where the process refuses to start.
//
// A damaged block takes a range of keys with it, a table that is missing or cannot be opened all of
// its own. What is lost lies between the last key that is readable before it and the first one
// after it, or between the table's first and last key; how many keys that were, nothing
// tells. When two damaged blocks are close to each other they may be one range.
//
// Rows of other tables, logs and blob files are read all the same, also in such a range. There an
// older state of a row may come to light: as it was before a change that is lost, or before its
// removal. Such rows are kept, since most of them were never changed, and named (`older`).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/store/store.h"

namespace posthouse::store {

// A range of keys that cannot be read.
struct LostRange {
  // Rows of one partition, of several, or message bodies: "rows of mb/0018... after m/7 and before m/9".
  std::string what;
  std::string error;  // RocksDB's, with file and offset
};

// What a check or a salvage found.
struct StoreCheck {
  uint64_t rows = 0;    // readable
  uint64_t bodies = 0;  // readable rows of bodies: headers and pieces
  std::vector<LostRange> lost;
  std::vector<LostRange> older;      // readable rows that may have been changed or removed since
  std::vector<LostRange> malformed;  // readable rows that `row_check` refuses
  std::string kept_at;               // SalvageStore: where the damaged files are now
};

// Whether a service could parse the row.
using RowCheck =
    std::function<absl::Status(const Partition& partition, absl::string_view key, absl::string_view value)>;

// Reads every row and body of the store in `path`, and asks `row_check` about each row. Changes nothing.
// kFailedPrecondition: a process has it open. kDataLoss: not even its list of files can be read.
absl::StatusOr<StoreCheck> CheckStore(const std::string& path, const RowCheck& row_check = nullptr);

// If something is lost: copies what is readable into a new store in place of `path`, and
// keeps the old directory as `path`.damaged. It needs as much free space as the store
// has. The store's incarnation rises, so that no number is given out again. A crash
// leaves `path` as it was, or the new store.
absl::StatusOr<StoreCheck> SalvageStore(const std::string& path);

}  // namespace posthouse::store
