// kill -9 at every step of a commit, under two writers of one guarded partition on RocksDB:
// the ledger has no gap, and everything acknowledged is where the answer said.
#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/async/task.h"
#include "services/common/async/thread_pool.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/committer.h"
#include "services/common/store/rocks/rocks_store.h"
#include "services/common/store/testing/fault_fs.h"
#include "services/common/store/testing/guarded_ledger.h"

namespace posthouse::store {
namespace {

const Partition kPartition{"t", "ledger"};
constexpr int kClients = 6;
constexpr int kRounds = 30;
constexpr const char* kPoints[] = {"before write", "append", "sync", "sync done", "after write", "before completion"};
constexpr int kPointCount = 6;

RocksOptions OptionsFor(const std::string& path, rocksdb::Env* env = nullptr) {
  RocksOptions options;
  options.path = path;
  options.name = "test";
  options.env = env;
  options.write_buffer_bytes = uint64_t{1} << 20;
  options.block_cache_bytes = uint64_t{1} << 20;
  options.min_free_bytes = 0;
  return options;
}

std::shared_ptr<Ledger> OpenLedger(Store& store, Executor* executor) {
  GuardedOptions options;
  options.store = &store;
  options.partition = kPartition;
  options.log_prefix = "q/";
  options.executor = executor;
  return std::make_shared<Ledger>(options, LedgerModel(store, kPartition));
}

Task<bool> RunClient(Executor* executor, std::shared_ptr<Ledger> ledger, int client) {
  co_await SwitchTo(*executor);
  for (int round = 0; round < kRounds; ++round) {
    const std::string id = absl::StrCat(client, "-", round);
    uint64_t position = 0;
    const absl::Status status = co_await ledger->Change(AddEntry(id, &position));
    if (!status.ok()) co_return false;
    const std::string line = absl::StrCat("ack ", id, " ", position, "\n");
    PH_CHECK(write(STDOUT_FILENO, line.data(), line.size()) == static_cast<ssize_t>(line.size()));
  }
  co_return true;
}

// The child: works until the point has come `countdown` times, then dies. DISABLED_: only
// KillAtEachStep runs it.
TEST(GuardedCrashChild, DISABLED_WorksUntilKilled) {
  const char* const arguments = std::getenv("POSTHOUSE_CRASH_CHILD");
  if (arguments == nullptr) GTEST_SKIP() << "a part of GuardedCrashTest.KillAtEachStep";
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
  absl::StatusOr<std::unique_ptr<RocksStore>> store = RocksStore::Open(options, registry);
  PH_CHECK(store.ok());
  fs->SetHook([&](FaultFs::Op op, const std::string& file) {
    if (absl::EndsWith(file, ".log")) die_at(1 + static_cast<int>(op), point);
    return rocksdb::IOStatus::OK();
  });
  ThreadPool pool(2);
  // Two objects hold the partition, as two processes would: they conflict and follow each other.
  const std::shared_ptr<Ledger> ledgers[] = {OpenLedger(**store, &pool), OpenLedger(**store, &pool)};
  std::vector<Task<bool>> clients;
  for (int i = 0; i < kClients; ++i) clients.push_back(RunClient(&pool, ledgers[i % 2], i));
  SyncWait(WhenAll(std::move(clients)));
}

// Runs the child and returns the positions that it acknowledged before it died.
std::map<std::string, uint64_t> RunChild(const std::string& path, int point, int countdown) {
  setenv("POSTHOUSE_CRASH_CHILD", absl::StrCat(path, "|", point, "|", countdown).c_str(), 1);
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  FILE* const output = popen(
      absl::StrCat("exec '", self,
                   "' --gtest_filter=GuardedCrashChild.* --gtest_also_run_disabled_tests --gtest_output= 2>/dev/null")
          .c_str(),
      "r");
  PH_CHECK(output != nullptr);
  std::map<std::string, uint64_t> acks;
  char line[256], id[64];
  unsigned long position = 0;
  while (std::fgets(line, sizeof line, output) != nullptr) {
    if (std::sscanf(line, "ack %63s %lu", id, &position) == 2) acks[id] = position;
  }
  const int status = pclose(output);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the child ended by itself: " << status;
  unsetenv("POSTHOUSE_CRASH_CHILD");
  return acks;
}

TEST(GuardedCrashTest, KillAtEachStep) {
  log::SetLevel(log::Level::kError);
  size_t acknowledged = 0;
  for (int point = 0; point < kPointCount; ++point) {
    for (const int countdown : {0, 3, 17}) {
      const std::string path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/guarded", point, "-", countdown);
      const std::map<std::string, uint64_t> acks = RunChild(path, point, countdown);
      acknowledged += acks.size();
      metrics::Registry registry;
      absl::StatusOr<std::unique_ptr<RocksStore>> store = RocksStore::Open(OptionsFor(path), registry);
      ASSERT_TRUE(store.ok()) << store.status();
      // Load() fails on a gap and on a position that was given twice.
      LedgerModel model(**store, kPartition);
      const absl::StatusOr<Loaded<LedgerState>> loaded = SyncWait(model.Load(LedgerModel::kEntries));
      ASSERT_TRUE(loaded.ok()) << loaded.status() << " " << kPoints[point] << " number " << countdown;
      const std::vector<std::string>& entries = *loaded->state.entries;
      EXPECT_EQ(entries.size(), loaded->state.head.count);
      for (const auto& [id, position] : acks) {
        ASSERT_LT(position, entries.size()) << id << " was acknowledged and is lost, " << kPoints[point];
        EXPECT_EQ(entries[position], id) << kPoints[point];
      }
      // The next process goes on where the dead one stopped.
      uint64_t position = 0;
      const auto next = OpenLedger(**store, nullptr);
      EXPECT_TRUE(SyncWait(next->Change(AddEntry("next", &position))).ok());
      EXPECT_EQ(position, entries.size());
      store->reset();
      std::filesystem::remove_all(path);
    }
  }
  EXPECT_GT(acknowledged, 50u);
}

}  // namespace
}  // namespace posthouse::store
