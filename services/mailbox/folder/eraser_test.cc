// What is left of an account whose mail is erased, also when the process dies at any step.
#include "services/mailbox/folder/eraser.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/mailbox/testing/mailbox_fixture.h"

namespace posthouse::mailbox {
namespace {

using Code = absl::StatusCode;
const TenantId kTenant("t1");

class EraserTest : public testing::Test {
 protected:
  EraserTest() { Reopen(); }
  void Reopen() {
    eraser_.reset();
    fixture_.Reopen();
    eraser_ = std::make_unique<Eraser>(fixture_.deps(), fixture_.mailboxes());
  }
  // Three messages, one of them in a folder of its own.
  void Fill(const std::string& id) {
    const std::shared_ptr<Account> account = fixture_.OpenAccount(id);
    ASSERT_TRUE(SyncWait(account->Create("a/b", "")).ok());
    ASSERT_TRUE(SyncWait(account->Subscribe("later", true)).ok());
    const std::shared_ptr<Folder> inbox = fixture_.OpenFolder("INBOX", id);
    fixture_.Add(*inbox);
    fixture_.Add(*inbox);
    fixture_.Add(*fixture_.OpenFolder("a/b", id));
  }
  void Delete(const std::string& id, bool ours = true) {
    directory().Delete(id);
    directory().AddDue({kTenant, AccountId(id), ours});
  }
  absl::Status Run() { return SyncWait(eraser_->Run()).status(); }
  std::vector<std::string> RowsOf(const std::string& id) {
    store::ReadRequest read;
    read.partition = AccountPartition(kTenant, AccountId(id));
    read.prefix = "";
    read.limit = store::kMaxPageRows;
    std::vector<std::string> keys;
    const store::ReadResult found = *SyncWait(fixture_.store().Read(std::move(read)));
    for (const store::Row& row : found.page) {
      if (!row.key.starts_with(kTreeChangePrefix)) keys.push_back(row.key);
    }
    return keys;
  }
  size_t FolderPartitions() {
    return SyncWait(fixture_.store().List(kTenant.value(), kFolderPartitionPrefix, "", 1000))->size();
  }
  size_t Tombstones() {
    store::ReadRequest read;
    read.partition = SystemPartition();
    read.prefix = kErasedPrefix;
    read.limit = 100;
    return SyncWait(fixture_.store().Read(std::move(read)))->page.size();
  }
  FakeRegistry& directory() { return fixture_.registry(); }

  MailboxFixture fixture_;
  std::unique_ptr<Eraser> eraser_;
};

TEST_F(EraserTest, OnlyRowSIsLeftAndTheCountsAreReported) {
  Fill("gone");
  const size_t before = FolderPartitions();
  Fill("stays");
  const size_t of_one = FolderPartitions() - before;
  Delete("gone");
  EXPECT_EQ(Run(), absl::OkStatus());
  EXPECT_EQ(RowsOf("gone"), std::vector<std::string>{"S"});
  EXPECT_EQ(FolderPartitions(), of_one);
  const auto erased = directory().ErasedOf("gone");
  ASSERT_TRUE(erased.has_value());
  EXPECT_EQ(erased->folders, 5u);  // INBOX, Sent, Trash, a, a/b
  EXPECT_EQ(erased->messages, 3u);
  EXPECT_GT(erased->bytes, 0u);
  EXPECT_EQ(fixture_.metrics().erased_accounts.Value(), 1);
  EXPECT_EQ(fixture_.metrics().erasures_pending.Value(), 0);
  // Even if the directory took it back: nothing is made again.
  directory().Undelete("gone");
  EXPECT_EQ(SyncWait(fixture_.mailboxes().OpenAccount(kTenant, AccountId("gone"))).status().code(), Code::kNotFound);
  EXPECT_EQ(SyncWait(fixture_.OpenFolder("INBOX", "stays")->Snapshot())->head.exists, 2u);
}

TEST_F(EraserTest, NothingIsErasedWithoutTheDirectorysWord) {
  Fill("acc1");
  Delete("acc1");
  for (const absl::Status& answer : {absl::FailedPreconditionError("undeleted"), absl::NotFoundError("no such account"),
                                     absl::UnavailableError("away")}) {
    directory().SetBegin(answer);
    Run().IgnoreError();
    EXPECT_FALSE(directory().ErasedOf("acc1").has_value());
  }
  directory().Undelete("acc1");
  EXPECT_EQ(SyncWait(fixture_.OpenFolder("INBOX")->Snapshot())->head.exists, 2u);
}

TEST_F(EraserTest, AProcessThatDiesAtAnyCommitGoesOnAfterTheNextStart) {
  int crashes = 0;
  for (bool finished = false; !finished; ++crashes) {
    const std::string id = absl::StrCat("acc", crashes);
    Fill(id);
    Delete(id);
    int left = crashes;
    bool dead = false;
    fixture_.disk().SetCommitHook([&](const store::CommitRequest&, bool* apply_anyway) {
      if (dead) return absl::UnavailableError("dead");
      if (left-- > 0) return absl::OkStatus();
      dead = true;
      *apply_anyway = crashes % 2 == 1;  // the answer is lost, or the commit, too
      return absl::UnavailableError("dying");
    });
    finished = Run().ok();
    fixture_.disk().SetCommitHook(nullptr);
    Reopen();
    // Whatever is left is not reachable.
    EXPECT_EQ(SyncWait(fixture_.mailboxes().OpenAccount(kTenant, AccountId(id))).status().code(), Code::kNotFound);
    EXPECT_EQ(Run(), absl::OkStatus());
    EXPECT_EQ(RowsOf(id), std::vector<std::string>{"S"}) << crashes;
    EXPECT_EQ(FolderPartitions(), 0u) << crashes;
    ASSERT_TRUE(directory().ErasedOf(id).has_value()) << crashes;
  }
  EXPECT_GE(crashes, 8);  // the doom, five folders with two commits each, row e/, the end
}

TEST_F(EraserTest, AnAccountThatNeverHadMailIsReportedAtOnce) {
  Delete("acc1");
  EXPECT_EQ(Run(), absl::OkStatus());
  EXPECT_TRUE(directory().ErasedOf("acc1").has_value());
  EXPECT_TRUE(RowsOf("acc1").empty());
}

TEST_F(EraserTest, MailThatStayedBehindIsErasedAndNotReported) {
  Fill("acc1");
  Delete("acc1", /*ours=*/false);
  EXPECT_EQ(Run(), absl::OkStatus());
  EXPECT_EQ(RowsOf("acc1"), std::vector<std::string>{"S"});
  EXPECT_FALSE(directory().ErasedOf("acc1").has_value());
}

TEST_F(EraserTest, TheTombstoneGoesAfterFourteenDays) {
  Fill("acc1");
  Delete("acc1");
  EXPECT_EQ(Run(), absl::OkStatus());
  EXPECT_EQ(Tombstones(), 1u);
  fixture_.Advance(Eraser::kTombstone - absl::Minutes(1));
  EXPECT_EQ(Run(), absl::OkStatus());
  EXPECT_EQ(RowsOf("acc1").size(), 1u);
  fixture_.Advance(absl::Minutes(2));
  EXPECT_EQ(Run(), absl::OkStatus());
  EXPECT_TRUE(RowsOf("acc1").empty());
  EXPECT_EQ(Tombstones(), 0u);
}

TEST_F(EraserTest, AManyFoldersAccountIsErasedInSeveralCommits) {
  const std::shared_ptr<Account> account = fixture_.OpenAccount();
  for (int i = 0; i < 450; ++i) ASSERT_TRUE(SyncWait(account->Create(absl::StrCat("f", i), "")).ok());
  Delete("acc1");
  EXPECT_EQ(Run(), absl::OkStatus());
  EXPECT_EQ(FolderPartitions(), 0u);
  EXPECT_EQ(directory().ErasedOf("acc1")->folders, 453u);
}

// A folder that is destroyed refuses every writer, also one that has its old head in memory.
TEST_F(EraserTest, AnotherWriterCannotPutRowsBackIntoADestroyedFolder) {
  fixture_.OpenAccount();
  Mailboxes other(fixture_.deps());
  const auto same = *SyncWait(other.OpenAccount(kTenant, AccountId("acc1")));
  const FolderId inbox = same->inbox_id();
  const auto theirs = *SyncWait(other.OpenFolder(same, inbox));
  fixture_.Add(*theirs);
  Delete("acc1");
  EXPECT_EQ(Run(), absl::OkStatus());
  EXPECT_EQ(SyncWait(theirs->Append(fixture_.MakeMessage("Subject: late\r\n\r\n"))).status().code(), Code::kNotFound);
  EXPECT_EQ(FolderPartitions(), 0u);
}

// The ordinary deletion of a folder, cut short.
TEST_F(EraserTest, AFolderWhoseDestructionWasCutShortIsDestroyedWhenTheAccountIsOpened) {
  const std::shared_ptr<Account> account = fixture_.OpenAccount();
  const size_t before = FolderPartitions();
  ASSERT_TRUE(SyncWait(account->Create("a", "")).ok());
  ASSERT_TRUE(SyncWait(account->Delete("a")).ok());
  EXPECT_EQ(account->Doomed().size(), 1u);
  Reopen();
  EXPECT_TRUE(fixture_.OpenAccount()->Doomed().empty());
  EXPECT_EQ(FolderPartitions(), before);
}

}  // namespace
}  // namespace posthouse::mailbox
