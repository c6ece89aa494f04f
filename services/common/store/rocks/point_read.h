// Reads of single keys, with RocksDB's answers made true. Internal.
//
// Asked for memory only (ReadOptions::read_tier kBlockCacheTier), RocksDB before 9.0
// (Debian 12 has 7.8.3) says OK with an empty value where it means Incomplete: Get() when the key's
// table is not open, and MultiGet() when an absent key falls between two blocks and the second
// one is not cached. An iterator answers Incomplete. No value of a store is empty, so an
// empty one is Incomplete here; read from the disk, it is Corruption.
//
// All point reads of RocksStore go through these functions.
#pragma once

#include <rocksdb/options.h>
#include <rocksdb/slice.h>
#include <rocksdb/status.h>

#include <string>
#include <vector>

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
}  // namespace rocksdb

namespace posthouse::store {

// NotFound: there is no such key.
rocksdb::Status GetKey(rocksdb::DB& db, const rocksdb::ReadOptions& options, rocksdb::ColumnFamilyHandle* family,
                       const std::string& key, rocksdb::PinnableSlice* value);

// All keys as of one instant. `values` and `statuses` get one element a key.
void GetKeys(rocksdb::DB& db, const rocksdb::ReadOptions& options, rocksdb::ColumnFamilyHandle* family,
             const std::vector<std::string>& keys, std::vector<rocksdb::PinnableSlice>* values,
             std::vector<rocksdb::Status>* statuses);

}  // namespace posthouse::store
