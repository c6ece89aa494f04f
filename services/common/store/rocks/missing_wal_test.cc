// RocksDB before 7.10 can refuse to open with a false "Missing WAL" (facebook/rocksdb pull request
// 10892; Debian 12 has 7.8.3): a log that was flushed is synced once more, and its addition is
// recorded in a new manifest, which does not know of the log's deletion. The manifest is new
// when the old one has max_manifest_file_size bytes. rocks_tuning.cc says why the option stays on.
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/rocks/rocks_tuning.h"

namespace posthouse::store {
namespace {

// As the store uses RocksDB, with a new manifest at each flush: one thread writes with sync,
// into both families, while flushes make its logs obsolete.
TEST(MissingWalTest, TheStoreOpensAfterFlushesUnderSyncedWritesWithANewManifestEachTime) {
  RocksOptions options;
  options.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/missing_wal");
  options.write_buffer_bytes = uint64_t{64} << 10;
  Tuning tuning = MakeTuning(options);
  tuning.db.max_manifest_file_size = 170;
  ASSERT_TRUE(tuning.db.track_and_verify_wals_in_manifest);
  int written = 0;
  for (int round = 0; round < 8; ++round) {
    std::vector<rocksdb::ColumnFamilyHandle*> families;
    rocksdb::DB* raw = nullptr;
    const rocksdb::Status opened = rocksdb::DB::Open(
        tuning.db, options.path, {{"default", tuning.rows}, {"blobs", tuning.blobs}}, &families, &raw);
    ASSERT_TRUE(opened.ok()) << "round " << round << ": " << opened.ToString();
    const std::unique_ptr<rocksdb::DB> db(raw);
    for (int i = 0; i < written; i += 7) {
      std::string value;
      EXPECT_TRUE(db->Get({}, families[i % 2], absl::StrCat("key", i), &value).ok()) << i;
    }
    std::atomic<bool> done{false};
    std::thread flusher([&] {
      for (size_t i = 0; !done; ++i) EXPECT_TRUE(db->Flush({}, families[i % 2]).ok());
    });
    rocksdb::WriteOptions sync;
    sync.sync = true;
    for (int end = written + 150; written < end; ++written) {
      EXPECT_TRUE(db->Put(sync, families[written % 2], absl::StrCat("key", written), std::string(500, 'v')).ok());
    }
    done = true;
    flusher.join();
    for (rocksdb::ColumnFamilyHandle* family : families) EXPECT_TRUE(db->DestroyColumnFamilyHandle(family).ok());
  }
}

}  // namespace
}  // namespace posthouse::store
