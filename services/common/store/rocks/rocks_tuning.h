// RocksDB's options for a RocksStore, with the reason at each choice. Internal.
#pragma once

#include <rocksdb/cache.h>
#include <rocksdb/options.h>

#include <memory>

#include "services/common/store/rocks/rocks_store.h"

namespace posthouse::store {

struct Tuning {
  std::shared_ptr<rocksdb::Cache> cache;
  rocksdb::DBOptions db;
  rocksdb::ColumnFamilyOptions rows;
  rocksdb::ColumnFamilyOptions blobs;
};

Tuning MakeTuning(const RocksOptions& options);

}  // namespace posthouse::store
