// RocksDB's options for a RocksStore, with the reason at each choice. Internal.
#pragma once

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include <memory>
#include <vector>

#include "services/common/store/rocks/rocks_store.h"

namespace posthouse::store {

// The options of one store; the cache is shared by its column families.
struct Tuning {
  std::shared_ptr<rocksdb::Cache> cache;
  rocksdb::DBOptions db;
  rocksdb::ColumnFamilyOptions rows;
  rocksdb::ColumnFamilyOptions blobs;
};

// From the sizes that the operator may set.
Tuning MakeTuning(const RocksOptions& options);

// Changes the options of a database that opens on a volume short of space: no flush or
// compaction that nobody asked for, and no blocks allocated ahead. The logs, which are
// at most max_total_wal_size, stay, and their rows are in memory.
void MakeFrugal(rocksdb::DBOptions* options, std::vector<rocksdb::ColumnFamilyDescriptor>* families);

}  // namespace posthouse::store
