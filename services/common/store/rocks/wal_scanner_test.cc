// WalScanner on logs made here, byte by byte, and on those that RocksDB writes.
#include "services/common/store/rocks/wal_scanner.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/store/rocks/crc32c.h"

namespace posthouse::store {
namespace {

TEST(Crc32cTest, HasTheCheckValuesOfTheStandards) {
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);    // RFC 3720 §B.4
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);  // RFC 3720 §B.4
  EXPECT_EQ(Crc32c("56789", Crc32c("1234")), 0xe3069283u);
}

WalFindings Scan(absl::string_view log) {
  WalScanner scanner;
  for (size_t at = 0; at < log.size(); at += WalScanner::kBlockBytes) {
    scanner.Add(log.substr(at, WalScanner::kBlockBytes));
  }
  return scanner.Finish();
}

// One log that RocksDB wrote: batches 1, 2, 3... of one row each, batch n with the mark n-1.
class WalScannerTest : public testing::Test {
 protected:
  void Write(const std::vector<size_t>& value_bytes, bool marks = true) {
    const std::string path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/wal");
    std::filesystem::remove_all(path);
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, path, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    rocksdb::WriteOptions sync;
    sync.sync = true;
    std::string file;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      if (entry.path().extension() == ".log") file = entry.path().string();
    }
    ends_.clear();
    for (size_t i = 0; i < value_bytes.size(); ++i) {
      rocksdb::WriteBatch batch;
      if (marks) batch.PutLogData(EncodeSyncMark(i));
      batch.Put(absl::StrCat("key", i), std::string(value_bytes[i], static_cast<char>('a' + i % 26)));
      ASSERT_TRUE(db->Write(sync, &batch).ok());
      ASSERT_EQ(db->GetLatestSequenceNumber(), i + 1);
      ends_.push_back(std::filesystem::file_size(file));
    }
    std::ifstream in(file, std::ios::binary);
    log_.assign(std::istreambuf_iterator<char>(in), {});
  }
  size_t begin(size_t batch) const { return batch == 1 ? 0 : ends_[batch - 2]; }
  std::string WithByteFlipped(size_t at) const {
    std::string log = log_;
    log[at] = static_cast<char>(log[at] ^ 0x10);
    return log;
  }

  std::string log_;
  std::vector<size_t> ends_;  // of batch 1, 2, ...
};

TEST_F(WalScannerTest, AnIntactLogHasNoFault) {
  Write({10, 100, 40'000, 7, 100'000, 32'700, 1});
  const WalFindings found = Scan(log_);
  EXPECT_FALSE(found.fault_offset.has_value());
  EXPECT_EQ(found.first_sequence, 1u);
  EXPECT_EQ(found.last_sequence, 7u);
  EXPECT_EQ(found.synced_sequence, 6u);
}

TEST_F(WalScannerTest, ALogOfAnEarlierReleaseHasNoMarks) {
  Write({10, 100, 40'000}, /*marks=*/false);
  const WalFindings found = Scan(log_);
  EXPECT_EQ(found.last_sequence, 3u);
  EXPECT_EQ(found.synced_sequence, 0u);
}

// A fault before the last batch is followed by a mark that covers the lost batch; one in the
// last batch, or a torn tail, is not.
TEST_F(WalScannerTest, AFlippedByteEndsTheLogAndTheMarksBehindItTellWhatWasSynced) {
  Write({10, 40'000, 200, 30'000, 50});
  for (size_t batch = 1; batch <= 5; ++batch) {
    for (const size_t at : {begin(batch), begin(batch) + 4, begin(batch) + 6, begin(batch) + 9, ends_[batch - 1] - 1}) {
      const WalFindings found = Scan(WithByteFlipped(at));
      ASSERT_TRUE(found.fault_offset.has_value()) << at;
      EXPECT_LE(*found.fault_offset, at);
      EXPECT_GE(*found.fault_offset, begin(batch)) << at;
      EXPECT_EQ(found.last_sequence, batch - 1) << at;
      if (batch <= 2) {
        EXPECT_GE(found.synced_sequence, batch) << "a later block begins with a fragment that is found: " << at;
      }
      if (batch == 5) {
        EXPECT_EQ(found.synced_sequence, 3u) << at;
      }
    }
  }
}

TEST_F(WalScannerTest, ADamagedPayloadHidesNothingBehindIt) {
  Write({10, 10, 10, 10});
  const WalFindings found = Scan(WithByteFlipped(begin(2) + 30));
  EXPECT_EQ(found.fault_offset, begin(2));
  EXPECT_EQ(found.last_sequence, 1u);
  EXPECT_EQ(found.last_sequence_after_fault, 4u);
  EXPECT_EQ(found.synced_sequence, 3u);
}

TEST_F(WalScannerTest, ATornTailIsAFaultThatNoMarkContradicts) {
  Write({10, 40'000, 200});
  for (size_t size = 0; size < log_.size(); size += size < 200 ? 1 : 997) {
    const WalFindings found = Scan(absl::string_view(log_).substr(0, size));
    EXPECT_LE(found.synced_sequence, found.last_sequence) << size;
    const bool at_end_of_batch = size == 0 || size == ends_[0] || size == ends_[1];
    EXPECT_EQ(found.fault_offset.has_value(), !at_end_of_batch) << size;
    // The file may have grown before the bytes arrived.
    const WalFindings padded = Scan(absl::StrCat(log_.substr(0, size), std::string(70'000, '\0')));
    EXPECT_LE(padded.synced_sequence, padded.last_sequence) << size;
    EXPECT_EQ(padded.last_sequence, found.last_sequence) << size;
  }
}

TEST_F(WalScannerTest, AZeroedSectorIsAFault) {
  Write({10, 40'000, 200, 40'000, 10});
  for (size_t sector = 0; (sector + 1) * 512 < log_.size(); ++sector) {
    std::string log = log_;
    log.replace(sector * 512, 512, 512, '\0');
    const WalFindings found = Scan(log);
    ASSERT_TRUE(found.fault_offset.has_value()) << sector;
    EXPECT_LT(*found.fault_offset, (sector + 1) * 512);
    EXPECT_LT(found.last_sequence, 5u);
  }
}

// A message may be a copy of a log: its bytes claim nothing, also when the log is torn there.
TEST_F(WalScannerTest, ALogInsideAMessageClaimsNothing) {
  Write({10, 10, 10, 10, 10, 10});
  const std::string inner = log_.substr(begin(2));
  std::string log = log_.substr(0, ends_[0]);
  // A fragment whose payload is the inner log and whose checksum is wrong.
  log += std::string("\1\2\3\4", 4);
  log.push_back(static_cast<char>(inner.size() & 0xff));
  log.push_back(static_cast<char>(inner.size() >> 8));
  log.push_back(1);
  log += inner;
  const WalFindings found = Scan(log);
  EXPECT_EQ(found.fault_offset, ends_[0]);
  EXPECT_EQ(found.last_sequence, 1u);
  EXPECT_EQ(found.synced_sequence, 0u);
}

}  // namespace
}  // namespace posthouse::store
