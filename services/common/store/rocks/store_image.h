// An image of an open RocksDB: a directory that opens as a store, as of one instant.
//
// It is what a crash at that instant would leave: table and blob files as hard links, and the
// manifest and the logs copied up to the instant. So recovery, and the checks before it
// (loss_check.h), do for an image what they do after a crash. The file SYNCED is left out, which may say more than
// the copied logs have; the marks in the logs are enough. IDENTITY and OPTIONS are left out, too: a store that is
// opened from the image takes an identity of its own, and numbers new files apart from those of its origin.
//
// Threads: any. Internal to RocksStore.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "services/common/store/rocks/reopenable_db.h"
#include "services/common/store/store.h"

namespace posthouse::store {

// See Store::TakeImage. `incarnation` stays 0. Writes nothing through RocksDB's file system but what a flush does;
// a frugal database is not flushed. After an error the directory is gone.
absl::StatusOr<StoreImage> TakeImageOf(const ReopenableDb::Handles& open, const std::string& directory);

}  // namespace posthouse::store
