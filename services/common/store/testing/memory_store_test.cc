#include "services/common/store/testing/memory_store.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "services/common/async/task.h"
#include "services/common/store/conformance/engine.h"

namespace posthouse::store {
namespace {

class MemoryEngine final : public Engine {
 public:
  Store& store() override { return *store_; }
  void CrashAndReopen() override { store_ = std::make_unique<MemoryStore>(disk_); }
  void SetFull(bool full) override { disk_->SetFreeBytes(full ? 10 : 1000, 100); }

 private:
  const std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<Store> store_ = std::make_unique<MemoryStore>(disk_);
};

std::unique_ptr<Engine> MakeMemoryEngine() { return std::make_unique<MemoryEngine>(); }

INSTANTIATE_TEST_SUITE_P(Memory, StoreConformanceTest, testing::Values(&MakeMemoryEngine));

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
