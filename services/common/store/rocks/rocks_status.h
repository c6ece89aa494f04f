// RocksDB's errors in the terms of store.h.
// Threads: stateless.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rocksdb {
class Status;
}

namespace posthouse::store {

// RocksDB's text of an error. It asks for a table that is missing under its name in LevelDB,
// "000011.ldb", too, and names that one.
std::string WithRealNames(absl::string_view error);

// Converts the error of a read, or of a write that surely did not happen. Errors that
// are not known to be permanent become kUnavailable. `what` names the operation.
absl::Status FromRocks(const rocksdb::Status& status, absl::string_view what);

// Why the store at `path` cannot be opened, and what to do.
absl::Status ExplainOpenError(const rocksdb::Status& status, const std::string& path);

}  // namespace posthouse::store
