// Point reads from memory alone, where RocksDB 7.8 says OK with an empty value.
#include "services/common/store/rocks/point_read.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace posthouse::store {
namespace {

class PointReadTest : public testing::Test {
 protected:
  PointReadTest() {
    static int number = 0;
    path_ = absl::StrCat(std::getenv("TEST_TMPDIR"), "/point", number++);
    options_.create_if_missing = true;
    options_.disable_auto_compactions = true;
    memory_.read_tier = rocksdb::kBlockCacheTier;
  }
  ~PointReadTest() override {
    db_.reset();
    std::filesystem::remove_all(path_);
  }
  void Open() {
    db_.reset();
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options_, path_, &raw).ok());
    db_.reset(raw);
  }
  void Put(const std::string& key) { ASSERT_TRUE(db_->Put(rocksdb::WriteOptions(), key, std::string(1000, 'v')).ok()); }
  rocksdb::Status Get(const rocksdb::ReadOptions& options, const std::string& key) {
    rocksdb::PinnableSlice value;
    const rocksdb::Status status = GetKey(*db_, options, db_->DefaultColumnFamily(), key, &value);
    EXPECT_EQ(value.size(), status.ok() ? 1000u : 0u) << key << ": " << status.ToString();
    return status;
  }

  std::string path_;
  rocksdb::Options options_;
  rocksdb::ReadOptions memory_;
  std::unique_ptr<rocksdb::DB> db_;
};

// A database that may not have all its tables open opens few at its start.
TEST_F(PointReadTest, AKeyOfATableThatIsNotOpenIsNotInMemory) {
  options_.max_open_files = 20;
  Open();
  for (int table = 0; table < 12; ++table) {
    Put(absl::StrCat("k", table));
    ASSERT_TRUE(db_->Flush(rocksdb::FlushOptions()).ok());
  }
  Open();
  int not_in_memory = 0;
  for (int table = 0; table < 12; ++table) {
    const rocksdb::Status status = Get(memory_, absl::StrCat("k", table));
    EXPECT_TRUE(status.ok() || status.IsIncomplete()) << status.ToString();
    not_in_memory += status.IsIncomplete();
  }
  EXPECT_GT(not_in_memory, 0);
  for (int table = 0; table < 12; ++table) EXPECT_TRUE(Get(rocksdb::ReadOptions(), absl::StrCat("k", table)).ok());
}

TEST_F(PointReadTest, AnAbsentKeyBetweenTwoBlocksIsNotAnEmptyValue) {
  rocksdb::BlockBasedTableOptions table;
  table.block_size = 100;  // a block a key
  options_.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  Open();
  Put("k1");
  Put("k5");
  ASSERT_TRUE(db_->Flush(rocksdb::FlushOptions()).ok());
  Open();
  const std::vector<std::string> keys = {"k1", "k1x"};  // "k1x" is looked for behind k1, then in the block of k5
  std::vector<rocksdb::PinnableSlice> values;
  std::vector<rocksdb::Status> statuses;
  GetKeys(*db_, memory_, db_->DefaultColumnFamily(), keys, &values, &statuses);
  EXPECT_TRUE(statuses[1].IsIncomplete()) << statuses[1].ToString();
  GetKeys(*db_, rocksdb::ReadOptions(), db_->DefaultColumnFamily(), keys, &values, &statuses);
  EXPECT_TRUE(statuses[0].ok()) << statuses[0].ToString();
  EXPECT_EQ(values[0].size(), 1000u);
  EXPECT_TRUE(statuses[1].IsNotFound()) << statuses[1].ToString();
}

TEST_F(PointReadTest, AnEmptyValueOnTheDiskIsDamage) {
  Open();
  ASSERT_TRUE(db_->Put(rocksdb::WriteOptions(), "k", "").ok());
  EXPECT_TRUE(Get(rocksdb::ReadOptions(), "k").IsCorruption());
  EXPECT_TRUE(Get(memory_, "k").IsIncomplete());
}

}  // namespace
}  // namespace posthouse::store
