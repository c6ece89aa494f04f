#include "services/mailbox/folder/mover.h"
#include "services/common/uid_set/uid_set.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/common/async/thread_pool.h"
#include "services/common/async/when_all.h"
#include "services/mailbox/folder/sweeper.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/testing/mailbox_fixture.h"

namespace posthouse::mailbox {
namespace {

class MoverTest : public testing::Test {
 protected:
  MoverTest() {
    Open();
    for (int i = 1; i <= 4; ++i) fixture_.Add(*inbox_, std::string(static_cast<size_t>(i), 'x'), 0, {"kw"});
  }
  void Open() {
    account_ = fixture_.OpenAccount();
    inbox_ = fixture_.OpenFolder("INBOX");
    trash_ = fixture_.OpenFolder("Trash");
  }
  void Reopen() {
    account_ = nullptr;
    inbox_ = trash_ = nullptr;
    fixture_.Reopen();
    Open();
  }
  absl::StatusOr<CopyDone> Copy(UidSet uids, bool move, std::string operation_id = "") {
    CopyOrder order;
    order.uids = std::move(uids);
    order.move = move;
    order.operation_id = std::move(operation_id);
    order.quota = quota_;
    return SyncWait(CopyMessages(fixture_.deps(), fixture_.mailboxes(), account_, inbox_, trash_, std::move(order)));
  }
  static UidSet Uids(Folder& folder) { return (*SyncWait(folder.Uids()))->uids; }
  // Sizes name the messages: how often each is in the two folders.
  std::map<uint64_t, int> Census() {
    std::map<uint64_t, int> out;
    for (Folder* f : {inbox_.get(), trash_.get()}) {
      const std::vector<MessageMeta> messages = *SyncWait(f->Select(UidSet::All(), Uid(), 10000));
      for (const MessageMeta& m : messages) ++out[m.size_bytes];
    }
    return out;
  }

  MailboxFixture fixture_;
  Quota quota_;
  std::shared_ptr<Account> account_;
  std::shared_ptr<Folder> inbox_;
  std::shared_ptr<Folder> trash_;
};

TEST_F(MoverTest, CopyKeepsFlagsKeywordsAndTheBody) {
  const CopyDone done = *Copy(UidSet({{2, 9}}), false);
  EXPECT_EQ(done.uids, (std::vector<std::pair<Uid, Uid>>{{Uid(2), Uid(1)}, {Uid(3), Uid(2)}, {Uid(4), Uid(3)}}));
  std::vector<std::string> bits;
  const auto copies = *SyncWait(trash_->Select(UidSet::All(), Uid(), 10, &bits));
  EXPECT_EQ(copies[0].size_bytes, 2u);
  EXPECT_EQ(bits[0], "\x01");
  EXPECT_EQ(SyncWait(trash_->Snapshot())->keywords, std::vector<std::string>{"kw"});
  EXPECT_EQ(Uids(*inbox_), UidSet({{1, 4}}));
}

TEST_F(MoverTest, ARepeatedCopyAnswersTheSame) {
  const CopyDone first = *Copy(UidSet::All(), false, "op");
  Reopen();
  const CopyDone again = *Copy(UidSet::All(), false, "op");
  EXPECT_EQ(again.uids, first.uids);
  EXPECT_EQ(Uids(*trash_), UidSet({{1, 4}}));
  EXPECT_EQ(Copy(UidSet({{1, 1}}), false, "op2")->uids.size(), 1u);
}

TEST_F(MoverTest, ARepeatedMoveAnswersTheSame) {
  const CopyDone first = *Copy(UidSet({{1, 2}}), true, "op");
  EXPECT_EQ(first.uids.size(), 2u);
  Reopen();
  const CopyDone again = *Copy(UidSet({{1, 2}}), true, "op");
  EXPECT_EQ(again.uids, first.uids);
  EXPECT_EQ(Uids(*inbox_), UidSet({{3, 4}}));
  EXPECT_EQ(Uids(*trash_), UidSet({{1, 2}}));
}

TEST_F(MoverTest, NothingToCopyIsFine) {
  EXPECT_TRUE(Copy(UidSet({{100, 200}}), true)->uids.empty());  // RFC 9051 §6.4.7
  EXPECT_EQ(SyncWait(inbox_->Snapshot())->head.intents, 0u);
}

// RFC 3501 §6.4.7, RFC 2180 §4.4.1
TEST_F(MoverTest, OfAllMessagesOneThatIsGoneStopsCopyAndMove) {
  ASSERT_TRUE(SyncWait(inbox_->Expunge(UidSet({{2, 2}}), /*even_undeleted=*/true)).ok());
  for (const bool move : {false, true}) {
    CopyOrder order;
    order.uids = UidSet({{1, 3}});
    order.move = move;
    order.all = true;
    const CopyDone done =
        *SyncWait(CopyMessages(fixture_.deps(), fixture_.mailboxes(), account_, inbox_, trash_, std::move(order)));
    EXPECT_TRUE(done.gone);
    EXPECT_TRUE(done.uids.empty());
    EXPECT_TRUE(Uids(*trash_).empty());
    EXPECT_EQ(Uids(*inbox_).Count(), 3u);
  }
  CopyOrder order;
  order.uids = UidSet({{3, 4}});
  order.all = true;
  const CopyDone done =
      *SyncWait(CopyMessages(fixture_.deps(), fixture_.mailboxes(), account_, inbox_, trash_, std::move(order)));
  EXPECT_FALSE(done.gone);
  EXPECT_EQ(done.uids.size(), 2u);
}

TEST_F(MoverTest, CopyIntoTheSameFolderEnds) {
  CopyOrder order;
  order.uids = UidSet::All();
  const auto done =
      *SyncWait(CopyMessages(fixture_.deps(), fixture_.mailboxes(), account_, inbox_, inbox_, std::move(order)));
  EXPECT_EQ(done.uids.size(), 4u);
  EXPECT_EQ(Uids(*inbox_), UidSet({{1, 8}}));
}

TEST_F(MoverTest, MoveIntoTheSameFolderGivesNewUids) {
  CopyOrder order;
  order.uids = UidSet::All();
  order.move = true;
  ASSERT_TRUE(
      SyncWait(CopyMessages(fixture_.deps(), fixture_.mailboxes(), account_, inbox_, inbox_, std::move(order))).ok());
  EXPECT_EQ(Uids(*inbox_), UidSet({{5, 8}}));
}

TEST_F(MoverTest, CopyOverQuotaCopiesNothingAndMoveIsFree) {
  quota_.bytes = 12;
  EXPECT_EQ(Copy(UidSet::All(), false).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Uids(*trash_).empty());
  EXPECT_TRUE(Copy(UidSet({{2, 2}}), false).ok());
  EXPECT_TRUE(Copy(UidSet::All(), true).ok());
}

// The messages and the keywords that they bring are more rows than one commit takes.
TEST_F(MoverTest, NoKeywordIsLostOnTheWay) {
  for (int i = 0; i < 600; ++i) fixture_.Add(*inbox_, "x", 0, {absl::StrCat("k", i % 450)});
  const uint64_t all = Uids(*inbox_).Count();
  for (const bool move : {false, true}) {
    EXPECT_EQ(Copy(UidSet::All(), move)->uids.size(), all);
    std::vector<std::string> bits;
    const auto copies = *SyncWait(trash_->Select(UidSet::All(), Uid(), 2000, &bits));
    for (size_t i = 4; i < bits.size(); ++i) EXPECT_FALSE(bits[i].empty()) << i;
    EXPECT_EQ(SyncWait(trash_->Snapshot())->keywords.size(), 451u);  // one is of the messages before
  }
  EXPECT_EQ(fixture_.metrics().keywords_dropped.Value(), 0);
}

TEST_F(MoverTest, SeveralBatches) {
  std::vector<Task<absl::StatusOr<AppendResult>>> tasks;
  for (int i = 0; i < 2000; ++i) tasks.push_back(inbox_->Append(fixture_.MakeMessage("y")));
  for (const auto& r : SyncWait(WhenAll(std::move(tasks)))) ASSERT_TRUE(r.ok());
  const CopyDone done = *Copy(UidSet::All(), true, "op");
  EXPECT_EQ(done.uids.size(), 2004u);
  EXPECT_TRUE(Uids(*inbox_).empty());
  EXPECT_EQ(Uids(*trash_), UidSet({{1, 2004}}));
  Reopen();
  EXPECT_EQ(Copy(UidSet::All(), true, "op")->uids, done.uids);
}

// Every commit of the move, in turn, is the last one before the crash; each outcome
// of that commit is tried; and whoever comes first afterwards finds each message once.
TEST_F(MoverTest, ACrashAtAnyStepLosesAndDoublesNothing) {
  enum class Outcome { kLost, kKept };
  enum class Next { kOpen, kRecoverAll, kRepeat };
  int crashes = 0;
  for (const Next next : {Next::kOpen, Next::kRecoverAll, Next::kRepeat}) {
    for (const Outcome outcome : {Outcome::kLost, Outcome::kKept}) {
      for (int step = 0;; ++step) {
        const std::map<uint64_t, int> before = Census();
        const size_t in_inbox = Uids(*inbox_).Count();
        int left = step;
        bool crashed = false;
        fixture_.disk().SetCommitHook([&](const store::CommitRequest&, bool* apply_anyway) {
          if (crashed) return absl::UnavailableError("dead");
          if (left-- > 0) return absl::OkStatus();
          crashed = true;
          *apply_anyway = outcome == Outcome::kKept;
          return absl::UnavailableError("dying");
        });
        const std::string op = absl::StrCat("op", static_cast<int>(next), static_cast<int>(outcome), "-", step);
        // Two messages move; where from depends on how the last rounds ended.
        if (in_inbox < 2) std::swap(inbox_, trash_);
        const UidSet all = Uids(*inbox_);
        const UidSet two({{all.Expand()[0].value(), all.Expand()[1].value()}});
        const bool ok = Copy(two, true, op).ok();
        fixture_.disk().SetCommitHook(nullptr);
        const FolderId from = inbox_->id().folder_id;
        Reopen();
        if (inbox_->id().folder_id != from) std::swap(inbox_, trash_);
        if (next == Next::kRecoverAll) {
          Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
          ASSERT_TRUE(SyncWait(sweeper.RecoverAll()).ok());
        }
        if (next == Next::kRepeat) {
          const auto again = Copy(two, true, op);
          ASSERT_TRUE(again.ok()) << again.status();
          EXPECT_EQ(again->uids.size(), 2u) << step;
          EXPECT_FALSE(Uids(*inbox_).Contains(two.Min()));
        }
        EXPECT_EQ(Census(), before) << "step " << step;
        EXPECT_EQ(SyncWait(inbox_->Snapshot())->head.intents, 0u);
        EXPECT_EQ(SyncWait(trash_->Snapshot())->head.intents, 0u);
        if (ok) break;
        ++crashes;
        ASSERT_LT(step, 50);
      }
    }
  }
  EXPECT_GE(crashes, 18);  // three steps at least, each way
  EXPECT_GT(fixture_.metrics().moves_recovered.Value(), 0);
}

TEST_F(MoverTest, AMoveWhoseTargetWasDeletedStaysInTheSource) {
  int commits = 0;
  fixture_.disk().SetCommitHook([&](const store::CommitRequest& request, bool*) {
    if (request.partition.id.ends_with("/c")) return absl::OkStatus();
    return ++commits <= 1 ? absl::OkStatus() : absl::UnavailableError("dead");
  });
  EXPECT_FALSE(Copy(UidSet::All(), true).ok());
  fixture_.disk().SetCommitHook(nullptr);
  ASSERT_TRUE(SyncWait(account_->Delete("Trash")).ok());
  inbox_ = trash_ = nullptr;
  account_ = nullptr;
  fixture_.Reopen();
  inbox_ = fixture_.OpenFolder("INBOX");
  EXPECT_EQ(Uids(*inbox_), UidSet({{1, 4}}));
  EXPECT_EQ(SyncWait(inbox_->Snapshot())->head.intents, 0u);
}

TEST_F(MoverTest, TwoMovesOfTheSameMessagesGiveThemToOne) {
  ThreadPool pool(4);
  ASSERT_TRUE(SyncWait(account_->Create("A", "")).ok());
  const auto other = fixture_.OpenFolder("A");
  const auto move = [](ThreadPool& p, MailboxDeps& deps, Mailboxes& mailboxes, std::shared_ptr<Account> account,
                       std::shared_ptr<Folder> from, std::shared_ptr<Folder> to) -> Task<absl::StatusOr<CopyDone>> {
    co_await SwitchTo(p);
    CopyOrder order;
    order.uids = UidSet::All();
    order.move = true;
    co_return co_await CopyMessages(deps, mailboxes, account, from, to, std::move(order));
  };
  std::vector<Task<absl::StatusOr<CopyDone>>> tasks;
  for (const auto& to : {trash_, other}) {
    tasks.push_back(move(pool, fixture_.deps(), fixture_.mailboxes(), account_, inbox_, to));
  }
  size_t moved = 0;
  for (const auto& r : SyncWait(WhenAll(std::move(tasks)))) {
    ASSERT_TRUE(r.ok()) << r.status();
    moved += r->uids.size();
  }
  EXPECT_EQ(moved, 4u);
  EXPECT_EQ(Uids(*trash_).Count() + Uids(*other).Count(), 4u);
}

// ---- sweeping

TEST_F(MoverTest, TheSweeperRemovesOnlyWhatNothingNames) {
  const NewMessage unused = fixture_.MakeMessage("nobody");
  ASSERT_TRUE(Copy(UidSet({{1, 1}}), false).ok());
  ASSERT_TRUE(SyncWait(inbox_->Expunge(UidSet({{1, 2}}), true)).ok());  // 1 lives on in Trash
  Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
  EXPECT_EQ(SyncWait(sweeper.Sweep())->blobs, 0u);  // too young
  fixture_.Advance(absl::Hours(3));
  const NewMessage young = fixture_.MakeMessage("young");
  {
    BlobPins::Hold hold(fixture_.pins());
    hold.Pin(unused.blob);
    EXPECT_EQ(SyncWait(sweeper.Sweep())->blobs, 1u);  // message 2
  }
  const Sweeper::Result result = *SyncWait(sweeper.Sweep());
  EXPECT_EQ(result.blobs, 1u);
  EXPECT_EQ(result.bytes, 6u);
  const auto left = *SyncWait(fixture_.store().blobs().List("t1", "", 100));
  EXPECT_EQ(left.blobs.size(), 4u);  // messages 1, 3, 4 and the young one
  for (Folder* f : {inbox_.get(), trash_.get()}) {
    BlobPins::Hold hold(fixture_.pins());
    EXPECT_TRUE(SyncWait(f->ReadForCopy(UidSet::All(), Uid(), hold)).ok());
  }
}

// A reader may make cache rows anew just after its folder was deleted.
TEST_F(MoverTest, TheCacheOfAFolderThatIsGoneIsSwept) {
  const FolderId folder = inbox_->id().folder_id;
  std::string gone = folder.value();
  gone.back() = gone.back() == '0' ? '1' : '0';
  const auto write = [this](const FolderId& id) {
    const store::Partition cache = CachePartition(TenantId("t1"), id);
    ASSERT_TRUE(SyncWait(fixture_.store().Commit({cache, {}, {{"left", "over"}}})).ok());
  };
  write(FolderId(gone));
  write(folder);
  Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
  ASSERT_TRUE(SyncWait(sweeper.Sweep()).ok());
  std::vector<std::string> left;
  const auto partitions = SyncWait(fixture_.store().List("t1", kFolderPartitionPrefix, "", 100));
  ASSERT_TRUE(partitions.ok()) << partitions.status();
  for (const store::Partition& p : *partitions) {
    if (!FolderOfCachePartition(p.id).empty()) left.push_back(p.id);
  }
  EXPECT_EQ(left, std::vector<std::string>{CachePartition(TenantId("t1"), folder).id});
}

// On a full store expunged mail does not keep its space for the whole grace time.
TEST_F(MoverTest, AFullStoreIsSweptAfterAShortGrace) {
  ASSERT_TRUE(SyncWait(inbox_->Expunge(UidSet({{1, 2}}), true)).ok());
  Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
  fixture_.Advance(Sweeper::kFullGrace + absl::Minutes(1));
  EXPECT_EQ(SyncWait(sweeper.Sweep())->blobs, 0u);
  fixture_.disk().SetFreeBytes(0);
  EXPECT_EQ(SyncWait(sweeper.Sweep())->blobs, 2u);
}

TEST(BlobPinsTest, WhatWasPinnedDuringTheSweepStays) {
  const ObjectId a = ObjectId::New(1);
  const ObjectId b = ObjectId::New(1);
  BlobPins pins;
  {
    BlobPins::Hold before(pins);
    before.Pin(a);
  }
  pins.BeginSweep();
  EXPECT_TRUE(pins.MayDelete(a));
  {
    BlobPins::Hold during(pins);
    during.Pin(b);
    EXPECT_FALSE(pins.MayDelete(b));
  }
  EXPECT_FALSE(pins.MayDelete(b));
  pins.EndSweep();
  pins.BeginSweep();
  EXPECT_TRUE(pins.MayDelete(b));
  pins.EndSweep();
  EXPECT_EQ(pins.size(), 0u);
}

TEST_F(MoverTest, TheSweeperDropsFoldersNoTreeNames) {
  // A crash after the head and before the tree.
  int commits = 0;
  fixture_.disk().SetCommitHook([&](const store::CommitRequest& request, bool*) {
    return request.partition.id.starts_with("acct/") ? absl::UnavailableError("dead") : (++commits, absl::OkStatus());
  });
  EXPECT_FALSE(SyncWait(account_->Create("half", "")).ok());
  EXPECT_EQ(commits, 1);
  fixture_.disk().SetCommitHook(nullptr);
  Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
  EXPECT_EQ(SyncWait(sweeper.Sweep())->folders, 0u);
  fixture_.Advance(absl::Hours(3));
  EXPECT_EQ(SyncWait(sweeper.Sweep())->folders, 1u);
  EXPECT_EQ(SyncWait(sweeper.Sweep())->folders, 0u);
  EXPECT_EQ(Uids(*inbox_).Count(), 4u);
}

TEST_F(MoverTest, TheSweeperForgetsOldOperations) {
  NewMessage m = fixture_.MakeMessage("x");
  m.dedupe_key = DeliveryKey("q/r/d");
  ASSERT_TRUE(SyncWait(inbox_->Append(m)).ok());
  m.dedupe_key = OperationKey("op");
  ASSERT_TRUE(SyncWait(inbox_->Append(m)).ok());
  ASSERT_TRUE(Copy(UidSet::All(), false, "cp").ok());
  Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
  EXPECT_EQ(SyncWait(sweeper.Sweep())->dedupe_rows, 0u);
  fixture_.Advance(absl::Hours(24 * 15));
  EXPECT_EQ(SyncWait(sweeper.Sweep())->dedupe_rows, 3u);
}

// RFC 9051 §6.4.7: a COPY that fails leaves the target as it was, also one of more
// messages than a commit takes.
TEST_F(MoverTest, ACopyOverQuotaCopiesNothing) {
  for (size_t i = 4; i < Folder::kBatch + 100; ++i) fixture_.Add(*inbox_, "x");  // 1,000 in all
  quota_.messages = Folder::kBatch + 1000;
  EXPECT_EQ(Copy(UidSet::All(), false).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Uids(*trash_).empty());
  // A refused message holds no room.
  EXPECT_EQ(Copy(UidSet({{1, Folder::kBatch}}), false)->uids.size(), Folder::kBatch);
  EXPECT_EQ(account_->usage()->Total().messages, static_cast<int64_t>(quota_.messages));
  EXPECT_EQ(Copy(UidSet({{1, 1}}), false).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(MoverTest, WhatCannotBeReadOfOneTenantDoesNotStopTheOthers) {
  const std::shared_ptr<Account> other = fixture_.OpenAccount("acc2", "t2");
  ASSERT_TRUE(SyncWait(fixture_.store().blobs().Put("t2", ObjectId::New(absl::ToUnixMillis(fixture_.now())).Hex(),
                                                    absl::Cord("nobody")))
                  .ok());
  store::CommitRequest damage;
  damage.partition = FolderPartition(TenantId("t1"), inbox_->id().folder_id);
  damage.mutations = {{MessageKey(Uid(3)), "\x02garbage"}};
  ASSERT_TRUE(SyncWait(fixture_.store().Commit(damage)).ok());
  fixture_.Advance(absl::Hours(3));
  Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
  EXPECT_EQ(SyncWait(sweeper.Sweep()).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(SyncWait(fixture_.store().blobs().List("t2", "", 100))->blobs.empty());
}

TEST_F(MoverTest, TheSweeperKeepsFewAccountsOpen) {
  fixture_.settings().max_open_accounts = 3;
  Reopen();
  for (int i = 0; i < 10; ++i) fixture_.OpenAccount(absl::StrCat("more", i));
  fixture_.Advance(absl::Hours(3));
  Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
  ASSERT_TRUE(SyncWait(sweeper.Sweep()).ok());
  fixture_.mailboxes().UpdateMetrics();
  EXPECT_LE(fixture_.metrics().open_accounts.Value(), 3);
}

TEST_F(MoverTest, AnUnreadableRowStopsTheSweep) {
  fixture_.MakeMessage("nobody");
  store::CommitRequest damage;
  damage.partition = FolderPartition(TenantId("t1"), inbox_->id().folder_id);
  damage.mutations = {{MessageKey(Uid(3)), "\x02garbage"}};
  ASSERT_TRUE(SyncWait(fixture_.store().Commit(damage)).ok());
  fixture_.Advance(absl::Hours(3));
  Sweeper sweeper(fixture_.deps(), fixture_.mailboxes());
  EXPECT_EQ(SyncWait(sweeper.Sweep()).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(SyncWait(fixture_.store().blobs().List("t1", "", 100))->blobs.size(), 5u);
}

}  // namespace
}  // namespace posthouse::mailbox
