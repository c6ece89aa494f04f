// Power loss, kill -9 and I/O errors at every step of a commit: everything that
// was acknowledged is there after the restart, and nothing is half there.
#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/committer.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/testing/crash_workload.h"
#include "services/common/store/testing/fault_fs.h"

namespace posthouse::store {
namespace {

bool IsLog(const std::string& file) { return absl::EndsWith(file, ".log"); }

std::string NewDirectory() {
  static int number = 0;
  return absl::StrCat(std::getenv("TEST_TMPDIR"), "/crash", getpid(), "-", number++);
}

RocksOptions OptionsFor(const std::string& path, rocksdb::Env* env = nullptr) {
  RocksOptions options;
  options.path = path;
  options.name = "test";
  options.env = env;
  options.write_buffer_bytes = uint64_t{1} << 20;  // the log is switched, tables are written, all the time
  options.block_cache_bytes = uint64_t{1} << 20;
  options.min_free_bytes = 0;
  options.reopen_interval = absl::ZeroDuration();  // every commit tries to recover
  return options;
}

std::unique_ptr<RocksStore> MustOpen(const RocksOptions& options, metrics::Registry& registry) {
  absl::StatusOr<std::unique_ptr<RocksStore>> store = RocksStore::Open(options, registry);
  if (!store.ok()) CheckFailed(__FILE__, __LINE__, store.status().ToString());
  return *std::move(store);
}

class RocksCrashTest : public testing::Test {
 protected:
  void SetUp() override { log::SetLevel(log::Level::kWarning); }
  metrics::Registry registry_;
};

// ---- power loss

TEST_F(RocksCrashTest, PowerLossAtAnyWriteOrSync) {
  std::mt19937 random(20);
  int lost = 0, kept = 0;
  for (int run = 0; run < 20; ++run) {
    const std::string path = NewDirectory();
    const auto fs = std::make_shared<FaultFs>(static_cast<unsigned>(run));
    const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(fs);
    const RocksOptions options = OptionsFor(path, env.get());
    std::unique_ptr<RocksStore> store = MustOpen(options, registry_);
    // Every third run cuts the power at any file, the others at the log, whose appends and
    // syncs are the steps of a commit.
    std::atomic<int> countdown{static_cast<int>(random() % 200)};
    std::atomic<bool> powered{true};
    const bool any_file = run % 3 == 0;
    fs->SetHook([&](FaultFs::Op, const std::string& file) {
      if ((any_file || IsLog(file)) && countdown.fetch_sub(1) == 0) {
        powered = false;
        fs->CutPower();
      }
      return rocksdb::IOStatus::OK();
    });
    absl::Mutex mutex;
    Acks acks;
    int void_acks = 0;
    const CrashWorkload load;
    load.Run(*store, [&](int client, int round) {
      absl::MutexLock lock(&mutex);
      // Nothing outside the machine sees an answer that it gives without power.
      if (powered.load()) {
        acks.insert({client, round});
      } else {
        ++void_acks;
      }
    });
    fs->CutPower();
    store.reset();
    fs->SetHook(nullptr);
    fs->PowerLoss();
    store = MustOpen(options, registry_);
    const int present = load.Verify(*store, acks);
    kept += present;
    lost += void_acks;
    ASSERT_FALSE(HasFailure()) << "in run " << run;
    store.reset();
    std::filesystem::remove_all(path);
  }
  // The test is not blind: messages survived, and the power cuts did lose some.
  EXPECT_GT(kept, 50);
  EXPECT_GT(lost, 50);
}

// ---- a disk that fails

// From some write or sync of any file on, all fail. RocksDB must never meet such a
// file again, since its assertions would end the process.
TEST_F(RocksCrashTest, ADiskThatFailsAtAnyWriteOrSyncEndsNoProcess) {
  std::mt19937 random(4);
  size_t acknowledged = 0;
  for (int run = 0; run < 12; ++run) {
    const std::string path = NewDirectory();
    const auto fs = std::make_shared<FaultFs>(static_cast<unsigned>(run));
    const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(fs);
    std::unique_ptr<RocksStore> store = MustOpen(OptionsFor(path, env.get()), registry_);
    std::atomic<int> countdown{static_cast<int>(random() % 200)};
    const bool full = run % 2 == 0;
    fs->SetHook([&](FaultFs::Op op, const std::string&) {
      if (countdown.fetch_sub(1) > 0) return rocksdb::IOStatus::OK();
      if (!full) return rocksdb::IOStatus::IOError("injected");
      return op == FaultFs::Op::kAppend ? rocksdb::IOStatus::NoSpace("injected") : rocksdb::IOStatus::OK();
    });
    absl::Mutex mutex;
    Acks acks;
    const CrashWorkload load;
    load.Run(*store, [&](int client, int round) {
      absl::MutexLock lock(&mutex);
      acks.insert({client, round});
    });
    // Read while the disk is broken, once the files are open for reading again.
    const absl::Time limit = absl::Now() + absl::Minutes(1);
    const auto readable = [&] { return SyncWait(store->Read({{"t", "mb/0"}, {"any"}})).ok(); };
    while (!readable() && absl::Now() < limit) std::this_thread::yield();
    load.Verify(*store, acks);
    ASSERT_FALSE(HasFailure()) << "in run " << run << ", while it fails";
    fs->SetHook(nullptr);
    absl::Status healed = SyncWait(store->Commit({{"t", "p"}, {}, {{"healed", "v"}}}));
    while (!healed.ok() && absl::Now() < limit) healed = SyncWait(store->Commit({{"t", "p"}, {}, {{"healed", "v"}}}));
    EXPECT_TRUE(healed.ok()) << healed;
    load.Verify(*store, acks);
    store.reset();
    store = MustOpen(OptionsFor(path), registry_);
    load.Verify(*store, acks);
    ASSERT_FALSE(HasFailure()) << "in run " << run;
    acknowledged += acks.size();
    store.reset();
    std::filesystem::remove_all(path);
  }
  EXPECT_GT(acknowledged, 50u);
}

// ---- kill -9

constexpr const char* kPoints[] = {"before write", "append", "sync", "sync done", "after write", "before completion"};
constexpr int kPointCount = 6;

// The child: works until the point has come `countdown` times, then dies.
// Not a test by itself: DISABLED_, run with a path by KillAtEachStep.
TEST(RocksCrashChild, DISABLED_WorksUntilKilled) {
  const char* const arguments = std::getenv("POSTHOUSE_CRASH_CHILD");
  if (arguments == nullptr) GTEST_SKIP() << "a part of RocksCrashTest.KillAtEachStep";
  const std::vector<std::string> parts = absl::StrSplit(arguments, '|');
  int point = 0, count = 0;
  PH_CHECK(parts.size() == 3 && absl::SimpleAtoi(parts[1], &point) && absl::SimpleAtoi(parts[2], &count));
  static std::atomic<int> countdown;
  countdown = count;
  const auto die_at = [](int here, int wanted) {
    if (here == wanted && countdown.fetch_sub(1) == 0) kill(getpid(), SIGKILL);
  };
  const auto fs = std::make_shared<FaultFs>();
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(fs);
  RocksOptions options = OptionsFor(parts[0], env.get());
  options.on_step = [&](CommitStep step) {
    switch (step) {
      case CommitStep::kBeforeWrite:
        return die_at(0, point);
      case CommitStep::kAfterWrite:
        return die_at(4, point);
      case CommitStep::kBeforeCompletion:
        return die_at(5, point);
    }
  };
  metrics::Registry registry;
  const std::unique_ptr<RocksStore> store = MustOpen(options, registry);
  fs->SetHook([&](FaultFs::Op op, const std::string& file) {
    if (IsLog(file)) die_at(1 + static_cast<int>(op), point);
    return rocksdb::IOStatus::OK();
  });
  CrashWorkload().Run(*store, [](int client, int round) {
    const std::string line = absl::StrCat("ack ", client, " ", round, "\n");
    PH_CHECK(write(STDOUT_FILENO, line.data(), line.size()) == static_cast<ssize_t>(line.size()));
  });
}

// Runs the child and returns what it acknowledged before it died.
Acks RunChild(const std::string& path, int point, int countdown) {
  setenv("POSTHOUSE_CRASH_CHILD", absl::StrCat(path, "|", point, "|", countdown).c_str(), 1);
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  FILE* const output = popen(
      absl::StrCat("exec '", self,
                   "' --gtest_filter=RocksCrashChild.* --gtest_also_run_disabled_tests --gtest_output= 2>/dev/null")
          .c_str(),
      "r");
  PH_CHECK(output != nullptr);
  Acks acks;
  char line[256];
  while (std::fgets(line, sizeof line, output) != nullptr) {
    int client = 0, round = 0;
    if (std::sscanf(line, "ack %d %d", &client, &round) == 2) acks.insert({client, round});
  }
  const int status = pclose(output);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the child ended by itself: " << status;
  unsetenv("POSTHOUSE_CRASH_CHILD");
  return acks;
}

TEST_F(RocksCrashTest, KillAtEachStep) {
  std::mt19937 random(7);
  size_t acknowledged = 0;
  for (int point = 0; point < kPointCount; ++point) {
    const std::string path = NewDirectory();
    Acks acks;
    // Twice on the same data: the second child starts on what the first left. It
    // repeats the first one's messages, which conflict, so only a clean start counts.
    for (const int countdown : {0, 5 + static_cast<int>(random() % 40)}) {
      std::filesystem::remove_all(path);
      acks = RunChild(path, point, countdown);
      acknowledged += acks.size();
      const std::unique_ptr<RocksStore> store = MustOpen(OptionsFor(path), registry_);
      CrashWorkload().Verify(*store, acks);
      ASSERT_FALSE(HasFailure()) << kPoints[point] << " number " << countdown;
    }
    std::filesystem::remove_all(path);
  }
  EXPECT_GT(acknowledged, 100u);
}

// ---- I/O errors

class RocksErrorTest : public RocksCrashTest {
 protected:
  void SetUp() override {
    RocksCrashTest::SetUp();
    path_ = NewDirectory();
    store_ = MustOpen(OptionsFor(path_, env_.get()), registry_);
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(path_);
  }
  void PowerLoss() {
    fs_->CutPower();
    store_.reset();
    fs_->PowerLoss();
    store_ = MustOpen(OptionsFor(path_, env_.get()), registry_);
  }
  absl::Status Commit(std::vector<Precondition> preconditions, std::vector<Mutation> mutations) {
    return SyncWait(store_->Commit({{"t", "p"}, std::move(preconditions), std::move(mutations)}));
  }
  std::optional<std::string> Get(const std::string& key) {
    return SyncWait(store_->Read({{"t", "p"}, {key}}))->values[0];
  }
  // Operations `op` on the log fail from now on, until Heal().
  void BreakLog(FaultFs::Op op, rocksdb::IOStatus error) {
    fs_->SetHook([op, error](FaultFs::Op now, const std::string& file) {
      return IsLog(file) && now == op ? error : rocksdb::IOStatus::OK();
    });
  }
  void Heal() { fs_->SetHook(nullptr); }

  const std::shared_ptr<FaultFs> fs_ = std::make_shared<FaultFs>();
  const std::unique_ptr<rocksdb::Env> env_ = rocksdb::NewCompositeEnv(fs_);
  std::string path_;
  std::unique_ptr<RocksStore> store_;
};

// A failed log write is "unknown", then "unavailable", and heals without a restart.
// A compare-and-set decided on a later read stays right across a power loss, whether the
// open commit happened or not: it must not come back from an old log.
TEST_F(RocksErrorTest, AFailedLogWriteIsUnknownAndHeals) {
  const std::pair<FaultFs::Op, const char*> kSteps[] = {
      {FaultFs::Op::kAppend, "append"}, {FaultFs::Op::kSync, "sync"}, {FaultFs::Op::kSyncDone, "sync done"}};
  ASSERT_TRUE(Commit({}, {{"k", "start"}}).ok());
  for (const auto& [op, name] : kSteps) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      const std::optional<std::string> before = Get("k");
      const std::string attempt = absl::StrCat("attempt at ", name, repeat);
      BreakLog(op, rocksdb::IOStatus::IOError("injected"));
      EXPECT_TRUE(absl::IsDeadlineExceeded(Commit({{"k", before}}, {{"k", attempt}, {"twin", attempt}}))) << name;
      const absl::Status while_broken = Commit({}, {{"other", absl::StrCat("v", repeat)}});
      EXPECT_TRUE(absl::IsUnavailable(while_broken) || absl::IsDeadlineExceeded(while_broken)) << while_broken;
      EXPECT_FALSE(store_->Health().ok());
      Heal();
      ASSERT_TRUE(Commit({}, {{"healed", attempt}}).ok()) << name;
      EXPECT_TRUE(store_->Health().ok());
      const std::optional<std::string> after = Get("k");
      EXPECT_TRUE(after == before || after == attempt) << name;
      const std::string decided = absl::StrCat("decided after ", name, repeat);
      ASSERT_TRUE(Commit({{"k", after}}, {{"k", decided}}).ok()) << name;
      if (repeat == 1) continue;  // also several errors on one open
      PowerLoss();
      EXPECT_EQ(Get("k"), decided) << name;
      EXPECT_EQ(Get("healed"), attempt) << name;
      if (after != attempt) EXPECT_NE(Get("twin"), attempt) << name;
    }
  }
}

TEST_F(RocksErrorTest, ADiskThatFillsUpSaysFullAndHeals) {
  ASSERT_TRUE(Commit({}, {{"k", "v"}}).ok());
  BreakLog(FaultFs::Op::kAppend, rocksdb::IOStatus::NoSpace("injected"));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Commit({}, {{"k2", "v"}})));
  const absl::Status full = Commit({}, {{"k3", "v"}});
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_EQ(Get("k"), "v");  // reads go on
  Heal();
  const absl::Status healed = Commit({}, {{"k4", "v"}});
  ASSERT_TRUE(healed.ok()) << healed;
  PowerLoss();
  EXPECT_EQ(Get("k"), "v");
  EXPECT_EQ(Get("k4"), "v");
}

// A blob whose Finish() was OK stays in memory until it can be written.
TEST_F(RocksErrorTest, ABlobOutlivesAFailedWrite) {
  ASSERT_TRUE(SyncWait(store_->blobs().Put("t", "b", absl::Cord("body"))).ok());
  BreakLog(FaultFs::Op::kSync, rocksdb::IOStatus::IOError("injected"));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Commit({}, {{"k", "v"}})));
  EXPECT_EQ(*SyncWait(store_->blobs().Get("t", "b", 0, 10)), "body");
  Heal();
  ASSERT_TRUE(Commit({}, {{"k", "v"}}).ok());
  PowerLoss();
  EXPECT_EQ(*SyncWait(store_->blobs().Get("t", "b", 0, 10)), "body");
}

// Pieces of a large blob are not synced, so a recovery may lose them: its writer must begin again.
TEST_F(RocksErrorTest, ALargeBlobIsNotFinishedAcrossARecovery) {
  const std::string piece(kMaxBlobPieceBytes, 'p');
  const std::unique_ptr<BlobWriter> writer = store_->blobs().Create("t", "large");
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(SyncWait(writer->Append(absl::Cord(absl::string_view(piece)))).ok());
  BreakLog(FaultFs::Op::kSync, rocksdb::IOStatus::IOError("injected"));
  // Refused, when the flush that three pieces begin has met the broken log before it.
  const absl::Status broken = Commit({}, {{"k", "v"}});
  EXPECT_TRUE(absl::IsDeadlineExceeded(broken) || absl::IsUnavailable(broken)) << broken;
  Heal();
  ASSERT_TRUE(Commit({}, {{"k", "v"}}).ok());
  EXPECT_TRUE(absl::IsUnavailable(SyncWait(writer->Finish())));
  EXPECT_TRUE(absl::IsNotFound(SyncWait(store_->blobs().Size("t", "large")).status()));
  const absl::Status again = SyncWait(store_->blobs().Put("t", "large", absl::Cord(absl::string_view(piece))));
  EXPECT_TRUE(again.ok()) << again;
}

// The disk drops a finished, unsynced blob with a failed sync. No commit that names the
// blob may be OK, so the store waits for a restart.
TEST_F(RocksErrorTest, NothingIsWrittenOverALossOfUnsyncedWrites) {
  const std::string body(300'000, 'b');  // written by Finish(), unsynced
  ASSERT_TRUE(Commit({}, {{"k", "v"}}).ok());
  ASSERT_TRUE(SyncWait(store_->blobs().Put("t", "large", absl::Cord(absl::string_view(body)))).ok());
  BreakLog(FaultFs::Op::kSync, rocksdb::IOStatus::IOError("injected"));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Commit({}, {{"other", "v"}})));
  fs_->DropUnsynced();
  Heal();
  for (int i = 0; i < 5; ++i) {
    const absl::Status status = Commit({}, {{"row", "names large"}});
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  }
  EXPECT_FALSE(store_->Health().ok());
  EXPECT_EQ(Get("k"), "v");
  store_.reset();
  store_ = MustOpen(OptionsFor(path_, env_.get()), registry_);
  EXPECT_TRUE(absl::IsNotFound(SyncWait(store_->blobs().Size("t", "large")).status()));
  EXPECT_FALSE(Get("row").has_value());
  EXPECT_TRUE(Commit({}, {{"row", "v"}}).ok());
}

// Readers are served again although nobody writes.
TEST_F(RocksErrorTest, AStoreRecoversWithoutACommit) {
  ASSERT_TRUE(Commit({}, {{"k", "v"}}).ok());
  BreakLog(FaultFs::Op::kAppend, rocksdb::IOStatus::IOError("injected"));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Commit({}, {{"k2", "v"}})));
  Heal();
  const absl::Time limit = absl::Now() + absl::Minutes(1);
  while (!store_->Health().ok() && absl::Now() < limit) std::this_thread::yield();
  EXPECT_TRUE(store_->Health().ok());
  EXPECT_EQ(Get("k"), "v");
  EXPECT_FALSE(Get("k2").has_value());
}

// A sync that hangs: callers get an answer within the bound, which never says that a
// commit did not happen when it may have, and readiness shows it.
TEST_F(RocksErrorTest, AHungSyncIsAnsweredAndShown) {
  store_.reset();
  RocksOptions options = OptionsFor(path_, env_.get());
  options.unready_after = absl::Milliseconds(1);
  options.answer_within = absl::Milliseconds(50);
  store_ = MustOpen(options, registry_);
  ASSERT_TRUE(Commit({}, {{"k", "v"}}).ok());
  absl::Notification hanging, go_on;
  fs_->SetHook([&](FaultFs::Op op, const std::string& file) {
    if (!IsLog(file) || op != FaultFs::Op::kSync || hanging.HasBeenNotified()) return rocksdb::IOStatus::OK();
    hanging.Notify();
    go_on.WaitForNotification();
    return rocksdb::IOStatus::OK();
  });
  absl::Status behind;
  std::thread other([&] {
    hanging.WaitForNotification();
    behind = Commit({}, {{"behind", "v"}});
  });
  const absl::Status unknown = Commit({}, {{"k", "w"}, {"twin", "w"}});
  EXPECT_TRUE(absl::IsDeadlineExceeded(unknown)) << unknown;
  other.join();
  EXPECT_TRUE(absl::IsUnavailable(behind)) << behind;
  EXPECT_TRUE(absl::IsUnavailable(store_->Health())) << store_->Health();
  EXPECT_TRUE(absl::IsUnavailable(Commit({}, {{"later", "v"}})));
  EXPECT_EQ(Get("k"), "v");  // reads go on
  go_on.Notify();
  const absl::Time limit = absl::Now() + absl::Minutes(1);
  absl::Status after = Commit({}, {{"after", "v"}});
  while (!after.ok() && absl::Now() < limit) after = Commit({}, {{"after", "v"}});
  EXPECT_TRUE(after.ok()) << after;
  EXPECT_TRUE(store_->Health().ok()) << store_->Health();
  EXPECT_EQ(Get("k"), "w");  // it did happen, once the disk answered
  EXPECT_EQ(Get("twin"), "w");
  EXPECT_FALSE(Get("behind").has_value());
  EXPECT_FALSE(Get("later").has_value());
}

// A flush that fails stops writes until RocksDB resumes; nothing is lost.
TEST_F(RocksErrorTest, AFailedFlushHeals) {
  ASSERT_TRUE(Commit({}, {{"k", std::string(10'000, 'v')}}).ok());
  fs_->SetHook([](FaultFs::Op op, const std::string& file) {
    return absl::EndsWith(file, ".sst") && op == FaultFs::Op::kAppend ? rocksdb::IOStatus::IOError("injected")
                                                                      : rocksdb::IOStatus::OK();
  });
  EXPECT_FALSE(store_->Flush().ok());
  Heal();
  ASSERT_TRUE(Commit({}, {{"k2", "v"}}).ok());
  PowerLoss();
  EXPECT_EQ(Get("k"), std::string(10'000, 'v'));
  EXPECT_EQ(Get("k2"), "v");
}

}  // namespace
}  // namespace posthouse::store
