// Are commits that were acknowledged missing from the files of a closed store? Asked
// before RocksDB opens them, since opening drops what follows a damaged log record and
// then removes the log.
//
// Acknowledged is what the sync marks in the logs and the file SYNCED say (wal_scanner.h,
// sync_point.h). Stores of earlier releases have neither, and none of it is missing.
//
// The marker RESTORED in the store's directory says that the store may be older than what
// clients saw: the operator puts it there after a restore, AcceptLoss() after a loss. The
// next opening raises the incarnation (Store::Incarnation) and removes the marker.
//
// Threads: stateless; every function blocks on the disk. The files belong to the caller alone.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace rocksdb {
class DB;
class Env;
}  // namespace rocksdb

namespace posthouse::store {

// OK: nothing is missing. kDataLoss: the message names the file, the offset, how many
// changes are missing, and what to do. Reads the logs once, and changes nothing.
absl::Status CheckForLoss(rocksdb::Env& env, const std::string& path);

// Cuts a torn last record off the manifest, with a warning. RocksDB does so by itself when the
// record is too short, but refuses one of the right length and a wrong checksum, which a
// power loss leaves as well. Only after CheckForLoss(): then the logs still have what the
// record was to say, since RocksDB syncs a record before it removes a file because of it.
absl::Status DropTornManifestEnd(rocksdb::Env& env, const std::string& path);

// Links the file `name` of the store into <path>/damaged-logs, before another takes its place. What fails is logged.
void KeepDamaged(rocksdb::Env& env, const std::string& path, const std::string& name);

// The operator accepts the loss `why`: writes the marker durably, keeps the logs as they
// are in <path>/damaged-logs, and forgets what they have to contain.
absl::Status AcceptLoss(rocksdb::Env& env, const std::string& path, const absl::Status& why);

// What CheckIncarnation() found.
struct IncarnationCheck {
  uint64_t incarnation = 0;
  bool raised = false;  // by this call
};
// The incarnation of an open database, raised when the marker is there. It is a row and the file
// INCARNATION: should one be damaged, the other one counts.
absl::StatusOr<IncarnationCheck> CheckIncarnation(rocksdb::Env& env, rocksdb::DB& db, const std::string& path);

// Gives a new store at `to` the incarnation of the one at `from`, as far as its file has it.
absl::Status CopyIncarnation(rocksdb::Env& env, const std::string& from, const std::string& to);

}  // namespace posthouse::store
