// RocksStore beyond the conformance suite: opening, ownership, format, which thread
// reads, metrics, free space, the committer's limits.
#include "services/common/store/rocks/rocks_store.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/async/thread_pool.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/committer.h"
#include "services/common/testing/wait.h"

namespace posthouse::store {
namespace {

class RocksStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    log::SetLevel(log::Level::kError);
    static int number = 0;
    options_.path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/rocks", number++, "/deep/er");
    options_.name = "test";
    options_.min_free_bytes = 0;
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(options_.path);
  }
  absl::Status Open() {
    store_.reset();
    PH_ASSIGN_OR_RETURN(store_, RocksStore::Open(options_, registry_));
    return absl::OkStatus();
  }
  absl::Status Set(const std::string& key, const std::string& value) {
    return SyncWait(store_->Commit({{"t", "p"}, {}, {{key, value}}}));
  }
  // The value of the sample that starts with `name` in a scrape.
  double Metric(const std::string& name) {
    const std::string text = registry_.Serialize();
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::atof(text.c_str() + at + name.size() + 2);
  }
  // Changes the database behind the store's back.
  void WithRawDb(const std::vector<std::string>& families, const std::function<void(rocksdb::DB&)>& work) {
    store_.reset();
    rocksdb::DBOptions options;
    options.create_missing_column_families = true;
    std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
    for (const std::string& name : families) descriptors.emplace_back(name, rocksdb::ColumnFamilyOptions());
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, options_.path, descriptors, &handles, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    work(*db);
    for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
  }

  metrics::Registry registry_;
  RocksOptions options_;
  std::unique_ptr<RocksStore> store_;
};

TEST_F(RocksStoreTest, ADirectoryHasOneOwner) {
  ASSERT_TRUE(Open().ok());
  const absl::StatusOr<std::unique_ptr<RocksStore>> second = RocksStore::Open(options_, registry_);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  EXPECT_NE(second.status().message().find("Stop that process, or give this one its own data_dir"), std::string::npos);
  store_.reset();
  EXPECT_TRUE(Open().ok());
}

TEST_F(RocksStoreTest, ANewerFormatIsRefusedAndUntouched) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Set("k", "v").ok());
  WithRawDb({"default", "blobs"}, [](rocksdb::DB& db) { ASSERT_TRUE(db.Put({}, "sschema", "2").ok()); });
  EXPECT_TRUE(absl::IsFailedPrecondition(Open())) << Open();
  WithRawDb({"default", "blobs"}, [](rocksdb::DB& db) { ASSERT_TRUE(db.Put({}, "sschema", "what").ok()); });
  EXPECT_TRUE(absl::IsDataLoss(Open())) << Open();
  WithRawDb({"default", "blobs"}, [](rocksdb::DB& db) { ASSERT_TRUE(db.Put({}, "sschema", "1").ok()); });
  EXPECT_TRUE(Open().ok());
  WithRawDb({"default", "blobs", "added later"}, [](rocksdb::DB&) {});
  EXPECT_TRUE(absl::IsFailedPrecondition(Open())) << Open();
}

// The gate between two releases. One knows formats up to 1, the next one up to 2.
TEST_F(RocksStoreTest, TheReleaseBeforeReadsAStoreUntilItsFormatIsRaised) {
  const FormatRange before{.initial = 1, .newest = 1}, after{.initial = 1, .newest = 2};
  options_.formats = after;
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(store_->Format(), 1);  // new stores, too
  EXPECT_EQ(Metric("posthouse_store_format{store=\"test\"}"), 1);
  EXPECT_EQ(Metric("posthouse_store_format_newest{store=\"test\"}"), 2);
  ASSERT_TRUE(Set("k", "of the release after").ok());
  // Rolled back: it reads and writes, and the release after goes on with that.
  options_.formats = before;
  ASSERT_TRUE(Open().ok()) << Open();
  ASSERT_TRUE(Set("k", "of the release before").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(SyncWait(store_->RaiseFormat(2))));
  options_.formats = after;
  ASSERT_TRUE(Open().ok());
  // The gate is opened.
  ASSERT_TRUE(SyncWait(store_->RaiseFormat(2)).ok());
  EXPECT_EQ(store_->Format(), 2);
  EXPECT_EQ(Metric("posthouse_store_format{store=\"test\"}"), 2);
  EXPECT_TRUE(absl::IsInvalidArgument(SyncWait(store_->RaiseFormat(3))));
  options_.formats = before;
  const absl::Status refused = Open();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "was written in format 2; this binary knows up to 1")) << refused;
  options_.formats = after;
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(store_->Format(), 2);
  EXPECT_TRUE(SyncWait(store_->RaiseFormat(1)).ok());  // never back
  EXPECT_EQ(store_->Format(), 2);
  const auto row = SyncWait(store_->Read({.partition = {"t", "p"}, .keys = {"k"}}));
  EXPECT_EQ(row->values[0], "of the release before");
}

// A new store of a release that may be put back begins with what the release before knows.
TEST_F(RocksStoreTest, ANewStoreBeginsWithTheInitialFormat) {
  options_.formats = {.initial = 2, .newest = 3};
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(store_->Format(), 2);
  // The number is older than what a new store gets: it stays.
  options_.formats = {.initial = 3, .newest = 3};
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(store_->Format(), 2);
}

TEST_F(RocksStoreTest, APathThatCannotBeIsRefused) {
  options_.path = "/proc/nowhere";
  EXPECT_FALSE(Open().ok());
}

// Rows and blobs that are not in memory are read by the pool, guards too.
TEST_F(RocksStoreTest, MissesAreReadByThePool) {
  options_.block_cache_bytes = 0;
  ASSERT_TRUE(Open().ok());
  const std::string body(100'000, 'b');
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(Set(absl::StrCat("k", i), std::string(1000, 'v')).ok());
  ASSERT_TRUE(SyncWait(store_->blobs().Put("t", "b", absl::Cord(absl::string_view(body)))).ok());
  EXPECT_EQ(SyncWait(store_->Read({{"t", "p"}, {"k7"}}))->values[0], std::string(1000, 'v'));
  EXPECT_EQ(Metric("posthouse_store_reads_total{served=\"pool\",store=\"test\"}"), 0);
  ASSERT_TRUE(Set("last", "v").ok());
  ASSERT_TRUE(store_->Flush().ok());
  EXPECT_EQ(SyncWait(store_->Read({{"t", "p"}, {"k7"}}))->values[0], std::string(1000, 'v'));
  EXPECT_EQ(SyncWait(store_->Read({{"t", "p"}, {"k7", "k8"}, "k", "k3", 5}))->page.size(), 5u);
  EXPECT_EQ(*SyncWait(store_->blobs().Get("t", "b", 99'990, 100)), std::string(10, 'b'));
  EXPECT_TRUE(SyncWait(store_->Commit({{"t", "p"}, {{"k9", std::string(1000, 'v')}}, {{"k9", "w"}}})).ok());
  EXPECT_GE(Metric("posthouse_store_reads_total{served=\"pool\",store=\"test\"}"), 4);
}

TEST_F(RocksStoreTest, MetricsCountWhatHappened) {
  ASSERT_TRUE(Open().ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Set(absl::StrCat("k", i), "v").ok());
  EXPECT_TRUE(absl::IsAborted(SyncWait(store_->Commit({{"t", "p"}, {{"k0", "x"}}, {{"k0", "y"}}}))));
  EXPECT_EQ(Metric("posthouse_store_commits_total{result=\"ok\",store=\"test\"}"), 3);
  EXPECT_EQ(Metric("posthouse_store_commits_total{result=\"conflict\",store=\"test\"}"), 1);
  EXPECT_EQ(Metric("posthouse_store_commits_total{result=\"full\",store=\"test\"}"), 0);
  EXPECT_EQ(Metric("posthouse_store_commit_seconds_count{store=\"test\"}"), 3);
  EXPECT_EQ(Metric("posthouse_store_sync_seconds_count{store=\"test\"}"), 3);
  EXPECT_GT(Metric("posthouse_store_sync_seconds_sum{store=\"test\"}"), 0);
  EXPECT_EQ(Metric("posthouse_store_healthy{store=\"test\"}"), 1);
  EXPECT_EQ(Metric("posthouse_store_full{store=\"test\"}"), 0);
  EXPECT_GT(Metric("posthouse_store_free_bytes{store=\"test\"}"), 0);
  EXPECT_GT(Metric("posthouse_store_log_syncs_total{store=\"test\"}"), 2);
  EXPECT_EQ(Metric("posthouse_store_compaction_debt_bytes{store=\"test\"}"), 0);
  EXPECT_EQ(Metric("posthouse_store_running_compactions{store=\"test\"}"), 0);
  EXPECT_EQ(Metric("posthouse_store_level_files{level=\"6\",store=\"test\"}"), 0);
  store_.reset();  // a scrape after the store is gone reads its last values
  EXPECT_EQ(Metric("posthouse_store_commits_total{result=\"ok\",store=\"test\"}"), 3);
}

// All commits that wait while a batch is written share the next one.
TEST_F(RocksStoreTest, EverythingThatWaitsSharesOneWrite) {
  absl::Notification first_is_writing, go_on;
  std::atomic<bool> hold{false};
  options_.on_step = [&](CommitStep step) {
    if (step == CommitStep::kBeforeWrite && hold.exchange(false)) {
      first_is_writing.Notify();
      WaitFor(go_on);
    }
  };
  ASSERT_TRUE(Open().ok());
  hold = true;
  ThreadPool pool(1);
  struct Commits {
    static Task<absl::Status> One(Executor* executor, Store* store, int i) {
      co_await SwitchTo(*executor);
      co_return co_await store->Commit({{"t", absl::StrCat("p", i % 3)}, {}, {{absl::StrCat("k", i), "v"}}});
    }
    static Task<void> All(std::vector<Task<absl::Status>> tasks, std::atomic<int>* ok, absl::Notification* done) {
      for (const absl::Status& status : co_await WhenAll(std::move(tasks))) ok->fetch_add(status.ok() ? 1 : 0);
      done->Notify();
    }
  };
  std::atomic<int> ok{0};
  absl::Notification first_done, rest_done;
  std::vector<Task<absl::Status>> first, rest;
  first.push_back(Commits::One(&pool, store_.get(), 0));
  SpawnHere(Commits::All(std::move(first), &ok, &first_done));
  WaitFor(first_is_writing);
  for (int i = 1; i <= 50; ++i) rest.push_back(Commits::One(&pool, store_.get(), i));
  SpawnHere(Commits::All(std::move(rest), &ok, &rest_done));
  SyncWait(RunOn(pool, [] { return true; }));  // the pool has one thread: all 50 are in the queue
  go_on.Notify();
  WaitFor(first_done);
  WaitFor(rest_done);
  EXPECT_EQ(ok.load(), 51);
  EXPECT_EQ(Metric("posthouse_store_batch_requests_count{store=\"test\"}"), 2);
  EXPECT_EQ(Metric("posthouse_store_batch_requests_sum{store=\"test\"}"), 51);
}

// Two guarded by the same row, read before either was written: one wins, though
// both pre-reads saw the guard hold.
TEST_F(RocksStoreTest, GuardsSeeTheBatchInFlightAndTheOneBefore) {
  for (const bool same_batch : {true, false}) {
    options_.path += same_batch ? "a" : "b";
    absl::Notification holding, go_on;
    std::atomic<int> hold{0};
    options_.on_step = [&](CommitStep step) {
      if (step == CommitStep::kBeforeWrite && hold.exchange(0) == 1) {
        holding.Notify();
        WaitFor(go_on);
      }
    };
    ASSERT_TRUE(Open().ok());
    ASSERT_TRUE(Set("head", "1").ok());
    hold = 1;
    ThreadPool pool(1);
    struct Commits {
      static Task<absl::Status> One(Executor* executor, Store* store, CommitRequest request) {
        co_await SwitchTo(*executor);
        co_return co_await store->Commit(std::move(request));
      }
      static Task<void> All(std::vector<Task<absl::Status>> tasks, std::vector<absl::Status>* results,
                            absl::Notification* done) {
        *results = co_await WhenAll(std::move(tasks));
        done->Notify();
      }
    };
    std::vector<absl::Status> blocker, rivals;
    absl::Notification blocker_done, rivals_done;
    // The blocker is being written, and not readable, while the rivals read "head".
    CommitRequest first{{"t", "p"}, {}, {{same_batch ? "unrelated" : "head", "2"}}};
    std::vector<Task<absl::Status>> tasks;
    tasks.push_back(Commits::One(&pool, store_.get(), std::move(first)));
    SpawnHere(Commits::All(std::move(tasks), &blocker, &blocker_done));
    WaitFor(holding);
    tasks.clear();
    for (int i = 0; i < 3; ++i) {
      CommitRequest rival{
          {"t", "p"}, {{"head", "1"}}, {{"head", absl::StrCat("rival ", i)}, {absl::StrCat("r", i), "v"}}};
      tasks.push_back(Commits::One(&pool, store_.get(), std::move(rival)));
    }
    SpawnHere(Commits::All(std::move(tasks), &rivals, &rivals_done));
    SyncWait(RunOn(pool, [] { return true; }));
    go_on.Notify();
    WaitFor(blocker_done);
    WaitFor(rivals_done);
    int winners = 0;
    for (const absl::Status& rival : rivals) {
      EXPECT_TRUE(rival.ok() || absl::IsAborted(rival)) << rival;
      winners += rival.ok() ? 1 : 0;
    }
    EXPECT_EQ(winners, same_batch ? 1 : 0);
    const ReadResult rows = *SyncWait(store_->Read({{"t", "p"}, {"head"}, "r", "", 10}));
    EXPECT_EQ(rows.page.size(), static_cast<size_t>(winners));
    EXPECT_EQ(rows.values[0], same_batch ? "rival 0" : "2");
  }
}

TEST_F(RocksStoreTest, TooMuchWaitingIsRefused) {
  absl::Notification holding, go_on;
  std::atomic<bool> hold{false};
  options_.max_waiting_bytes = 100'000;
  options_.on_step = [&](CommitStep step) {
    if (step == CommitStep::kBeforeWrite && hold.exchange(false)) {
      holding.Notify();
      WaitFor(go_on);
    }
  };
  ASSERT_TRUE(Open().ok());
  hold = true;
  ThreadPool pool(1);
  struct Commits {
    static Task<void> One(Executor* executor, Store* store, int i, std::atomic<int>* ok, std::atomic<int>* refused,
                          std::atomic<int>* left, absl::Notification* done) {
      co_await SwitchTo(*executor);
      CommitRequest request{{"t", "p"}, {}, {{absl::StrCat("k", i), std::string(30'000, 'v')}}};
      const absl::Status status = co_await store->Commit(std::move(request));
      EXPECT_TRUE(status.ok() || absl::IsUnavailable(status)) << status;
      (status.ok() ? ok : refused)->fetch_add(1);
      if (left->fetch_sub(1) == 1) done->Notify();
    }
  };
  std::atomic<int> ok{0}, refused{0}, left{10};
  absl::Notification done;
  Spawn(pool, Commits::One(&pool, store_.get(), 0, &ok, &refused, &left, &done));
  WaitFor(holding);
  for (int i = 1; i < 10; ++i) Spawn(pool, Commits::One(&pool, store_.get(), i, &ok, &refused, &left, &done));
  SyncWait(RunOn(pool, [] { return true; }));
  SyncWait(RunOn(pool, [] { return true; }));
  go_on.Notify();
  WaitFor(done);
  EXPECT_EQ(ok.load(), 1 + 3);
  EXPECT_EQ(refused.load(), 6);
  EXPECT_EQ(Metric("posthouse_store_commits_total{result=\"busy\",store=\"test\"}"), 6);
}

// Megabytes after a guard was read, the committer no longer remembers what was
// written in between and reads the row again.
TEST_F(RocksStoreTest, AForgottenGuardIsReadAgain) {
  absl::Notification holding, go_on;
  std::atomic<int> steps{-1};
  options_.max_batch_bytes = 100'000;
  options_.on_step = [&](CommitStep step) {
    if (step == CommitStep::kBeforeWrite && steps.fetch_add(1) == 0) {
      holding.Notify();
      WaitFor(go_on);
    }
  };
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Set("head", "1").ok());
  steps = 0;
  ThreadPool pool(1);
  struct Commits {
    static Task<absl::Status> One(Executor* executor, Store* store, CommitRequest request) {
      co_await SwitchTo(*executor);
      co_return co_await store->Commit(std::move(request));
    }
    static Task<void> All(std::vector<Task<absl::Status>> tasks, std::vector<absl::Status>* results,
                          absl::Notification* done) {
      *results = co_await WhenAll(std::move(tasks));
      done->Notify();
    }
  };
  const auto filler = [](int i) {
    CommitRequest request{{"t", "filler"}, {}, {}};
    for (int j = 0; j < 15; ++j) request.mutations.push_back({absl::StrCat(i, "/", j), std::string(60'000, 'f')});
    return request;
  };
  std::vector<absl::Status> results;
  absl::Notification done;
  std::vector<Task<absl::Status>> tasks;
  tasks.push_back(Commits::One(&pool, store_.get(), filler(0)));
  // In the queue in this order: 9 MB, then a change of the head, 9 MB, then the guarded ones.
  for (int i = 1; i < 10; ++i) tasks.push_back(Commits::One(&pool, store_.get(), filler(i)));
  tasks.push_back(Commits::One(&pool, store_.get(), {{"t", "p"}, {}, {{"head", "2"}}}));
  for (int i = 10; i < 20; ++i) tasks.push_back(Commits::One(&pool, store_.get(), filler(i)));
  tasks.push_back(Commits::One(&pool, store_.get(), {{"t", "p"}, {{"head", "1"}}, {{"late", "v"}}}));
  tasks.push_back(Commits::One(&pool, store_.get(), {{"t", "p"}, {{"other", std::nullopt}}, {{"other", "v"}}}));
  SpawnHere(Commits::All(std::move(tasks), &results, &done));
  WaitFor(holding);
  SyncWait(RunOn(pool, [] { return true; }));
  go_on.Notify();
  WaitFor(done);
  ASSERT_EQ(results.size(), 23u);
  EXPECT_TRUE(absl::IsAborted(results[21])) << results[21];
  EXPECT_TRUE(results[22].ok()) << results[22];
  EXPECT_GE(Metric("posthouse_store_guard_rereads_total{store=\"test\"}"), 2);
}

// The disk fills up between two looks at it: writing much makes the store look earlier.
TEST_F(RocksStoreTest, AFillingDiskIsNoticedBeforeTheInterval) {
  std::atomic<int> looks{0};
  options_.space_check_interval = absl::Hours(1);
  options_.min_free_bytes = 400'000;
  options_.measure_space = [&looks](const std::string&) -> absl::StatusOr<CapacityInfo> {
    return CapacityInfo{1'000'000, looks.fetch_add(1) == 0 ? uint64_t{1'000'000} : uint64_t{100'000}, false};
  };
  for (const bool rows : {true, false}) {
    options_.path += "x";
    looks = 0;
    ASSERT_TRUE(Open().ok());
    absl::Status written;
    int writes = 0;
    for (; written.ok() && writes < 10; ++writes) {
      const std::string body(30'000, static_cast<char>('a' + writes));
      written =
          rows ? Set("k", body)
               : SyncWait(store_->blobs().Put("t", absl::StrCat("b", writes), absl::Cord(absl::string_view(body))));
      if (!rows) (void)Set("k", absl::StrCat(writes));  // takes the blob to the disk
    }
    EXPECT_TRUE(absl::IsResourceExhausted(written)) << written;
    // The first look comes with the first write, the second after more than 100,000 bytes.
    EXPECT_EQ(writes, 5) << (rows ? "rows" : "blobs");
    EXPECT_EQ(looks.load(), 2);
  }
}

// A margin larger than the disk refuses all mail from the start on.
TEST_F(RocksStoreTest, AMarginLargerThanTheDiskIsSaidAtTheStart) {
  static auto& mutex = *new absl::Mutex;
  static auto& lines = *new std::string;
  log::SetSinkForTest([](absl::string_view line) {
    absl::MutexLock lock(&mutex);
    absl::StrAppend(&lines, line);
  });
  const auto logged = [](absl::string_view what) {
    absl::MutexLock lock(&mutex);
    return absl::StrContains(lines, what);
  };
  options_.min_free_bytes = uint64_t{1} << 60;
  ASSERT_TRUE(Open().ok());
  EXPECT_TRUE(logged("\"event\":\"store_full\",\"path\":\"" + options_.path));
  EXPECT_TRUE(logged("set store.min_free_bytes below the size of the file system"));
  EXPECT_TRUE(absl::IsResourceExhausted(Set("k", "v")));
  log::SetSinkForTest(nullptr);
}

// The space of removed blobs comes back while the store is open, also when it is full and
// no commit comes that would cause a flush.
TEST_F(RocksStoreTest, UnfinishedBodiesShareABoundOfMemoryThatShortOnesNeedNot) {
  ASSERT_TRUE(Open().ok());
  const std::string block(1 << 20, 'x');
  std::vector<std::unique_ptr<BlobWriter>> writers;
  absl::Status status;
  while (status.ok() && writers.size() < 1000) {
    writers.push_back(store_->blobs().Create("t", absl::StrCat("long", writers.size())));
    status = SyncWait(writers.back()->Append(absl::Cord(absl::string_view(block))));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(writers.size(), 129u);
  EXPECT_FALSE(SyncWait(writers.back()->Finish()).ok());
  const auto write = [this](const std::string& name, size_t bytes) {
    const std::unique_ptr<BlobWriter> writer = store_->blobs().Create("t", name);
    const absl::Status appended = SyncWait(writer->Append(absl::Cord(absl::string_view(std::string(bytes, 'y')))));
    return appended.ok() ? SyncWait(writer->Finish()) : appended;
  };
  EXPECT_TRUE(write("short", 100000).ok());
  EXPECT_EQ(write("long", 200000).code(), absl::StatusCode::kResourceExhausted);
  writers.front() = nullptr;
  EXPECT_TRUE(write("long", 200000).ok());
  EXPECT_TRUE(SyncWait(writers[1]->Finish()).ok());
  EXPECT_TRUE(write("long again", 200000).ok());
}

TEST_F(RocksStoreTest, RemovedBlobsGiveTheirSpaceBackWithoutARestart) {
  std::atomic<bool> full{false};
  options_.min_free_bytes = uint64_t{1} << 30;
  options_.space_check_interval = absl::ZeroDuration();
  options_.measure_space = [&full](const std::string&) -> absl::StatusOr<CapacityInfo> {
    return CapacityInfo{uint64_t{1} << 40, uint64_t{1} << (full ? 29 : 39), false};
  };
  for (const bool when_full : {false, true}) {
    full = false;
    options_.path += "x";
    options_.return_space_at_bytes = when_full ? uint64_t{1} << 30 : 1'000'000;
    options_.return_space_pause = absl::Milliseconds(1);
    ASSERT_TRUE(Open().ok());
    std::string body(200'000, 0);
    uint64_t random = 88172645463325252;
    const auto name = [](int i) { return absl::StrCat("b", i); };
    for (int i = 0; i < 40; ++i) {
      for (char& byte : body)
        byte = static_cast<char>((random = random * 6364136223846793005 + 1442695040888963407) >> 56);
      ASSERT_TRUE(SyncWait(store_->blobs().Put("t", name(i), absl::Cord(absl::string_view(body)))).ok());
      ASSERT_TRUE(Set(name(i), "row").ok());
    }
    ASSERT_TRUE(store_->Flush().ok());
    const double before = Metric("posthouse_store_blob_file_bytes{store=\"test\"}");
    EXPECT_GT(before, 7e6);
    full = when_full;
    for (int i = 0; i < 36; ++i) ASSERT_TRUE(SyncWait(store_->blobs().Delete("t", name(i))).ok());
    const absl::Time limit = absl::Now() + absl::Minutes(1);
    const auto bytes = [this] { return Metric("posthouse_store_blob_file_bytes{store=\"test\"}"); };
    const auto returns = [this] { return Metric("posthouse_store_space_returns_total{store=\"test\"}"); };
    while ((bytes() > before / 4 || returns() < 1) && absl::Now() < limit) absl::SleepFor(absl::Milliseconds(5));
    EXPECT_LT(bytes(), before / 4) << when_full;
    EXPECT_GE(returns(), 1);
    for (int i = 36; i < 40; ++i) EXPECT_TRUE(SyncWait(store_->blobs().Get("t", name(i), 0, 300'000)).ok());
  }
}

// A clean close writes blobs that no commit followed.
TEST_F(RocksStoreTest, ACleanCloseKeepsBlobs) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(SyncWait(store_->blobs().Put("t", "b", absl::Cord("body"))).ok());
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(*SyncWait(store_->blobs().Get("t", "b", 0, 10)), "body");
}

}  // namespace
}  // namespace posthouse::store
