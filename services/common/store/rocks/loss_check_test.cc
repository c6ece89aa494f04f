// Damaged logs of a RocksStore: what was acknowledged is there, or the store refuses to
// open; a torn tail is neither. An accepted loss raises the incarnation.
#include "services/common/store/rocks/loss_check.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/key_encoding.h"
#include "services/common/store/rocks/rocks_store.h"

namespace posthouse::store {
namespace {

namespace fs = std::filesystem;

class LossCheckTest : public testing::Test {
 protected:
  void SetUp() override {
    log::SetLevel(log::Level::kError);
    static int number = 0;
    options_.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/loss", number++);
    options_.name = "test";
    options_.min_free_bytes = 0;
  }
  void TearDown() override {
    store_.reset();
    fs::remove_all(options_.path);
  }
  absl::Status Open() {
    store_.reset();
    PH_ASSIGN_OR_RETURN(store_, RocksStore::Open(options_, registry_));
    return absl::OkStatus();
  }
  void Close() { store_.reset(); }
  // Rows from k<first> on, each a commit of its own. Small logs: the sync point is all that
  // shows the loss of the last one.
  void Commit(int first, int count, size_t bytes = 100) {
    for (int i = first; i < first + count; ++i) {
      ASSERT_TRUE(SyncWait(store_->Commit({{"t", "p"}, {}, {{absl::StrCat("k", i), std::string(bytes, 'v')}}})).ok());
    }
  }
  int Rows() { return static_cast<int>(SyncWait(store_->Read({{"t", "p"}, {}, "k", "", 1000}))->page.size()); }
  std::vector<std::string> Logs() const {
    std::vector<std::string> logs;
    for (const auto& entry : fs::directory_iterator(options_.path)) {
      if (entry.path().extension() == ".log" && entry.file_size() > 0) logs.push_back(entry.path().string());
    }
    return logs;
  }
  std::string TheLog() const {
    const std::vector<std::string> logs = Logs();
    EXPECT_EQ(logs.size(), 1u);
    return logs.empty() ? "" : logs[0];
  }
  static void Flip(const std::string& file, uint64_t at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at));
    const int byte = stream.get();
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(static_cast<char>(byte ^ 1));
  }
  double Metric(const std::string& name) {
    const std::string text = registry_.Serialize();
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::atof(text.c_str() + at + name.size() + 2);
  }

  metrics::Registry registry_;
  RocksOptions options_;
  std::unique_ptr<RocksStore> store_;
};

TEST_F(LossCheckTest, AFlippedByteAnywhereInTheLogIsRefusedAndTheFilesStayAsTheyWere) {
  ASSERT_TRUE(Open().ok());
  Commit(0, 10);
  Close();
  const std::string log = TheLog();
  const uint64_t size = fs::file_size(log);
  // The format number is the first batch, and no mark counts it: Open() writes it again.
  for (uint64_t at = size / 11 + 1; at < size; at += 37) {
    Flip(log, at);
    const absl::Status refused = Open();
    EXPECT_TRUE(absl::IsDataLoss(refused)) << at << ": " << refused;
    EXPECT_TRUE(absl::StrContains(refused.message(), absl::StrCat(log, " is damaged at byte "))) << refused;
    EXPECT_TRUE(absl::StrContains(refused.message(), "--accept-data-loss")) << refused;
    EXPECT_EQ(fs::file_size(log), size);
    Flip(log, at);
  }
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Rows(), 10);
  EXPECT_EQ(store_->Incarnation(), 0u);
}

// Without the file SYNCED the marks tell, except about the last batch.
TEST_F(LossCheckTest, TheMarksInTheLogAreEnough) {
  ASSERT_TRUE(Open().ok());
  Commit(0, 10);
  Close();
  ASSERT_TRUE(fs::remove(options_.path + "/SYNCED"));
  const std::string log = TheLog();
  Flip(log, fs::file_size(log) / 2);
  EXPECT_TRUE(absl::IsDataLoss(Open())) << Open();
}

TEST_F(LossCheckTest, ALogThatIsShorterThanWhatWasAcknowledgedIsRefused) {
  ASSERT_TRUE(Open().ok());
  Commit(0, 10);
  Close();
  const std::string log = TheLog();
  fs::resize_file(log, fs::file_size(log) - 1);
  EXPECT_TRUE(absl::IsDataLoss(Open())) << Open();
  fs::remove(log);
  const absl::Status refused = Open();
  EXPECT_TRUE(absl::IsDataLoss(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "the end of the log is missing")) << refused;
}

// What a power loss leaves: a tail that was never acknowledged, torn in the middle.
TEST_F(LossCheckTest, ATornTailOpensSilently) {
  ASSERT_TRUE(Open().ok());
  Commit(0, 10);
  const std::string log = TheLog();
  const uint64_t acknowledged = fs::file_size(log);
  fs::copy_file(options_.path + "/SYNCED", options_.path + "/then");
  Commit(10, 1, 50'000);
  Close();
  fs::rename(options_.path + "/then", options_.path + "/SYNCED");
  fs::resize_file(log, acknowledged + 20'000);
  Flip(log, acknowledged + 10'000);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Rows(), 10);
  EXPECT_EQ(store_->Incarnation(), 0u);
}

// The files of an earlier release say nothing about what was acknowledged.
TEST_F(LossCheckTest, ALogWithoutMarksOpensAsBefore) {
  rocksdb::DBOptions options;
  options.create_if_missing = options.create_missing_column_families = true;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* raw = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, options_.path, {{"default", {}}, {"blobs", {}}}, &families, &raw).ok());
  {
    const std::unique_ptr<rocksdb::DB> db(raw);
    rocksdb::WriteOptions sync;
    sync.sync = true;
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(db->Put(sync, std::string("rt\0p\0k", 6) + std::to_string(i), "v").ok());
    }
    for (rocksdb::ColumnFamilyHandle* family : families) ASSERT_TRUE(db->DestroyColumnFamilyHandle(family).ok());
  }
  const std::string log = TheLog();
  Flip(log, fs::file_size(log) / 2);
  ASSERT_TRUE(Open().ok()) << Open();
  EXPECT_GT(Rows(), 2);
  EXPECT_LT(Rows(), 10);
}

TEST_F(LossCheckTest, AnAcceptedLossRaisesTheIncarnationOnceAndKeepsTheLog) {
  ASSERT_TRUE(Open().ok());
  Commit(0, 10);
  Close();
  const std::string log = TheLog();
  const uint64_t size = fs::file_size(log);
  Flip(log, size / 2);
  options_.accept_data_loss = true;
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(store_->Incarnation(), 1u);
  EXPECT_GT(Rows(), 2);
  EXPECT_LT(Rows(), 8);
  EXPECT_EQ(fs::file_size(absl::StrCat(options_.path, "/damaged-logs/", fs::path(log).filename().string())), size);
  EXPECT_EQ(Metric("posthouse_store_losses_accepted_total{store=\"test\"}"), 1);
  EXPECT_EQ(Metric("posthouse_store_incarnation{store=\"test\"}"), 1);
  // The flag may stay: without a loss it means nothing.
  Commit(20, 5);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(store_->Incarnation(), 1u);
  options_.accept_data_loss = false;
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(store_->Incarnation(), 1u);
  EXPECT_GT(Rows(), 7);
}

TEST_F(LossCheckTest, TheMarkerOfARestoreRaisesTheIncarnation) {
  ASSERT_TRUE(Open().ok());
  Commit(0, 3);
  Close();
  std::ofstream(options_.path + "/RESTORED") << "";
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(store_->Incarnation(), 1u);
  EXPECT_EQ(Rows(), 3);
  EXPECT_FALSE(fs::exists(options_.path + "/RESTORED"));
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(store_->Incarnation(), 1u);
}

// The number is a row and a file: what was given out stays given out when one of them is lost.
TEST_F(LossCheckTest, TheIncarnationSurvivesTheLossOfItsRowAndOfItsFile) {
  ASSERT_TRUE(Open().ok());
  Commit(0, 3);
  for (uint64_t round = 1; round <= 3; ++round) {
    Close();
    std::ofstream(options_.path + "/RESTORED") << "";
    ASSERT_TRUE(Open().ok());
    EXPECT_EQ(store_->Incarnation(), round);
  }
  Close();
  fs::remove(options_.path + "/INCARNATION");
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(store_->Incarnation(), 3u);
  Close();
  EXPECT_TRUE(fs::exists(options_.path + "/INCARNATION"));
  for (const std::string& value : {std::string("no number"), std::string()}) {
    std::vector<rocksdb::ColumnFamilyHandle*> families;
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, options_.path, {{"default", {}}, {"blobs", {}}}, &families, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    ASSERT_TRUE((value.empty() ? db->Delete({}, IncarnationKey()) : db->Put({}, IncarnationKey(), value)).ok());
    ASSERT_TRUE(db->Delete({}, FormatKey()).ok());
    for (rocksdb::ColumnFamilyHandle* family : families) ASSERT_TRUE(db->DestroyColumnFamilyHandle(family).ok());
    ASSERT_TRUE(db->Close().ok());
    const absl::Status status = Open();
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(store_->Incarnation(), 3u);
    EXPECT_EQ(Rows(), 3);
    Close();
  }
}

// A store without traffic, one whose log was flushed to tables, and one that lost SYNCED.
TEST_F(LossCheckTest, AnUndamagedStoreOpensAgainAndAgain) {
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(Open().ok());
    Commit(10 * round, 10);
    ASSERT_TRUE(store_->Flush().ok());
    ASSERT_TRUE(Open().ok());
    ASSERT_TRUE(Open().ok());
    Close();
    fs::remove(options_.path + "/SYNCED");
    ASSERT_TRUE(Open().ok());
    EXPECT_EQ(Rows(), 10 * (round + 1));
  }
}

TEST_F(LossCheckTest, ADamagedSyncPointIsNoReasonToRefuse) {
  ASSERT_TRUE(Open().ok());
  Commit(0, 3);
  Close();
  for (uint64_t at = 0; at < 28; ++at) {
    Flip(options_.path + "/SYNCED", at);
    ASSERT_TRUE(Open().ok()) << at;
    EXPECT_EQ(Rows(), 3);
    Close();
  }
}

// Also where RocksDB's text has the word "block": that is no lock.
TEST_F(LossCheckTest, ADamagedTableIsCalledDamaged) {
  ASSERT_TRUE(Open().ok());
  Commit(0, 5);
  ASSERT_TRUE(store_->Flush().ok());
  Close();
  for (const auto& entry : fs::directory_iterator(options_.path)) {
    if (entry.path().extension() != ".sst") continue;
    for (uint64_t at = 0; at < entry.file_size(); at += 101) {
      Flip(entry.path().string(), at);
      const absl::Status status = Open();
      Close();
      Flip(entry.path().string(), at);
      EXPECT_TRUE(status.ok() || absl::IsDataLoss(status)) << at << ": " << status;
    }
  }
}

// A power loss may also leave the last record of the manifest with its length and other bytes.
TEST_F(LossCheckTest, ATornLastRecordOfTheManifestIsDropped) {
  ASSERT_TRUE(Open().ok());
  Commit(0, 5);
  Close();
  std::string manifest;
  for (const auto& entry : fs::directory_iterator(options_.path)) {
    if (absl::StartsWith(entry.path().filename().string(), "MANIFEST-")) manifest = entry.path().string();
  }
  const uint64_t whole = fs::file_size(manifest);
  fs::remove_all(options_.path + "/copies");  // as of an earlier release
  // The edit of a flush that was not synced: header with a wrong checksum, and four bytes.
  std::ofstream(manifest, std::ios::app | std::ios::binary) << std::string("\1\2\3\4\4\0\1edit", 11);
  ASSERT_EQ(fs::file_size(manifest), whole + 11);
  const absl::Status status = Open();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Rows(), 5);
  EXPECT_EQ(fs::file_size(options_.path + "/damaged-logs/" + fs::path(manifest).filename().string()), whole + 11);
}

// With logs of several generations: table files are ahead of the damaged log, so that
// RocksDB cannot stop at the damage.
TEST_F(LossCheckTest, DamageInAnOlderLogIsRefusedAndCanBeAccepted) {
  options_.write_buffer_bytes = uint64_t{64} << 10;
  ASSERT_TRUE(Open().ok());
  Commit(0, 5);
  const std::string body(10'000, 'b');
  ASSERT_TRUE(SyncWait(store_->blobs().Put("t", "b1", absl::Cord(absl::string_view(body)))).ok());
  // Blobs fill their memtable, which moves on to a new log; the rows stay in the old one.
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(SyncWait(store_->blobs().Put("t", absl::StrCat("big", i), absl::Cord(absl::string_view(body)))).ok());
    Commit(10 + i, 1);
  }
  Close();
  const std::vector<std::string> logs = Logs();
  ASSERT_GE(logs.size(), 2u);
  std::string oldest = logs[0];
  for (const std::string& log : logs) oldest = std::min(oldest, log);
  Flip(oldest, 500);
  EXPECT_TRUE(absl::IsDataLoss(Open())) << Open();
  options_.accept_data_loss = true;
  const absl::Status opened = Open();
  ASSERT_TRUE(opened.ok()) << opened;
  EXPECT_EQ(store_->Incarnation(), 1u);
}

}  // namespace
}  // namespace posthouse::store
