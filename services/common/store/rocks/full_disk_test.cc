// A volume that is really full: a small file system of the test's own, filled by another
// writer while three stores work on it. Nothing ends the process, nothing acknowledged is
// lost, removals go on, and the stores open on the full volume and resume by themselves.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/rocks/space_watch.h"

namespace posthouse::store {
namespace {

constexpr size_t kBody = 20'000;
constexpr absl::Duration kLimit = absl::Minutes(1);  // for what must happen by itself

// The other writer: takes all bytes that the volume still has.
class Filler {
 public:
  explicit Filler(std::string file) : file_(std::move(file)) {}
  void Fill() const {
    const int file = open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ASSERT_GE(file, 0) << std::strerror(errno);
    const std::string junk(size_t{1} << 18, 'j');
    for (size_t size = junk.size(); size > 0;) {
      if (write(file, junk.data(), size) < 0) size /= 2;
    }
    close(file);
  }
  void Free() const { unlink(file_.c_str()); }

 private:
  const std::string file_;
};

class FullDiskTest : public testing::Test {
 protected:
  static constexpr int kStores = 3;

  void SetUp() override {
    log::SetLevel(log::Level::kError);
    volume_ = absl::StrCat(std::getenv("TEST_TMPDIR"), "/volume");
    std::filesystem::create_directories(volume_);
    if (mount("tmpfs", volume_.c_str(), "tmpfs", 0, "size=192m") != 0) {
      const std::string why = absl::StrCat("SKIPPED: cannot mount a file system of 192 MiB: ", std::strerror(errno));
      std::cerr << "\n*** " << why << " ***\n\n";
      GTEST_SKIP() << why;
    }
    mounted_ = true;
  }
  void TearDown() override {
    Close();
    if (mounted_) EXPECT_EQ(umount(volume_.c_str()), 0) << std::strerror(errno);
  }

  void Open() {
    for (int i = 0; i < kStores; ++i) {
      RocksOptions options;
      options.path = absl::StrCat(volume_, "/store", i);
      options.name = "test";
      options.write_buffer_bytes = uint64_t{4} << 20;
      options.min_free_bytes = uint64_t{24} << 20;
      options.reopen_interval = absl::Milliseconds(1);
      options.space_check_interval = absl::Milliseconds(1);
      absl::StatusOr<std::unique_ptr<RocksStore>> store = RocksStore::Open(options, registry_);
      ASSERT_TRUE(store.ok()) << store.status();
      stores_.push_back(*std::move(store));
    }
  }
  void Close() { stores_.clear(); }

  static std::string Name(int number) { return absl::StrCat("m", number); }
  absl::Status Add(Store& store, int number) {
    const std::string body(kBody, static_cast<char>('a' + number % 26));
    const absl::Status put = SyncWait(store.blobs().Put("t", Name(number), absl::Cord(absl::string_view(body))));
    if (!put.ok() && !absl::IsAlreadyExists(put)) return put;
    return SyncWait(store.Commit({{"t", "p"}, {}, {{Name(number), body}}, false, {{"t", Name(number)}}}));
  }
  absl::Status Remove(Store& store, int number) {
    CommitRequest request{{"t", "p"}, {}, {{Name(number), std::nullopt}, {"log", Name(number)}}};
    request.use_reserve = true;
    return SyncWait(store.Commit(std::move(request)));
  }
  // Repeats `work` while it answers that it may work later.
  template <typename Work>
  static absl::Status Eventually(Work work) {
    const absl::Time limit = absl::Now() + kLimit;
    absl::Status status = work();
    while (!status.ok() && absl::Now() < limit) {
      std::this_thread::yield();
      status = work();
    }
    return status;
  }
  bool Has(Store& store, int number) {
    const absl::StatusOr<ReadResult> read = SyncWait(store.Read({{"t", "p"}, {Name(number)}}));
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() && read->values[0].has_value();
  }
  // Each store has its messages [first, next), rows and bodies.
  void ExpectAll() {
    for (int i = 0; i < kStores; ++i) {
      for (int number = first_[i]; number < next_[i]; ++number) {
        EXPECT_TRUE(Has(*stores_[i], number)) << "store " << i << " lost " << number;
        const absl::StatusOr<absl::Cord> body = SyncWait(stores_[i]->blobs().Get("t", Name(number), 0, kBody + 1));
        EXPECT_TRUE(body.ok() && body->size() == kBody) << number << ": " << body.status();
      }
    }
  }

  std::string volume_;
  bool mounted_ = false;
  metrics::Registry registry_;
  std::vector<std::unique_ptr<RocksStore>> stores_;
  int first_[kStores] = {};
  int next_[kStores] = {};
};

TEST_F(FullDiskTest, AFullVolumeStopsOnlyWhatAddsTwentyTimes) {
  const Filler filler(volume_ + "/junk");
  Open();
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    // Filled under load.
    std::vector<std::thread> load;
    for (int i = 0; i < kStores; ++i) {
      load.emplace_back([this, i] {
        int tried = 0;
        // Unknown outcomes are repeated under the same name.
        while (tried++ < 60 && !absl::IsResourceExhausted(Add(*stores_[i], next_[i]))) {
          if (Has(*stores_[i], next_[i])) ++next_[i];
        }
      });
    }
    filler.Fill();
    for (std::thread& thread : load) thread.join();
    ASSERT_FALSE(HasFailure());
    // Removals go on, and readers are served.
    for (int i = 0; i < kStores; ++i) {
      if (first_[i] == next_[i]) continue;
      const absl::Status removed = Eventually([&] { return Remove(*stores_[i], first_[i]); });
      ASSERT_TRUE(removed.ok()) << removed;
      ++first_[i];
    }
    ExpectAll();
    // Started full.
    Close();
    filler.Fill();
    Open();
    ASSERT_FALSE(HasFailure());
    ExpectAll();
    for (int i = 0; i < kStores; ++i) {
      EXPECT_TRUE(absl::IsResourceExhausted(Add(*stores_[i], next_[i])));
      if (first_[i] == next_[i]) continue;
      const absl::Status removed = Eventually([&] { return Remove(*stores_[i], first_[i]); });
      ASSERT_TRUE(removed.ok()) << removed;
      ++first_[i];
    }
    // Freed: the stores resume by themselves.
    filler.Free();
    for (int i = 0; i < kStores; ++i) {
      const absl::Status added = Eventually([&] { return Add(*stores_[i], next_[i]); });
      ASSERT_TRUE(added.ok()) << added;
      ++next_[i];
    }
    ExpectAll();
    // Room for the next round.
    for (int i = 0; i < kStores; ++i) {
      for (; next_[i] - first_[i] > 20; ++first_[i]) {
        ASSERT_TRUE(Remove(*stores_[i], first_[i]).ok());
        ASSERT_TRUE(SyncWait(stores_[i]->blobs().Delete("t", Name(first_[i]))).ok());
      }
    }
    ASSERT_FALSE(HasFailure());
  }
}

// Nobody else makes room: the store is full of its own bodies, and needs no restart.
TEST_F(FullDiskTest, DeletedBodiesGiveTheirSpaceBackWhileTheVolumeIsFull) {
  Open();
  RocksStore& store = *stores_[0];
  std::mt19937_64 random(7);
  std::string body(size_t{1} << 18, '\0');
  int bodies = 0;
  absl::Status added;
  for (; bodies < 2000; ++bodies) {
    for (char& byte : body) byte = static_cast<char>(random());
    added = SyncWait(store.blobs().Put("t", Name(bodies), absl::Cord(absl::string_view(body))));
    if (!added.ok()) break;
    added = SyncWait(store.Commit({{"t", "p"}, {}, {{Name(bodies), "x"}}, false, {{"t", Name(bodies)}}}));
    if (!added.ok()) break;
  }
  ASSERT_TRUE(absl::IsResourceExhausted(added)) << added << " after " << bodies;
  const uint64_t full = MeasureFileSystem(volume_)->free_bytes;
  for (int i = 0; i < bodies; ++i) {
    const absl::Status removed = Eventually([&] { return Remove(store, i); });
    ASSERT_TRUE(removed.ok()) << removed;
    ASSERT_TRUE(SyncWait(store.blobs().Delete("t", Name(i))).ok());
  }
  const auto back = [&]() -> absl::Status {
    const uint64_t free = MeasureFileSystem(volume_)->free_bytes;
    return free > full + bodies * body.size() / 2 ? absl::OkStatus()
                                                  : absl::UnavailableError(absl::StrCat(free, " bytes are free"));
  };
  EXPECT_TRUE(Eventually(back).ok()) << back() << ", " << full << " were, of " << bodies << " bodies";
  const absl::Status again = Eventually([&] { return Add(store, bodies); });
  EXPECT_TRUE(again.ok()) << again;
}

// Without a reserve (no byte is free, and none was kept back) the files are read only.
TEST_F(FullDiskTest, AVolumeWithoutAFreeByteIsServedForReading) {
  const Filler filler(volume_ + "/junk");
  Open();
  for (int i = 0; i < kStores; ++i) ASSERT_TRUE(Add(*stores_[i], next_[i]++).ok());
  Close();
  for (int i = 0; i < kStores; ++i) std::filesystem::remove(absl::StrCat(volume_, "/store", i, "/RESERVE"));
  filler.Fill();
  Open();
  ASSERT_FALSE(HasFailure());
  ExpectAll();
  for (int i = 0; i < kStores; ++i) {
    EXPECT_TRUE(absl::IsResourceExhausted(stores_[i]->Health())) << stores_[i]->Health();
    EXPECT_TRUE(absl::IsResourceExhausted(Remove(*stores_[i], 0)));
    // Another process must not open the files meanwhile.
    RocksOptions options;
    options.path = absl::StrCat(volume_, "/store", i);
    EXPECT_TRUE(absl::IsFailedPrecondition(RocksStore::Open(options, registry_).status()));
  }
  filler.Free();
  for (int i = 0; i < kStores; ++i) {
    const absl::Status added = Eventually([&] { return Add(*stores_[i], next_[i]); });
    EXPECT_TRUE(added.ok()) << added;
    EXPECT_TRUE(stores_[i]->Health().ok());
  }
}

// What one store must still write is not free for another.
TEST(SpaceWatchTest, AllStoresOnAFileSystemShareItsMargin) {
  const auto measure = [](const std::string&) -> absl::StatusOr<CapacityInfo> {
    return CapacityInfo{10'000, 1'000, false};
  };
  const std::string path = std::getenv("TEST_TMPDIR");
  SpaceWatch one(path, 500, absl::ZeroDuration(), measure);
  SpaceWatch two(path, 500, absl::ZeroDuration(), measure);
  one.SetOwed([] { return 300; });
  EXPECT_FALSE(one.Full());
  EXPECT_FALSE(two.Full());
  two.SetOwed([] { return 300; });
  EXPECT_TRUE(two.Full());
  EXPECT_TRUE(one.Full());
  SpaceWatch elsewhere("/proc", 500, absl::ZeroDuration(), measure);
  EXPECT_FALSE(elsewhere.Full());
  two.SetOwed(nullptr);
  EXPECT_FALSE(two.Full());
  EXPECT_FALSE(one.Full());
}

}  // namespace
}  // namespace posthouse::store
