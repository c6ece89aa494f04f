// Many callers at once: atomicity, page atomicity, lost updates, linearizability.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/barrier.h"
#include "absl/synchronization/mutex.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/common/async/thread_pool.h"
#include "services/common/async/when_all.h"
#include "services/common/store/conformance/engine.h"
#include "services/common/store/conformance/linearizability.h"

namespace posthouse::store {
namespace {

using absl::StatusCode;

// Runs `count` coroutines made by `make(i)` on a pool of two threads, to their end.
template <typename Make>
void RunTogether(int count, Make make) {
  ThreadPool pool(2);
  struct Together {
    static Task<bool> On(Executor* executor, Task<void> work) {
      co_await SwitchTo(*executor);
      co_await std::move(work);
      co_return true;
    }
  };
  std::vector<Task<bool>> tasks;
  for (int i = 0; i < count; ++i) tasks.push_back(Together::On(&pool, make(i)));
  SyncWait(WhenAll(std::move(tasks)));
}

Task<void> Count(Store* store, Partition partition, int increments) {
  for (int done = 0; done < increments;) {
    const absl::StatusOr<ReadResult> read = co_await store->Read({partition, {"counter"}});
    EXPECT_TRUE(read.ok()) << read.status();
    if (!read.ok()) co_return;
    const std::optional<std::string> old = read->values[0];
    int value = 0;
    if (old.has_value()) EXPECT_TRUE(absl::SimpleAtoi(*old, &value));
    CommitRequest request{partition, {{"counter", old}}, {{"counter", absl::StrCat(value + 1)}}};
    // The winner of value n writes the row of n, with the counter or not at all.
    request.preconditions.push_back({absl::StrCat("n", value), std::nullopt});
    request.mutations.push_back({absl::StrCat("n", value), "x"});
    const absl::Status committed = co_await store->Commit(std::move(request));
    EXPECT_TRUE(committed.ok() || absl::IsAborted(committed)) << committed;
    if (committed.ok()) ++done;
  }
}

TEST_P(StoreConformanceTest, NoUpdateIsLost) {
  constexpr int kClients = 16, kEach = 12;
  RunTogether(kClients, [&](int i) { return Count(&StoreOf(i), partition_, kEach); });
  EXPECT_EQ(Get("counter"), absl::StrCat(kClients * kEach));
  const absl::StatusOr<ReadResult> rows = Read({partition_, {}, "n", "", kMaxPageRows});
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->page.size(), size_t{kClients * kEach});
  engine_->CrashAndReopen();
  EXPECT_EQ(Get("counter"), absl::StrCat(kClients * kEach));
}

// Writers set all rows to one value in one commit; readers must never see two.
constexpr int kGroupRows = 20;

Task<void> WriteGroups(Store* store, Partition partition, int writer, int rounds, std::atomic<int>* writing) {
  for (int round = 0; round < rounds; ++round) {
    CommitRequest request{partition, {}, {}};
    const std::string value = absl::StrCat(writer, "/", round);
    for (int i = 0; i < kGroupRows; ++i) request.mutations.push_back({absl::StrCat("g", 100 + i), value});
    // A row that comes and goes, so that pages change in length too.
    request.mutations.push_back({"g200", round % 2 == 0 ? std::optional<std::string>(value) : std::nullopt});
    const absl::Status committed = co_await store->Commit(std::move(request));
    EXPECT_TRUE(committed.ok()) << committed;
    if (Executor::Current() != nullptr) co_await SwitchTo(*Executor::Current());  // gives readers a turn
  }
  writing->fetch_sub(1);
}

// Reads while a writer is at work.
Task<void> CheckGroups(Store* store, Partition partition, std::atomic<int>* writing, std::atomic<int>* seen) {
  while (writing->load() > 0) {
    co_await SwitchTo(*Executor::Current());
    ReadRequest request{partition, {"g119", "g100", "g200"}, "g", "", 64};
    const absl::StatusOr<ReadResult> read = co_await store->Read(std::move(request));
    EXPECT_TRUE(read.ok()) << read.status();
    if (!read.ok()) co_return;
    if (read->page.empty()) continue;
    const std::string& value = read->page[0].value;
    seen->fetch_add(1);
    EXPECT_GE(read->page.size(), size_t{kGroupRows});
    EXPECT_EQ(read->page.size() == kGroupRows + 1, read->values[2].has_value());
    for (const Row& row : read->page) EXPECT_EQ(row.value, value);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(read->values[static_cast<size_t>(i)], value);
    if (testing::Test::HasFailure()) co_return;
  }
}

TEST_P(StoreConformanceTest, KeysAndPageAreOfOneInstant) {
  ASSERT_TRUE(Commit({}, {Set("h", "beyond the prefix")}).ok());
  std::atomic<int> first{1}, seen{0}, writing{3};
  SyncWait(WriteGroups(&store(), partition_, 9, 1, &first));
  RunTogether(6, [&](int i) {
    return i < 3 ? WriteGroups(&StoreOf(i), partition_, i, 60, &writing)
                 : CheckGroups(&StoreOf(i), partition_, &writing, &seen);
  });
  EXPECT_GT(seen.load(), 0);
}

// Transfers between accounts keep the sum; half-applied commits would not.
constexpr int kAccounts = 5;

Task<void> Transfer(Store* store, Partition partition, unsigned seed, int rounds) {
  std::mt19937 random(seed);
  for (int round = 0; round < rounds; ++round) {
    const int from = static_cast<int>(random() % kAccounts), to = static_cast<int>(random() % kAccounts);
    if (from == to) continue;
    const std::string from_key = absl::StrCat("a", from), to_key = absl::StrCat("a", to);
    const absl::StatusOr<ReadResult> read = co_await store->Read({partition, {from_key, to_key}});
    EXPECT_TRUE(read.ok());
    if (!read.ok()) co_return;
    int from_sum = 0, to_sum = 0;
    EXPECT_TRUE(absl::SimpleAtoi(*read->values[0], &from_sum) && absl::SimpleAtoi(*read->values[1], &to_sum));
    CommitRequest request{partition,
                          {{from_key, read->values[0]}, {to_key, read->values[1]}},
                          {{from_key, absl::StrCat(from_sum - 1)}, {to_key, absl::StrCat(to_sum + 1)}}};
    const absl::Status committed = co_await store->Commit(std::move(request));
    EXPECT_TRUE(committed.ok() || absl::IsAborted(committed)) << committed;
  }
}

TEST_P(StoreConformanceTest, CommitsAreAllOrNothingUnderContention) {
  for (int i = 0; i < kAccounts; ++i) ASSERT_TRUE(Commit({}, {Set(absl::StrCat("a", i), "100")}).ok());
  RunTogether(12, [&](int i) { return Transfer(&StoreOf(i), partition_, static_cast<unsigned>(i), 40); });
  for (int crashes = 0; crashes < 2; ++crashes) {
    int sum = 0;
    for (int i = 0; i < kAccounts; ++i) {
      int value = 0;
      ASSERT_TRUE(absl::SimpleAtoi(Get(absl::StrCat("a", i)), &value));
      sum += value;
    }
    EXPECT_EQ(sum, kAccounts * 100);
    engine_->CrashAndReopen();
  }
}

// Records what clients do to a few registers, in real order.
struct Recorder {
  std::atomic<int64_t> clock{0};
  absl::Mutex mutex;
  std::map<std::string, std::vector<RegisterOp>> histories;
  void Add(const std::string& key, RegisterOp op) {
    absl::MutexLock lock(&mutex);
    histories[key].push_back(std::move(op));
  }
};

Task<void> UseRegisters(Store* store, Partition partition, int client, int rounds, Recorder* recorder) {
  std::mt19937 random(static_cast<unsigned>(client));
  std::map<std::string, RegisterValue> last;  // as this client knows them
  for (int round = 0; round < rounds; ++round) {
    const std::string key = absl::StrCat("r", random() % 3);
    RegisterOp op;
    op.kind = static_cast<RegisterOp::Kind>(random() % 3);
    op.value = random() % 5 == 0 ? std::nullopt : RegisterValue(absl::StrCat(client, ".", round));
    op.expected = last[key];
    op.start = recorder->clock.fetch_add(1);
    absl::Status status;
    if (op.kind == RegisterOp::Kind::kRead) {
      const absl::StatusOr<ReadResult> read = co_await store->Read({partition, {key}});
      status = read.status();
      if (read.ok()) op.value = read->values[0];
    } else {
      CommitRequest request{partition, {}, {{key, op.value}}};
      if (op.kind == RegisterOp::Kind::kCompareAndSet) request.preconditions.push_back({key, op.expected});
      status = co_await store->Commit(std::move(request));
    }
    op.end = recorder->clock.fetch_add(1);
    EXPECT_TRUE(status.ok() || absl::IsAborted(status)) << status;
    op.outcome = status.ok() ? RegisterOp::Outcome::kOk : RegisterOp::Outcome::kConflict;
    if (status.ok()) last[key] = op.value;
    recorder->Add(key, op);
  }
}

TEST_P(StoreConformanceTest, HistoriesAreLinearizable) {
  for (int repeat = 0; repeat < 5; ++repeat) {
    const Partition partition{"t", absl::StrCat("history", repeat)};
    Recorder recorder;
    RunTogether(6, [&](int i) { return UseRegisters(&StoreOf(i), partition, repeat * 10 + i, 60, &recorder); });
    ASSERT_EQ(recorder.histories.size(), 3u);
    for (const auto& [key, history] : recorder.histories) {
      EXPECT_TRUE(IsLinearizable(std::nullopt, history)) << key << " in repeat " << repeat;
      // The checker is not blind: it refuses a value that no client wrote.
      std::vector<RegisterOp> forged = history;
      forged.push_back({RegisterOp::Kind::kRead, RegisterOp::Outcome::kOk, std::nullopt, "forged", 1 << 30, 1 << 30});
      EXPECT_FALSE(IsLinearizable(std::nullopt, std::move(forged)));
    }
  }
}

TEST_P(StoreConformanceTest, OneOfManyWritersGetsAName) {
  std::atomic<int> winners{0};
  struct Writers {
    static Task<void> Put(BlobStore* blobs, int i, std::atomic<int>* winners) {
      const size_t size = i % 2 == 0 ? 100 : 400'000;
      const std::string body(size, static_cast<char>('a' + i));
      const absl::Status put = co_await blobs->Put("t", "name", absl::Cord(absl::string_view(body)));
      EXPECT_TRUE(put.ok() || absl::IsAlreadyExists(put)) << put;
      if (put.ok()) winners->fetch_add(1);
    }
  };
  RunTogether(10, [&](int i) { return Writers::Put(&StoreOf(i).blobs(), i, &winners); });
  EXPECT_EQ(winners.load(), 1);
  const std::string body = GetBlob("name");
  EXPECT_EQ(body, std::string(body.size(), body[0]));
}

Task<void> StoreMessages(Store* store, int client, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    const std::string name = absl::StrCat("m", client, "-", round);
    const size_t size = round % 7 == 3 ? 2'500'000 : 2000;
    const std::string bytes(size, 'm');
    const absl::Status put = co_await store->blobs().Put("t", name, absl::Cord(absl::string_view(bytes)));
    EXPECT_TRUE(put.ok()) << put;
    const Partition partition{"t", absl::StrCat("mb/", client % 3)};
    CommitRequest request{partition, {{name, std::nullopt}}, {{name, absl::StrCat(size)}}};
    request.needs_blobs.push_back({"t", name});
    const absl::Status committed = co_await store->Commit(std::move(request));
    EXPECT_TRUE(committed.ok()) << committed;
    const absl::StatusOr<absl::Cord> body = co_await store->blobs().Get("t", name, size - 10, 100);
    EXPECT_TRUE(body.ok() && body->size() == 10);
  }
}

TEST_P(StoreConformanceTest, EveryRowHasItsBlobAfterACrash) {
  RunTogether(12, [&](int i) { return StoreMessages(&StoreOf(i), i, 10); });
  engine_->CrashAndReopen();
  int rows = 0;
  for (int p = 0; p < 3; ++p) {
    const absl::StatusOr<ReadResult> page = Read({{"t", absl::StrCat("mb/", p)}, {}, "m", "", kMaxPageRows});
    ASSERT_TRUE(page.ok());
    for (const Row& row : page->page) {
      ++rows;
      EXPECT_EQ(absl::StrCat(SyncWait(blobs().Size("t", row.key)).value_or(0)), row.value);
      EXPECT_EQ(absl::StrCat(GetBlob(row.key).size()), row.value);
    }
  }
  EXPECT_EQ(rows, 120);
}

}  // namespace
}  // namespace posthouse::store
