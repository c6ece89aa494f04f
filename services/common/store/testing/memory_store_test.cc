#include "services/common/store/testing/memory_store.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "services/common/async/task.h"
#include "services/common/store/conformance/engine.h"

namespace posthouse::store {
namespace {

class MemoryEngine final : public Engine {
 public:
  explicit MemoryEngine(uint64_t seed) : disk_(std::make_shared<MemoryDisk>(EngineLimits(), seed)) { Open(); }
  ~MemoryEngine() override { EXPECT_EQ(disk_->commits_without_blobs(), 0u); }
  Store& store() override { return *first_; }
  Store& second_store() override { return *second_; }
  void CrashAndReopen() override {
    first_.reset();
    second_.reset();
    disk_->PowerLoss();
    Open();
  }
  void SetFull(bool full) override { disk_->SetFreeBytes(full ? 10 : 1000, 100); }
  void SetStalled(bool stalled) override { stalled ? disk_->Stall() : disk_->Resume(); }
  void SetAnswersLost(bool lost) override {
    disk_->SetFates(lost ? CommitFates{.happened = 25, .never = 25, .late = 50} : CommitFates());
  }
  void SettleUnknownCommits() override { disk_->LandLate(); }

 private:
  void Open() {
    first_ = std::make_unique<MemoryStore>(disk_);
    second_ = std::make_unique<MemoryStore>(disk_);
  }
  const std::shared_ptr<MemoryDisk> disk_;
  std::unique_ptr<Store> first_;
  std::unique_ptr<Store> second_;
};

template <uint64_t seed>
std::unique_ptr<Engine> MakeMemoryEngine() {
  return std::make_unique<MemoryEngine>(seed);
}

INSTANTIATE_TEST_SUITE_P(Memory, StoreConformanceTest,
                         testing::Values(&MakeMemoryEngine<1>, &MakeMemoryEngine<2>, &MakeMemoryEngine<3>));

class MemoryDiskTest : public testing::Test {
 protected:
  static CommitRequest Change(const std::string& from, const std::string& to) {
    CommitRequest request{.partition = {"t", "p"}};
    request.preconditions.push_back({"head", from.empty() ? std::nullopt : std::optional<std::string>(from)});
    request.mutations.push_back({"head", to});
    return request;
  }
  absl::StatusCode Commit(CommitRequest request) { return SyncWait(store_.Commit(std::move(request))).code(); }
  std::string Head() { return SyncWait(other_.Read({{"t", "p"}, {"head"}}))->values[0].value_or(""); }
  std::string BlobNames(uint64_t seed) {
    MemoryStore store(std::make_shared<MemoryDisk>(EngineLimits(), seed));
    for (const char* name : {"a", "b", "c", "d", "e"})
      EXPECT_TRUE(SyncWait(store.blobs().Put("t", name, absl::Cord())).ok());
    std::string names;
    const BlobPage page = *SyncWait(store.blobs().List("t", "", 9));
    for (const BlobInfo& blob : page.blobs) names += blob.name;
    return names;
  }

  const std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>(EngineLimits{.max_partition_rows = 64});
  MemoryStore store_{disk_};
  MemoryStore other_{disk_};
};

TEST_F(MemoryDiskTest, EachFateIsWhatItSays) {
  ASSERT_EQ(Commit(Change("", "0")), absl::StatusCode::kOk);
  CommitFate fate = CommitFate::kAnswered;
  disk_->SetFates([&fate](const CommitRequest&) { return fate; });
  fate = CommitFate::kHappened;
  EXPECT_EQ(Commit(Change("0", "1")), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Head(), "1");
  fate = CommitFate::kNever;
  EXPECT_EQ(Commit(Change("1", "2")), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(disk_->late_commits(), 0u);
  fate = CommitFate::kLate;
  EXPECT_EQ(Commit(Change("1", "3")), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Commit(Change("1", "4")), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Head(), "1");
  EXPECT_EQ(disk_->late_commits(), 2u);
  disk_->LandLate();  // one of the two, and the other no longer finds its base
  EXPECT_EQ(disk_->late_commits(), 0u);
  const std::string head = Head();
  EXPECT_TRUE(head == "3" || head == "4") << head;
  EXPECT_EQ(Commit(Change(head, "5")), absl::StatusCode::kDeadlineExceeded);
  disk_->DropLate();
  disk_->LandLate();
  EXPECT_EQ(Head(), head);
}

TEST_F(MemoryDiskTest, ARunRepeatsBySeed) {
  const auto run = [](uint64_t seed) {
    MemoryStore store(std::make_shared<MemoryDisk>(EngineLimits(), seed));
    store.disk().SetFates(CommitFates{.happened = 20, .never = 20, .late = 40});
    std::string story;
    for (int i = 0; i < 60; ++i) {
      CommitRequest request{.partition = {"t", "p"}};
      request.mutations.push_back({"k", absl::StrCat(i)});
      const absl::Status status = SyncWait(store.Commit(std::move(request)));
      const ReadResult read = *SyncWait(store.Read({{"t", "p"}, {"k"}}));
      absl::StrAppend(&story, status.ok() ? "+" : "?", read.values[0].value_or(""), " ");
    }
    return story;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST_F(MemoryDiskTest, BlobsAreNotListedInTheOrderOfTheirNames) {
  EXPECT_EQ(BlobNames(1), BlobNames(1));
  EXPECT_TRUE(BlobNames(1) != "abcde" || BlobNames(2) != "abcde");
}

TEST_F(MemoryDiskTest, APartitionHasAtMostTheRowsOfTheLimit) {
  CommitRequest fill{.partition = {"t", "p"}};
  for (int i = 0; i < 64; ++i) fill.mutations.push_back({absl::StrCat("r", i), "v"});
  ASSERT_EQ(Commit(fill), absl::StatusCode::kOk);
  EXPECT_EQ(Commit(fill), absl::StatusCode::kOk);  // replaces
  EXPECT_EQ(Commit(Change("", "one more")), absl::StatusCode::kInvalidArgument);
  CommitRequest swap = Change("", "in place of r0");
  swap.mutations.push_back({"r0", std::nullopt});
  EXPECT_EQ(Commit(swap), absl::StatusCode::kOk);
  swap.partition.id = "another";
  EXPECT_EQ(Commit(swap), absl::StatusCode::kOk);
}

TEST_F(MemoryDiskTest, APowerLossTakesBlobsThatNoCommitNeeded) {
  for (const char* name : {"needed", "not needed", "needed in vain"}) {
    ASSERT_TRUE(SyncWait(store_.blobs().Put("t", name, absl::Cord(name))).ok());
  }
  CommitRequest commit = Change("", "1");
  commit.needs_blobs = {{"t", "needed"}};
  ASSERT_EQ(Commit(commit), absl::StatusCode::kOk);
  commit.needs_blobs = {{"t", "needed in vain"}};
  EXPECT_EQ(Commit(commit), absl::StatusCode::kAborted);
  commit = Change("1", "2");
  commit.needs_blobs = {{"t", "never finished"}};
  EXPECT_EQ(Commit(commit), absl::StatusCode::kInvalidArgument);
  disk_->PowerLoss();
  MemoryStore after(disk_);
  const BlobPage page = *SyncWait(after.blobs().List("t", "", 9));
  ASSERT_EQ(page.blobs.size(), 1u);
  EXPECT_EQ(page.blobs[0].name, "needed");
}

TEST_F(MemoryDiskTest, ALateCommitWhoseBlobWasDeletedIsCounted) {
  ASSERT_TRUE(SyncWait(store_.blobs().Put("t", "b", absl::Cord("body"))).ok());
  disk_->SetFates([](const CommitRequest&) { return CommitFate::kLate; });
  CommitRequest commit = Change("", "1");
  commit.needs_blobs = {{"t", "b"}};
  EXPECT_EQ(Commit(commit), absl::StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(SyncWait(store_.blobs().Delete("t", "b")).ok());
  EXPECT_EQ(disk_->commits_without_blobs(), 0u);
  disk_->LandLate();
  EXPECT_EQ(disk_->commits_without_blobs(), 1u);
}

TEST_F(MemoryDiskTest, CallsWaitWhileTheDiskIsStalled) {
  struct Calls {
    static Task<void> Commit(Store* store, CommitRequest request, std::vector<std::string>* log) {
      const absl::Status status = co_await store->Commit(std::move(request));
      log->push_back(absl::StrCat("commit ", status.ok() ? "ok" : "refused"));
    }
    static Task<void> Read(Store* store, std::vector<std::string>* log) {
      const absl::StatusOr<ReadResult> read = co_await store->Read({{"t", "p"}, {"head"}});
      log->push_back("read " + read->values[0].value_or("nothing"));
    }
  };
  std::vector<std::string> log;
  disk_->Stall();
  SpawnHere(Calls::Read(&other_, &log));
  SpawnHere(Calls::Commit(&store_, Change("", "1"), &log));
  SpawnHere(Calls::Commit(&other_, Change("", "2"), &log));
  SpawnHere(Calls::Read(&store_, &log));
  EXPECT_TRUE(log.empty());
  disk_->Resume();
  EXPECT_EQ(log, (std::vector<std::string>{"read nothing", "commit ok", "commit refused", "read 1"}));
}

TEST_F(MemoryDiskTest, HealthIsWhatTheTestSays) {
  EXPECT_TRUE(store_.Health().ok());
  disk_->SetHealth(absl::UnavailableError("no quorum"));
  EXPECT_TRUE(absl::IsUnavailable(other_.Health()));
}

TEST(MemoryStoreTest, ACommitHookDecidesTheAnswerAndTheTruth) {
  MemoryStore store;
  const auto commit = [&](const std::string& key) { return SyncWait(store.Commit({{"t", "p"}, {}, {{key, "v"}}})); };
  const auto has = [&](const std::string& key) {
    return SyncWait(store.Read({{"t", "p"}, {key}}))->values[0].has_value();
  };
  store.disk().SetCommitHook([](const CommitRequest& request, bool* apply_anyway) {
    *apply_anyway = request.mutations[0].key == "applied";
    return absl::DeadlineExceededError("unknown");
  });
  EXPECT_TRUE(absl::IsDeadlineExceeded(commit("applied")));
  EXPECT_TRUE(absl::IsDeadlineExceeded(commit("not applied")));
  store.disk().SetCommitHook(nullptr);
  EXPECT_TRUE(has("applied"));
  EXPECT_FALSE(has("not applied"));
  store.disk().SetReadError(absl::UnavailableError("down"));
  EXPECT_TRUE(absl::IsUnavailable(SyncWait(store.Read({{"t", "p"}, {"k"}})).status()));
  EXPECT_TRUE(absl::IsUnavailable(SyncWait(store.blobs().Size("t", "b")).status()));
}

}  // namespace
}  // namespace posthouse::store
