#include "services/common/store/rocks/point_read.h"

#include <rocksdb/db.h>

namespace posthouse::store {
namespace {

rocksdb::Status Checked(rocksdb::Status status, const rocksdb::ReadOptions& options, const std::string& key,
                        const rocksdb::PinnableSlice& value) {
  if (!status.ok() || !value.empty()) return status;
  if (options.read_tier == rocksdb::kBlockCacheTier) return rocksdb::Status::Incomplete("not in memory");
  return rocksdb::Status::Corruption("empty value of key", rocksdb::Slice(key).ToString(/*hex=*/true));
}

}  // namespace

rocksdb::Status GetKey(rocksdb::DB& db, const rocksdb::ReadOptions& options, rocksdb::ColumnFamilyHandle* family,
                       const std::string& key, rocksdb::PinnableSlice* value) {
  value->Reset();
  return Checked(db.Get(options, family, key, value), options, key, *value);
}

void GetKeys(rocksdb::DB& db, const rocksdb::ReadOptions& options, rocksdb::ColumnFamilyHandle* family,
             const std::vector<std::string>& keys, std::vector<rocksdb::PinnableSlice>* values,
             std::vector<rocksdb::Status>* statuses) {
  *values = std::vector<rocksdb::PinnableSlice>(keys.size());
  statuses->assign(keys.size(), rocksdb::Status());
  if (keys.size() == 1) {
    (*statuses)[0] = GetKey(db, options, family, keys[0], &(*values)[0]);
    return;
  }
  const std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
  db.MultiGet(options, family, keys.size(), slices.data(), values->data(), statuses->data());
  for (size_t i = 0; i < keys.size(); ++i) (*statuses)[i] = Checked((*statuses)[i], options, keys[i], (*values)[i]);
}

}  // namespace posthouse::store
