// Salvage of a store that has lost a table: whatever another file has is kept, and what may be
// older than it was is named.
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/rocks/closed_store.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/rocks/rocks_tuning.h"
#include "services/common/store/rocks/store_check.h"
#include "services/common/store/store.h"

namespace posthouse::store {
namespace {

namespace fs = std::filesystem;

using Rows = std::map<std::string, std::string>;  // "mb/a m/0001" -> value

class SalvageTest : public testing::Test {
 protected:
  void SetUp() override {
    log::SetLevel(log::Level::kError);
    static int number = 0;
    options_.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/salvage", number++);
    options_.name = "test";
    options_.min_free_bytes = 0;
    Open();
  }
  void TearDown() override {
    store_.reset();
    fs::remove_all(options_.path);
    fs::remove_all(options_.path + ".damaged");
  }
  absl::Status TryOpen() {
    store_.reset();
    absl::StatusOr<std::unique_ptr<RocksStore>> store = RocksStore::Open(options_, registry_);
    if (store.ok()) store_ = *std::move(store);
    return store.status();
  }
  void Open() {
    const absl::Status opened = TryOpen();
    ASSERT_TRUE(opened.ok()) << opened;
  }
  static std::string Key(int i) { return absl::StrFormat("m/%04d", i); }
  static std::string Name(const std::string& partition, int i) { return absl::StrCat(partition, " ", Key(i)); }
  std::string RandomValue() {
    std::string value(500, 0);
    for (char& byte : value) byte = static_cast<char>(random_());
    return value;
  }
  // Remembers what it writes in `rows_`.
  void Set(const std::string& partition, int i, std::optional<std::string> value) {
    ASSERT_TRUE(SyncWait(store_->Commit({{"t", partition}, {}, {{Key(i), value}}})).ok());
    if (value.has_value()) {
      rows_[Name(partition, i)] = *value;
    } else {
      rows_.erase(Name(partition, i));
    }
  }
  void Fill(const std::string& partition, int from, int to) {
    for (int i = from; i < to; ++i) Set(partition, i, RandomValue());
  }
  std::set<std::string> Tables() const {
    std::set<std::string> tables;
    for (const auto& entry : fs::directory_iterator(options_.path)) {
      if (entry.path().extension() == ".sst") tables.insert(entry.path().string());
    }
    return tables;
  }
  // Writes a table, and answers its name. The smaller one, of the message bodies, there is not.
  std::string Flush() {
    const std::set<std::string> before = Tables();
    EXPECT_TRUE(store_->Flush().ok());
    for (const std::string& table : Tables()) {
      if (!before.contains(table)) return table;
    }
    ADD_FAILURE() << "no table was written";
    return "";
  }
  // Moves all rows to the lowest level.
  void Compact() {
    store_.reset();
    const Tuning tuning = MakeTuning(options_);
    rocksdb::DB* raw = nullptr;
    std::vector<rocksdb::ColumnFamilyHandle*> families;
    ASSERT_TRUE(rocksdb::DB::Open(tuning.db, options_.path, FamiliesOf(tuning), &families, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    rocksdb::CompactRangeOptions all;
    all.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    EXPECT_TRUE(db->CompactRange(all, families[0], nullptr, nullptr).ok());
    for (rocksdb::ColumnFamilyHandle* family : families) db->DestroyColumnFamilyHandle(family);
    EXPECT_TRUE(db->Close().ok());
    Open();
  }
  Rows ReadAll() {
    Rows rows;
    for (const char* partition : {"mb/a", "mb/b", "mb/c"}) {
      ReadRequest request{{"t", partition}, {}, "", "", kMaxPageRows};
      const absl::StatusOr<ReadResult> page = SyncWait(store_->Read(request));
      EXPECT_TRUE(page.ok() && !page->more) << page.status();
      if (!page.ok()) continue;
      for (const Row& row : page->page) rows[absl::StrCat(partition, " ", row.key)] = row.value;
    }
    return rows;
  }
  // The check names what the salvage names, and changes nothing.
  StoreCheck Salvage() {
    store_.reset();
    const absl::StatusOr<StoreCheck> check = CheckStore(options_.path);
    EXPECT_TRUE(check.ok()) << check.status();
    absl::StatusOr<StoreCheck> salvaged = SalvageStore(options_.path);
    EXPECT_TRUE(salvaged.ok()) << salvaged.status();
    if (!check.ok() || !salvaged.ok()) return {};
    EXPECT_EQ(salvaged->rows, check->rows);
    EXPECT_EQ(salvaged->lost.size(), check->lost.size());
    EXPECT_EQ(salvaged->older.size(), check->older.size());
    Open();
    return *std::move(salvaged);
  }
  static void FlipABit(const std::string& file, int at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at);
    const char byte = static_cast<char>(stream.get());
    stream.seekp(at);
    stream.put(static_cast<char>(byte ^ 0x10));
  }

  std::mt19937 random_{5};
  metrics::Registry registry_;
  RocksOptions options_;
  std::unique_ptr<RocksStore> store_;
  Rows rows_;
};

TEST_F(SalvageTest, AMissingTableCostsItsOwnRowsAndNoOthers) {
  Fill("mb/a", 0, 40);
  Fill("mb/b", 0, 40);
  Flush();
  const Rows before = rows_;
  Fill("mb/b", 40, 60);
  Fill("mb/c", 0, 20);
  const std::string lost = Flush();
  const Rows with_lost = rows_;
  Fill("mb/a", 40, 60);
  Flush();
  Fill("mb/c", 100, 110);  // only in the log
  store_.reset();
  fs::remove(lost);

  const absl::Status refused = TryOpen();
  EXPECT_TRUE(absl::IsDataLoss(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), fs::path(lost).filename().string())) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "salvage store")) << refused;

  const StoreCheck check = Salvage();
  ASSERT_EQ(check.lost.size(), 1u);
  EXPECT_EQ(check.lost[0].what, "rows from row m/0040 of mb/b to row m/0019 of mb/c");
  EXPECT_TRUE(absl::StrContains(check.lost[0].error, fs::path(lost).filename().string())) << check.lost[0].error;
  EXPECT_TRUE(check.older.empty()) << check.older[0].what;
  EXPECT_TRUE(fs::exists(check.kept_at));
  Rows expected = rows_;
  for (const auto& [name, value] : with_lost) {
    if (!before.contains(name)) expected.erase(name);
  }
  EXPECT_EQ(ReadAll(), expected);
  EXPECT_EQ(store_->Incarnation(), 1u);
}

TEST_F(SalvageTest, WhatMayBeOlderThanItWasIsKeptAndNamed) {
  Fill("mb/a", 0, 10);
  Fill("mb/b", 0, 10);
  Compact();
  const Rows first = rows_;
  Set("mb/a", 2, RandomValue());  // overwritten
  Set("mb/a", 3, std::nullopt);   // removed
  Set("mb/a", 4, RandomValue());  // and written once more below
  Set("mb/a", 7, RandomValue());
  const std::string lost = Flush();
  Set("mb/a", 4, RandomValue());
  Set("mb/a", 5, RandomValue());
  store_.reset();
  fs::remove(lost);

  const StoreCheck check = Salvage();
  EXPECT_EQ(check.lost.size(), 1u);
  ASSERT_EQ(check.older.size(), 1u);
  // Not 4 and 5, whose newest change came later; 6 was not changed, but nothing tells.
  EXPECT_EQ(check.older[0].what, "4 of the rows of mb/a from m/0002 to m/0007");
  EXPECT_TRUE(absl::StrContains(check.older[0].error, fs::path(lost).filename().string())) << check.older[0].error;
  Rows expected = rows_;
  for (const int i : {2, 3, 7}) expected[Name("mb/a", i)] = first.at(Name("mb/a", i));
  EXPECT_EQ(ReadAll(), expected);
}

TEST_F(SalvageTest, ADamagedBlockHidesNothingOfOtherTables) {
  Fill("mb/a", 0, 400);
  Fill("mb/b", 0, 400);
  Fill("mb/c", 0, 10);
  Compact();
  const Rows first = rows_;
  // A few keys far from each other, which are one block.
  Set("mb/a", 10, RandomValue());
  Set("mb/a", 390, RandomValue());
  Set("mb/b", 200, RandomValue());
  const std::string table = Flush();
  Set("mb/b", 100, RandomValue());
  Rows expected = first;
  expected[Name("mb/b", 100)] = rows_.at(Name("mb/b", 100));
  store_.reset();
  FlipABit(table, 300);

  const StoreCheck check = Salvage();
  EXPECT_EQ(check.lost.size(), 1u);
  EXPECT_EQ(check.older.size(), 2u);  // of mb/a and of mb/b
  EXPECT_EQ(ReadAll(), expected);
}

TEST_F(SalvageTest, ATableThatCannotBeOpenedCostsItsOwnRowsAndNoOthers) {
  Fill("mb/a", 0, 40);
  Flush();
  const Rows expected = rows_;
  Fill("mb/b", 0, 40);
  const std::string table = Flush();
  store_.reset();
  fs::resize_file(table, fs::file_size(table) - 20);
  const absl::Status refused = TryOpen();
  EXPECT_TRUE(absl::IsDataLoss(refused)) << refused;
  const StoreCheck check = Salvage();
  ASSERT_EQ(check.lost.size(), 1u);
  EXPECT_EQ(check.lost[0].what, "rows of mb/b from m/0000 to m/0039");
  EXPECT_EQ(ReadAll(), expected);
}

TEST_F(SalvageTest, AMissingTableAndADamagedLogCostNoMoreThanBoth) {
  Fill("mb/a", 0, 20);
  const std::string lost = Flush();
  Fill("mb/b", 0, 20);
  Flush();
  rows_.clear();
  for (int i = 0; i < 20; ++i) rows_[Name("mb/b", i)] = ReadAll().at(Name("mb/b", i));
  Fill("mb/c", 0, 40);  // in the log
  store_.reset();
  fs::remove(lost);
  std::string log;
  for (const auto& entry : fs::directory_iterator(options_.path)) {
    if (entry.path().extension() == ".log" && (log.empty() || entry.file_size() > fs::file_size(log))) {
      log = entry.path().string();
    }
  }
  FlipABit(log, 3000);  // in one of the first records
  const StoreCheck check = Salvage();
  EXPECT_EQ(check.lost.size(), 2u);
  const Rows kept = ReadAll();
  size_t missing = 0;
  for (const auto& [name, value] : rows_) {
    const auto found = kept.find(name);
    if (found == kept.end()) {
      EXPECT_TRUE(absl::StartsWith(name, "mb/c")) << name;
      ++missing;
    } else {
      EXPECT_EQ(found->second, value) << name;
    }
  }
  EXPECT_EQ(missing, 1u);
  EXPECT_EQ(kept.size(), rows_.size() - 1);
}

TEST_F(SalvageTest, AMissingTableOfBodiesCostsNoOtherBody) {
  ASSERT_TRUE(SyncWait(store_->blobs().Put("t", "one", absl::Cord("first"))).ok());
  Set("mb/a", 1, "names one");
  const std::set<std::string> none = Tables();
  Flush();
  ASSERT_TRUE(SyncWait(store_->blobs().Put("t", "two", absl::Cord("second"))).ok());
  Set("mb/a", 2, "names two");
  const std::set<std::string> before = Tables();
  Flush();
  store_.reset();
  // Both families wrote a table; that of the bodies is the one without rows of a partition.
  std::string bodies;
  for (const std::string& table : Tables()) {
    if (before.contains(table)) continue;
    std::ifstream stream(table, std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(stream), {});
    if (absl::StrContains(bytes, "second")) bodies = table;
  }
  ASSERT_FALSE(bodies.empty());
  fs::remove(bodies);
  const StoreCheck check = Salvage();
  ASSERT_EQ(check.lost.size(), 1u);
  EXPECT_TRUE(absl::StartsWith(check.lost[0].what, "message bodies from ")) << check.lost[0].what;
  EXPECT_EQ(ReadAll(), rows_);
  const auto one = SyncWait(store_->blobs().Get("t", "one", 0, 100));
  EXPECT_TRUE(one.ok() && *one == "first") << one.status();
  EXPECT_FALSE(SyncWait(store_->blobs().Get("t", "two", 0, 100)).ok());
}

}  // namespace
}  // namespace posthouse::store
