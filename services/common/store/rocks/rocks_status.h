// RocksDB's errors in the terms of store.h.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rocksdb {
class Status;
}

namespace posthouse::store {

// Of a read, or of a write that surely did not happen. What is not known to be
// permanent is kUnavailable.
absl::Status FromRocks(const rocksdb::Status& status, absl::string_view what);

}  // namespace posthouse::store
