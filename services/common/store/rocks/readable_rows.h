// Walks over all readable rows of a column family, past damaged blocks. Internal.
#pragma once

#include <rocksdb/db.h>

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace posthouse::store {

// Rows between two readable keys that cannot be read.
struct Unreadable {
  std::string after;                  // empty: from the first key on
  std::optional<std::string> before;  // nothing: to the last key
  rocksdb::Status error;
};

// Calls `row` for every readable row from `begin` to before `end` (empty: all), in
// order, and `lost` for every range that is not: damaged, in a file that is missing, or on a bad
// sector. An error of `row` ends the walk and is returned.
absl::Status WalkReadable(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family, const std::string& begin,
                          const std::string& end,
                          const std::function<absl::Status(absl::string_view key, absl::string_view value)>& row,
                          const std::function<void(const Unreadable&)>& lost);

// In words: which rows of which partition, or which bodies. Keys are printable.
std::string Describe(const Unreadable& range, bool bodies);
// The same for the keys from `first` to `last`, both included.
std::string DescribeInclusive(const std::string& first, const std::string& last, bool bodies);

}  // namespace posthouse::store
