// Rows that break an invariant: they cost their folder or their account, as kDataLoss, and nothing else.
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mailbox/folder/account_tree.h"
#include "services/mailbox/folder/folder.h"
#include "services/mailbox/folder/folder_deciders.h"
#include "services/mailbox/folder/sweeper.h"
#include "services/mailbox/rows/folder_index.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"
#include "services/mailbox/testing/mailbox_fixture.h"

namespace posthouse::mailbox {
namespace {

class DamagedRowsTest : public testing::Test {
 protected:
  void Put(store::Partition partition, std::string key, std::string value) {
    ASSERT_TRUE(
        SyncWait(fixture_.store().Commit({std::move(partition), {}, {{std::move(key), std::move(value)}}})).ok());
  }
  static v1::MessageRow Message(uint64_t modseq) {
    v1::MessageRow row;
    row.set_modseq(modseq);
    return row;
  }
  MailboxFixture fixture_;
};

TEST_F(DamagedRowsTest, AMessageBeyondTheNextUidCostsItsFolderOnly) {
  const FolderRef inbox = fixture_.OpenFolder("INBOX")->id();
  fixture_.Add(*fixture_.OpenFolder("INBOX"));
  fixture_.Add(*fixture_.OpenFolder("Sent"));
  Put(FolderPartition(inbox.tenant, inbox.folder_id), MessageKey(Uid(7)), EncodeRow(Message(1)));
  fixture_.Reopen();
  EXPECT_TRUE(absl::IsDataLoss(SyncWait(fixture_.OpenFolder("INBOX")->Uids()).status()));
  EXPECT_EQ(SyncWait(fixture_.OpenFolder("Sent")->Uids()).value()->uids, UidSet({{1, 1}}));
  EXPECT_GT(fixture_.metrics().corrupt_rows.Value(), 0);
}

TEST_F(DamagedRowsTest, AChangeLogThatNamesEveryUidCostsItsFolderOnly) {
  const std::shared_ptr<Folder> folder = fixture_.OpenFolder("INBOX");
  fixture_.Add(*folder);
  (void)SyncWait(folder->Uids());
  // Another process's commit, whose log row says that all UIDs changed.
  const store::Partition partition = FolderPartition(folder->id().tenant, folder->id().folder_id);
  Head head = SyncWait(folder->Snapshot())->head;
  head.highest_modseq = head.highest_modseq.Next();
  v1::ChangeRow change;
  change.add_changed(1);
  change.add_changed(UINT32_MAX);
  Put(partition, ChangeKey(head.highest_modseq), EncodeRow(change));
  Put(partition, HeadKey(), head.Encode());
  FlagChange seen;
  seen.mode = FlagChange::Mode::kAdd;
  seen.flags = v1::FLAG_SEEN;
  EXPECT_TRUE(absl::IsDataLoss(SyncWait(folder->StoreFlags(UidSet::All(), seen)).status()));
  fixture_.Add(*fixture_.OpenFolder("Sent"));
}

TEST_F(DamagedRowsTest, AFolderThatIsItsOwnParentCostsItsAccountOnly) {
  fixture_.OpenAccount("acc1");
  fixture_.OpenAccount("acc2");
  const std::string node = NewId();
  FolderNode loop;
  loop.name = "loop";
  loop.parent = node;
  Put(AccountPartition(TenantId("t1"), AccountId("acc1")), FolderKey(node), EncodeRow(ToRow(loop)));
  fixture_.Reopen();
  EXPECT_TRUE(absl::IsDataLoss(SyncWait(fixture_.mailboxes().OpenAccount(TenantId("t1"), AccountId("acc1"))).status()));
  EXPECT_TRUE(SyncWait(fixture_.mailboxes().OpenAccount(TenantId("t1"), AccountId("acc2"))).ok());
}

TEST_F(DamagedRowsTest, ADamagedHeadKeepsNoOtherFolderFromBeingRecoveredAndSwept) {
  const FolderRef inbox = fixture_.OpenFolder("INBOX")->id();
  const std::shared_ptr<Folder> sent = fixture_.OpenFolder("Sent");
  for (int i = 0; i < 5; ++i) fixture_.Add(*sent);
  const FolderRef sent_ref = sent->id();
  Put(FolderPartition(inbox.tenant, inbox.folder_id), HeadKey(), "\x7f");
  fixture_.ReopenAs(1);  // the log rows of Sent end before the jump
  fixture_.Add(*fixture_.OpenFolder("Sent"));
  Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
  EXPECT_TRUE(SyncWait(sweeper.RecoverAll()).ok());
  EXPECT_GT(fixture_.metrics().corrupt_rows.Value(), 0);
  SyncWait(sweeper.Sweep()).status().IgnoreError();
  store::ReadRequest request{
      .partition = FolderPartition(sent_ref.tenant, sent_ref.folder_id), .prefix = kChangePrefix, .limit = 100};
  EXPECT_EQ(SyncWait(fixture_.store().Read(std::move(request)))->page.size(), 1u);
}

TEST(AccountTreeTest, ACycleOfAnyLengthIsFound) {
  AccountTree tree;
  FolderNode node;
  for (int i = 0; i < 5; ++i) {
    node.name = std::string(1, static_cast<char>('a' + i));
    node.parent = i == 0 ? "" : std::string(1, static_cast<char>('A' + i - 1));
    tree.Put(std::string(1, static_cast<char>('A' + i)), node);
  }
  EXPECT_TRUE(tree.Acyclic());
  node.name = "b";
  node.parent = "E";
  tree.Put("B", node);
  EXPECT_FALSE(tree.Acyclic());
}

TEST(CopyBatchTest, ARowOfMoreMessagesThanACommitHasIsDamaged) {
  v1::CopyBatchRow row;
  for (auto* side : {row.mutable_from(), row.mutable_to()}) {
    side->Add(1);
    side->Add(UINT32_MAX);
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeCopyBatch(EncodeRow(row)).status()));
}

TEST(FolderIndexTest, AMessageMayComeInAnyOrder) {
  FolderIndex index;
  v1::MessageRow row;
  for (const uint32_t uid : {5u, 3u, 9u, 3u}) index.Put(Uid(uid), row);
  EXPECT_EQ(index.Uids(), UidSet({{3, 3}, {5, 5}, {9, 9}}));
}

TEST(IntentKeyTest, AnOperationIdThatNoCallerMaySendIsDamage) {
  std::string key = kIntentPrefix;
  key.push_back(100);
  key.append(100, 'o');
  EXPECT_TRUE(absl::IsDataLoss(OperationOfIntentKey(key).status()));
  EXPECT_EQ(*OperationOfIntentKey(IntentKey("op")), "op");
}

}  // namespace
}  // namespace posthouse::mailbox
