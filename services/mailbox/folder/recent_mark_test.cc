#include "services/mailbox/folder/recent_mark.h"

#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "services/common/ids/ids.h"
#include "services/common/store/testing/memory_store.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {
namespace {

class RecentMarkTest : public testing::Test {
 protected:
  // One object of a process of its own.
  struct Process {
    explicit Process(const std::shared_ptr<store::MemoryDisk>& disk)
        : store(disk), mark(store, FolderPartition(TenantId("t1"), FolderId("f")), nullptr) {}
    uint32_t Told() { return SyncWait(mark.Told())->value(); }
    uint32_t Claim(uint32_t uid) { return SyncWait(mark.Claim(Uid(uid)))->value(); }
    store::MemoryStore store;
    RecentMark mark;
  };

  const std::shared_ptr<store::MemoryDisk> disk_ = std::make_shared<store::MemoryDisk>();
};

// RFC 3501 §2.3.2
TEST_F(RecentMarkTest, EachMessageIsInOneClaim) {
  Process process(disk_);
  EXPECT_EQ(process.Told(), 0u);
  EXPECT_EQ(process.Claim(3), 0u);  // 1:3 are the first session's
  EXPECT_EQ(process.Claim(3), 3u);
  EXPECT_EQ(process.Claim(5), 3u);
  EXPECT_EQ(process.Claim(4), 5u);
  EXPECT_EQ(process.Told(), 5u);
}

TEST_F(RecentMarkTest, AClaimOutlivesTheProcess) {
  Process(disk_).Claim(3);
  Process after(disk_);
  EXPECT_EQ(after.Claim(4), 3u);
}

TEST_F(RecentMarkTest, TwoProcessesShareNoMessage) {
  Process first(disk_);
  Process second(disk_);
  EXPECT_EQ(first.Told(), 0u);
  EXPECT_EQ(second.Told(), 0u);
  EXPECT_EQ(first.Claim(3), 0u);
  EXPECT_EQ(second.Claim(5), 3u);  // it had read 0
  EXPECT_EQ(first.Claim(6), 5u);
}

TEST_F(RecentMarkTest, AClaimThatCannotBeWrittenHoldsInMemory) {
  Process process(disk_);
  disk_->SetCommitHook([](const store::CommitRequest&, bool*) { return absl::ResourceExhaustedError("full"); });
  EXPECT_EQ(process.Claim(3), 0u);
  EXPECT_EQ(process.Claim(3), 3u);
  disk_->SetCommitHook(nullptr);
  EXPECT_EQ(process.Claim(4), 3u);
  EXPECT_EQ(Process(disk_).Told(), 4u);
}

// The first process's row has the same UIDs as the second's: the nonce tells whose it is.
TEST_F(RecentMarkTest, AClaimWithAnUnknownOutcomeIsTakenOnce) {
  for (const bool happens : {true, false}) {
    Process process(disk_);
    const uint32_t before = process.Told();
    auto left = std::make_shared<int>(1);
    disk_->SetCommitHook([left, happens](const store::CommitRequest&, bool* apply_anyway) {
      if ((*left)-- <= 0) return absl::OkStatus();
      *apply_anyway = happens;
      return absl::DeadlineExceededError("timed out");
    });
    EXPECT_EQ(process.Claim(before + 3), before);
    disk_->SetCommitHook(nullptr);
    EXPECT_EQ(process.Claim(before + 3), before + 3);
    EXPECT_EQ(Process(disk_).Told(), before + 3);
  }
}

TEST_F(RecentMarkTest, AnUnknownClaimThatAnotherProcessPassedIsOfTheFirst) {
  Process first(disk_);
  Process second(disk_);
  bool armed = true;
  disk_->SetCommitHook([&](const store::CommitRequest&, bool* apply_anyway) {
    if (!std::exchange(armed, false)) return absl::OkStatus();
    *apply_anyway = true;
    return absl::DeadlineExceededError("timed out");
  });
  EXPECT_EQ(first.Claim(3), 0u);
  disk_->SetCommitHook(nullptr);
  EXPECT_EQ(second.Claim(5), 3u);
  EXPECT_EQ(first.Claim(6), 5u);
}

TEST_F(RecentMarkTest, ADamagedRowCostsNothingButTheMark) {
  Process process(disk_);
  ASSERT_TRUE(
      SyncWait(process.store.Commit({FolderPartition(TenantId("t1"), FolderId("f")), {}, {{RecentKey(), "rot"}}}))
          .ok());
  EXPECT_EQ(process.Claim(3), 0u);
  EXPECT_EQ(Process(disk_).Told(), 3u);
}

}  // namespace
}  // namespace posthouse::mailbox
