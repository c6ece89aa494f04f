// Reads every row and body that the files of a closed store still have.
//
// RocksDB answers from the newest table that has a key, and not at all when it cannot read that
// one. Here a table that is missing or cannot be opened is left out, and where a block is
// damaged, its range is read once more without its table, so that one damaged file hides
// nothing that the others have. Behind a hole in a log its intact changes are read, too.
//
// So an older state can come to light: a row as it was before a change that is lost, also one that was
// removed. Nothing tells which rows the lost block or table had. Each row in its range that was last
// written before the newest change of that table is counted as maybe older.
//
// Threads: one. Internal to store_check.
#pragma once

#include <rocksdb/db.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/store/rocks/rocks_tuning.h"
#include "services/common/store/rocks/store_check.h"

namespace posthouse::store {

// The column families, in their order here: rows, bodies.
std::vector<rocksdb::ColumnFamilyDescriptor> FamiliesOf(const Tuning& tuning);

class ClosedStore {
 public:
  using Row = std::function<absl::Status(size_t family, absl::string_view key, absl::string_view value)>;

  // Nothing in the directory changes. No process can open the store before the destructor ran. kNotFound: no
  // store. kFailedPrecondition: a process has it open. kDataLoss: not even its list of files can be read.
  static absl::StatusOr<ClosedStore> Open(const std::string& path);
  ClosedStore(ClosedStore&&) noexcept;
  ClosedStore& operator=(ClosedStore&&) = delete;
  ~ClosedStore();

  // Calls `row` once for each key; the keys ascend between damaged places only. An error of `row` ends it.
  absl::StatusOr<StoreCheck> ReadAll(const Row& row);

 private:
  struct Impl;
  explicit ClosedStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace posthouse::store
