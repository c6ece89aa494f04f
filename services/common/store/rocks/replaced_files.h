// What RocksDB reads of a damaged store instead of some of its files: a manifest that does not name
// some tables, and logs without their damaged records. The files themselves stay as they are.
//
// RocksDB reads nothing at all while one of its newest tables cannot be opened, since it merges
// them; and behind a damaged record it drops the rest of the block, 32 KiB of intact ones.
// Threads: any, once made. Internal to closed_store.
#pragma once

#include <rocksdb/file_system.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace posthouse::store {

// A table as a manifest names it.
struct ManifestTable {
  uint32_t family = 0;
  uint32_t level = 0;
  uint64_t number = 0;
};

// `manifest`: the bytes of whole records. Adds records that remove `tables`.
std::string ManifestWithout(std::string manifest, const std::vector<ManifestTable>& tables);

// Adds a record to the bytes of a log or a manifest; wal_scanner.h has the format.
void AddRecord(absl::string_view payload, std::string* file);

using ReplacedFiles = std::map<std::string, std::string>;  // bytes by path

class ReplacedFilesFs final : public rocksdb::FileSystemWrapper {
 public:
  // Whoever reads one of `files` in sequence gets its bytes from there.
  ReplacedFilesFs(std::shared_ptr<rocksdb::FileSystem> target, ReplacedFiles files);
  const char* Name() const override { return "ReplacedFilesFs"; }

  rocksdb::IOStatus NewSequentialFile(const std::string& name, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                      rocksdb::IODebugContext* debug) override;

 private:
  const ReplacedFiles files_;
};

}  // namespace posthouse::store
