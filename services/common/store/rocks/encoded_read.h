// Reads of a RocksStore: the keys are encoded once, so that a read may run a second time, on
// another thread, when memory alone could not answer it (tiered_reader.h).
//
// Threads: one at a time.
#pragma once

#include <rocksdb/db.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "services/common/store/store.h"

namespace posthouse::store {

// A ReadRequest, which was validated. All of a run is of one instant.
class EncodedRead {
 public:
  explicit EncodedRead(const ReadRequest& request);

  // Small reads are tried on the caller's thread; longer ones would keep an event loop from
  // its other work even when all is in memory.
  bool small() const;
  // Begins anew; Take() has the rows when it is OK.
  rocksdb::Status Run(rocksdb::DB& db, rocksdb::ReadOptions options);
  ReadResult Take() { return std::move(result_); }

 private:
  rocksdb::Status ReadKeys(rocksdb::DB& db, const rocksdb::ReadOptions& options);
  rocksdb::Status ReadPage(rocksdb::DB& db, rocksdb::ReadOptions options);

  const size_t limit_;
  const std::string partition_;
  std::vector<std::string> keys_;
  std::string start_;
  std::string end_;
  ReadResult result_;
};

// The partitions of `tenant` whose id has `prefix`, after `after`: Store::List().
class EncodedList {
 public:
  EncodedList(const std::string& tenant, const std::string& prefix, const std::string& after, size_t limit);

  // Begins anew. Corruption: a row whose key names no partition.
  rocksdb::Status Run(rocksdb::DB& db, rocksdb::ReadOptions options);
  std::vector<Partition> Take() { return std::move(found_); }

 private:
  const size_t limit_;
  std::string start_;
  std::string end_;
  std::vector<Partition> found_;
};

}  // namespace posthouse::store
