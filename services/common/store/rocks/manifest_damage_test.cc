// MANIFEST and CURRENT, with any byte of them flipped, cut at any offset, gone, or old: the store
// opens with everything that was acknowledged, or refuses and says why.
#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/rocks/rocks_store.h"

namespace posthouse::store {
namespace {

namespace fs = std::filesystem;

// Without syncs, which no test here needs: these are many openings.
class UnsyncedFs final : public rocksdb::FileSystemWrapper {
 public:
  UnsyncedFs() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "UnsyncedFs"; }
  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override {
    class File final : public rocksdb::FSWritableFileOwnerWrapper {
     public:
      using FSWritableFileOwnerWrapper::FSWritableFileOwnerWrapper;
      rocksdb::IOStatus Sync(const rocksdb::IOOptions& io, rocksdb::IODebugContext* dbg) override {
        return Flush(io, dbg);
      }
      rocksdb::IOStatus Fsync(const rocksdb::IOOptions& io, rocksdb::IODebugContext* dbg) override {
        return Flush(io, dbg);
      }
    };
    std::unique_ptr<rocksdb::FSWritableFile> real;
    rocksdb::IOStatus status = target()->NewWritableFile(name, options, &real, debug);
    if (status.ok()) *file = std::make_unique<File>(std::move(real));
    return status;
  }
  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override {
    class Directory final : public rocksdb::FSDirectoryWrapper {
     public:
      using FSDirectoryWrapper::FSDirectoryWrapper;
      rocksdb::IOStatus Fsync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override { return {}; }
      rocksdb::IOStatus FsyncWithDirOptions(const rocksdb::IOOptions&, rocksdb::IODebugContext*,
                                            const rocksdb::DirFsyncOptions&) override {
        return {};
      }
    };
    std::unique_ptr<rocksdb::FSDirectory> real;
    rocksdb::IOStatus status = target()->NewDirectory(name, options, &real, debug);
    if (status.ok()) *directory = std::make_unique<Directory>(std::move(real));
    return status;
  }
};

class ManifestDamageTest : public testing::Test {
 protected:
  void SetUp() override {
    log::SetLevel(log::Level::kError);
    static int number = 0;
    options_.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/manifest", number++);
    options_.name = "test";
    options_.min_free_bytes = 0;
    options_.env = env_.get();
    copy_ = options_.path + "-copy";
  }
  void TearDown() override {
    store_.reset();
    fs::remove_all(options_.path);
    fs::remove_all(copy_);
  }
  absl::Status Open() {
    store_.reset();
    absl::StatusOr<std::unique_ptr<RocksStore>> opened = RocksStore::Open(options_, registry_);
    if (opened.ok()) store_ = *std::move(opened);
    return opened.status();
  }
  void Commit(int rows) {
    for (int end = rows_ + rows; rows_ < end; ++rows_) {
      ASSERT_TRUE(SyncWait(store_->Commit({{"t", "p"}, {}, {{absl::StrCat("k", rows_), std::to_string(rows_)}}})).ok());
      ASSERT_TRUE(SyncWait(store_->blobs().Put("t", absl::StrCat("b", rows_),
                                               absl::Cord(absl::string_view(std::to_string(rows_)))))
                      .ok());
    }
  }
  // Only logs: what a process leaves that was killed soon after its first start.
  void MakeWithoutTables() {
    ASSERT_TRUE(Open().ok());
    Commit(6);
    Keep();
  }
  // Tables of a flush, of a recovery and of another flush, and a log behind them.
  void MakeWithTables() {
    ASSERT_TRUE(Open().ok());
    Commit(3);
    ASSERT_TRUE(store_->Flush().ok());
    Commit(3);
    ASSERT_TRUE(Open().ok());
    Commit(3);
    ASSERT_TRUE(store_->Flush().ok());
    Commit(3);
    Keep();
  }
  void Keep() {
    store_.reset();
    fs::remove_all(copy_);
    fs::rename(options_.path, copy_);
    for (const auto& entry : fs::directory_iterator(copy_)) {
      if (absl::StartsWith(entry.path().filename().string(), "MANIFEST-")) manifest_ = entry.path().filename().string();
    }
  }
  // Without the copies of the manifest, as an earlier release left it.
  void RemoveCopies() { fs::remove_all(copy_ + "/copies"); }

  static std::string Read(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  }
  static void Write(const std::string& file, const std::string& bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
  }
  enum class Outcome { kServes, kRefuses };
  // Opens a store as it was kept, after `damage`. What is served is everything.
  Outcome After(const std::function<void()>& damage, const std::string& what) {
    fs::remove_all(options_.path);
    fs::copy(copy_, options_.path, fs::copy_options::recursive);
    damage();
    const absl::Status status = Open();
    if (!status.ok()) {
      EXPECT_TRUE(absl::StrContains(status.message(), options_.path)) << what << ": " << status;
      return Outcome::kRefuses;
    }
    for (int i = 0; i < rows_; ++i) {
      const absl::StatusOr<ReadResult> row = SyncWait(store_->Read({{"t", "p"}, {absl::StrCat("k", i)}}));
      const auto body = SyncWait(store_->blobs().Get("t", absl::StrCat("b", i), 0, 100));
      EXPECT_TRUE(row.ok() && row->values[0] == std::to_string(i)) << what << " lost row " << i << " silently";
      EXPECT_TRUE(body.ok() && *body == std::to_string(i))
          << what << " lost body " << i << " silently: " << body.status();
      if (HasFailure()) break;
    }
    store_.reset();
    return Outcome::kServes;
  }
  // Cuts the file at each `cut_step`th offset, and flips a bit of each `flip_step`th byte.
  void TryAll(const std::string& name, size_t cut_step, size_t flip_step) {
    const std::string bytes = Read(copy_ + "/" + name);
    const std::string file = options_.path + "/" + name;
    served_ = refused_ = 0;
    const auto count = [this](Outcome outcome) { ++(outcome == Outcome::kServes ? served_ : refused_); };
    for (size_t at = 0; at < bytes.size() && !HasFailure(); at += cut_step) {
      count(After([&] { Write(file, bytes.substr(0, at)); }, absl::StrCat("a cut at ", at, " of ", name)));
    }
    for (size_t at = 0; at < bytes.size() && !HasFailure(); at += flip_step) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
      count(After([&] { Write(file, damaged); }, absl::StrCat("a flip at ", at, " of ", name)));
    }
  }

  const std::unique_ptr<rocksdb::Env> env_ = rocksdb::NewCompositeEnv(std::make_shared<UnsyncedFs>());
  metrics::Registry registry_;
  RocksOptions options_;
  std::unique_ptr<RocksStore> store_;
  std::string copy_;
  std::string manifest_;
  int rows_ = 0;
  int served_ = 0, refused_ = 0;  // of TryAll()
};

TEST_F(ManifestDamageTest, AnyDamageOfTheManifestIsMendedFromItsCopy) {
  MakeWithTables();
  TryAll(manifest_, 5, 17);
  EXPECT_EQ(refused_, 0);
  EXPECT_EQ(After([&] { fs::remove(options_.path + "/" + manifest_); }, "removal"), Outcome::kServes);
  EXPECT_TRUE(absl::StrContains(registry_.Serialize(), "posthouse_store_manifests_restored_total{store=\"test\"} "));
}

TEST_F(ManifestDamageTest, BeforeTheFirstTableAnyDamageOfTheManifestIsMendedFromItsCopy) {
  MakeWithoutTables();
  TryAll(manifest_, 1, 1);
  EXPECT_EQ(refused_, 0);
}

TEST_F(ManifestDamageTest, AnyDamageOfTheCopyOrOfCurrentCostsNothing) {
  MakeWithTables();
  TryAll("copies/" + manifest_, 23, 23);
  EXPECT_EQ(refused_, 0);
  TryAll("CURRENT", 1, 1);
  EXPECT_EQ(refused_, 0);
  EXPECT_EQ(After([&] { fs::remove(options_.path + "/CURRENT"); }, "removal of CURRENT"), Outcome::kServes);
  EXPECT_EQ(After([&] { fs::remove_all(options_.path + "/copies"); }, "removal of the copies"), Outcome::kServes);
}

TEST_F(ManifestDamageTest, WithoutACopyADamagedManifestIsRefusedUnlessNothingIsMissing) {
  MakeWithTables();
  RemoveCopies();
  TryAll(manifest_, 1, 5);
  EXPECT_GT(refused_, 3 * served_);
  EXPECT_EQ(After([&] { fs::remove(options_.path + "/" + manifest_); }, "removal"), Outcome::kRefuses);
  EXPECT_EQ(After([&] { fs::remove(options_.path + "/CURRENT"); }, "removal of CURRENT"), Outcome::kServes);
}

TEST_F(ManifestDamageTest, WithoutACopyBeforeTheFirstTableADamagedManifestIsRefusedUnlessNothingIsMissing) {
  MakeWithoutTables();
  RemoveCopies();
  TryAll(manifest_, 1, 1);
  TryAll("CURRENT", 1, 1);
}

// A file from a backup, put among newer ones.
TEST_F(ManifestDamageTest, AnOldManifestPutBackLosesNothing) {
  ASSERT_TRUE(Open().ok());
  Commit(3);
  Keep();
  const std::string first = manifest_, early = Read(copy_ + "/" + first), current = Read(copy_ + "/CURRENT");
  fs::rename(copy_, options_.path);
  ASSERT_TRUE(Open().ok());
  Commit(3);
  ASSERT_TRUE(store_->Flush().ok());
  Commit(3);
  store_.reset();
  for (const auto& entry : fs::directory_iterator(options_.path)) {
    if (!absl::StartsWith(entry.path().filename().string(), "MANIFEST-")) continue;
    manifest_ = entry.path().filename().string();
    ASSERT_NE(manifest_, first);
  }
  fs::rename(options_.path, copy_);
  const auto old_state = [&] {
    Write(options_.path + "/" + first, early);
    Write(options_.path + "/CURRENT", current);
  };
  EXPECT_EQ(After(old_state, "the manifest and CURRENT of an earlier start"), Outcome::kServes);
  EXPECT_EQ(After([&] { Write(options_.path + "/CURRENT", current); }, "CURRENT of an earlier start"),
            Outcome::kServes);
  EXPECT_EQ(After([&] { Write(options_.path + "/" + manifest_, early); }, "the bytes of an earlier manifest"),
            Outcome::kRefuses);
}

// A release without copies ran meanwhile: its manifest is the newest.
TEST_F(ManifestDamageTest, CopiesThatAreOlderThanTheManifestDoNotCount) {
  ASSERT_TRUE(Open().ok());
  Commit(3);
  store_.reset();
  fs::rename(options_.path + "/copies", options_.path + "/then");
  ASSERT_TRUE(Open().ok());
  Commit(3);
  Keep();
  fs::remove_all(copy_ + "/copies");
  fs::rename(copy_ + "/then", copy_ + "/copies");
  EXPECT_EQ(After([] {}, "old copies"), Outcome::kServes);
  EXPECT_FALSE(absl::StrContains(registry_.Serialize(), "manifests_restored_total{store=\"test\"} 1"));
}

TEST_F(ManifestDamageTest, AStoreWithTablesAndNoManifestIsNotBegunAnew) {
  MakeWithTables();
  RemoveCopies();
  const auto both = [&] {
    fs::remove(options_.path + "/CURRENT");
    fs::remove(options_.path + "/" + manifest_);
  };
  EXPECT_EQ(After(both, "removal of both"), Outcome::kRefuses);
  options_.accept_data_loss = true;
  EXPECT_EQ(After(both, "removal of both"), Outcome::kRefuses);
}

}  // namespace
}  // namespace posthouse::store
