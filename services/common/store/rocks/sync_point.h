// SyncPoint: the file SYNCED of a store, which says up to where its log was synced.
//
// After each sync of the log the committer calls Reached(). The file is not synced itself:
// it survives a crash of the process, and after a power loss it may be old, which is true
// as well. Without it a lost end of the log would look like a torn tail. The sync marks
// in the log (wal_scanner.h) say the same, except about the last batch.
//
// 28 bytes: "PHsync1\n", sequence:be64, base:be64, CRC-32C of these:be32. A change up to
// `base` was in table files when the store was opened, so no log need have it.
//
// Threads: Reached() and sequence() one; the rest before.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace rocksdb {
class Env;
class RandomRWFile;
}  // namespace rocksdb

namespace posthouse::store {

// Sequence numbers of RocksDB: all up to `sequence` are durable, those up to `base` in table files.
struct SyncedTo {
  uint64_t sequence = 0;
  uint64_t base = 0;
};

class SyncPoint {
 public:
  // Reads the file of the closed store at `path`. nullopt: no file, or a damaged one, which is logged.
  static std::optional<SyncedTo> Read(rocksdb::Env& env, const std::string& path);
  // Writes the file anew for a store that has all changes up to `synced.sequence`, those
  // up to `synced.base` in table files. When that fails (a full disk), the error is logged and Reached() does nothing.
  static std::unique_ptr<SyncPoint> Begin(rocksdb::Env& env, const std::string& path, const SyncedTo& synced);
  ~SyncPoint();

  void Reached(uint64_t sequence);
  uint64_t sequence() const { return reached_.sequence; }

 private:
  SyncPoint(std::unique_ptr<rocksdb::RandomRWFile> file, const SyncedTo& synced);

  std::unique_ptr<rocksdb::RandomRWFile> file_;  // null: it cannot be written
  SyncedTo reached_;
};

}  // namespace posthouse::store
