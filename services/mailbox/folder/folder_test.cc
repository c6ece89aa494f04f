#include "services/mailbox/folder/folder.h"
#include "services/common/uid_set/uid_set.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/async/thread_pool.h"
#include "services/common/async/when_all.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/testing/mailbox_fixture.h"

namespace posthouse::mailbox {
namespace {

class FolderTest : public testing::Test {
 protected:
  FolderTest() : inbox_(fixture_.OpenFolder("INBOX")) {}

  void Reopen() {
    inbox_ = nullptr;
    fixture_.Reopen();
    inbox_ = fixture_.OpenFolder("INBOX");
  }
  FolderSnapshot State() { return *SyncWait(inbox_->Snapshot()); }
  FlagResult Store(UidSet uids, FlagChange::Mode mode, uint32_t flags, std::vector<std::string> keywords = {}) {
    FlagChange change;
    change.mode = mode;
    change.flags = flags;
    change.keywords = std::move(keywords);
    auto result = SyncWait(inbox_->StoreFlags(std::move(uids), change));
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }
  UidSet Expunge(UidSet uids = UidSet::All(), bool even_undeleted = false) {
    auto result = SyncWait(inbox_->Expunge(std::move(uids), even_undeleted));
    EXPECT_TRUE(result.ok()) << result.status();
    return result->expunged;
  }
  UidSet Uids() { return (*SyncWait(inbox_->Uids()))->uids; }

  MailboxFixture fixture_;
  std::shared_ptr<Folder> inbox_;
};

using Mode = FlagChange::Mode;

TEST_F(FolderTest, UidsAndModseqsGrowAndAreNeverReused) {
  EXPECT_EQ(fixture_.Add(*inbox_), 1u);
  EXPECT_EQ(fixture_.Add(*inbox_), 2u);
  const Modseq modseq = State().head.highest_modseq;
  EXPECT_EQ(Expunge(UidSet({{2, 2}}), true), UidSet({{2, 2}}));
  EXPECT_GT(State().head.highest_modseq, modseq);
  Reopen();
  EXPECT_EQ(fixture_.Add(*inbox_), 3u);  // RFC 9051 §2.3.1.1
  EXPECT_EQ(Uids(), UidSet({{1, 1}, {3, 3}}));
}

TEST_F(FolderTest, AfterALossNoUidAndNoModseqIsGivenOutAgain) {
  for (int i = 0; i < 3; ++i) fixture_.Add(*inbox_);
  const Head before = State().head;
  inbox_ = nullptr;
  fixture_.ReopenAs(1);
  inbox_ = fixture_.OpenFolder("INBOX");
  const Head after = State().head;
  EXPECT_EQ(after.uid_validity, before.uid_validity);
  EXPECT_GE(after.uid_next.value(), before.uid_next.value() + (1u << 20));
  EXPECT_GE(after.highest_modseq.value(), before.highest_modseq.value() + (1u << 20));
  EXPECT_EQ(Uids(), UidSet({{1, 3}}));
  // A client that saw a lost commit gets everything anew, whichever way it asks.
  const Modseq lost(before.highest_modseq.value() + 5);
  EXPECT_TRUE(SyncWait(inbox_->ChangesAfter(lost))->full);
  EXPECT_TRUE(SyncWait(inbox_->ChangesAfter(before.highest_modseq))->full);
  EXPECT_EQ(*SyncWait(inbox_->ChangedSince(UidSet::All(), lost)), UidSet({{1, 3}}));
  EXPECT_FALSE(SyncWait(inbox_->VanishedAfter(lost, UidSet::All()))->has_value());
  // One that is up to date again gets nothing.
  EXPECT_EQ(*SyncWait(inbox_->ChangedSince(UidSet::All(), after.highest_modseq)), UidSet());
  EXPECT_FALSE(SyncWait(inbox_->ChangesAfter(after.highest_modseq))->full);
  EXPECT_EQ(fixture_.Add(*inbox_), after.uid_next.value());
  // Once for each loss.
  Reopen();
  EXPECT_EQ(State().head.uid_next, after.uid_next.Next());
  inbox_ = nullptr;
  fixture_.ReopenAs(2);
  inbox_ = fixture_.OpenFolder("INBOX");
  EXPECT_GE(State().head.uid_next.value(), after.uid_next.value() + (1u << 20));
  EXPECT_TRUE(SyncWait(inbox_->ChangesAfter(lost))->full);
  EXPECT_EQ(Uids().Count(), 4u);
}

TEST_F(FolderTest, TheNumbersJumpOnAFullDiskToo) {
  fixture_.Add(*inbox_);
  const Head before = State().head;
  inbox_ = nullptr;
  fixture_.disk().SetFreeBytes(0);
  fixture_.ReopenAs(1);
  inbox_ = fixture_.OpenFolder("INBOX");
  EXPECT_GE(State().head.uid_next.value(), before.uid_next.value() + (1u << 20));
}

TEST_F(FolderTest, CountersFollowEveryChange) {
  fixture_.Add(*inbox_, "12345", v1::FLAG_SEEN);
  fixture_.Add(*inbox_, "123");
  EXPECT_EQ(State().head.exists, 2u);
  EXPECT_EQ(State().head.unseen, 1u);
  EXPECT_EQ(State().head.size_bytes, 8u);
  Store(UidSet::All(), Mode::kAdd, v1::FLAG_SEEN | v1::FLAG_DELETED);
  EXPECT_EQ(State().head.unseen, 0u);
  EXPECT_EQ(State().head.deleted, 2u);
  Store(UidSet({{1, 1}}), Mode::kRemove, v1::FLAG_DELETED);
  EXPECT_EQ(Expunge(), UidSet({{2, 2}}));
  const Head head = State().head;
  EXPECT_EQ(head.exists, 1u);
  EXPECT_EQ(head.deleted, 0u);
  EXPECT_EQ(head.size_bytes, 5u);
  Reopen();
  EXPECT_EQ(State().head.Encode(), head.Encode());
}

TEST_F(FolderTest, FirstUnseenIsKnown) {
  fixture_.Add(*inbox_, "a", v1::FLAG_SEEN);
  EXPECT_EQ((*SyncWait(inbox_->Uids()))->first_unseen, Uid(0));
  fixture_.Add(*inbox_, "b");
  EXPECT_EQ((*SyncWait(inbox_->Uids()))->first_unseen, Uid(2));
}

TEST_F(FolderTest, AppendWithTheSameKeyStoresOnce) {
  NewMessage m = fixture_.MakeMessage("a");
  m.dedupe_key = OperationKey("op");
  const AppendResult first = *SyncWait(inbox_->Append(m));
  EXPECT_FALSE(first.duplicate);
  const AppendResult again = *SyncWait(inbox_->Append(m));
  EXPECT_TRUE(again.duplicate);
  EXPECT_EQ(again.uid, first.uid);
  Reopen();
  EXPECT_TRUE(SyncWait(inbox_->Append(m))->duplicate);
  EXPECT_EQ(State().head.exists, 1u);
  // Even when the message is gone.
  Expunge(UidSet::All(), true);
  EXPECT_TRUE(SyncWait(inbox_->Append(m))->duplicate);
}

TEST_F(FolderTest, WaitingAppendsShareOneCommit) {
  // The memory store completes at once, so the first append would never wait: a
  // held lock makes the others queue behind it.
  int commits = 0;
  fixture_.disk().SetCommitHook([&commits](const store::CommitRequest& request, bool*) {
    if (request.partition.id.ends_with("/c")) return absl::OkStatus();
    ++commits;
    return absl::OkStatus();
  });
  ThreadPool pool(4);
  std::vector<Task<absl::StatusOr<AppendResult>>> tasks;
  for (int i = 0; i < 600; ++i) {
    NewMessage m = fixture_.MakeMessage("x");
    m.dedupe_key = OperationKey(absl::StrCat("op", i % 500));  // 100 of them twice
    tasks.push_back(inbox_->Append(std::move(m)));
  }
  absl::flat_hash_set<Uid> uids;
  int duplicates = 0;
  const auto run =
      [](ThreadPool& p,
         std::vector<Task<absl::StatusOr<AppendResult>>> t) -> Task<std::vector<absl::StatusOr<AppendResult>>> {
    co_await SwitchTo(p);
    co_return co_await WhenAll(std::move(t));
  };
  for (const auto& r : SyncWait(run(pool, std::move(tasks)))) {
    ASSERT_TRUE(r.ok()) << r.status();
    duplicates += r->duplicate ? 1 : 0;
    uids.insert(r->uid);
  }
  EXPECT_EQ(uids.size(), 500u);
  EXPECT_EQ(duplicates, 100);
  EXPECT_EQ(State().head.exists, 500u);
  fixture_.disk().SetCommitHook(nullptr);
  EXPECT_LE(commits, 601);
}

TEST_F(FolderTest, UnchangedFlagsCostNoModseq) {
  fixture_.Add(*inbox_, "a", v1::FLAG_SEEN);
  const Modseq before = State().head.highest_modseq;
  const FlagResult result = Store(UidSet::All(), Mode::kAdd, v1::FLAG_SEEN);
  EXPECT_EQ(State().head.highest_modseq, before);
  ASSERT_EQ(result.messages.size(), 1u);
  EXPECT_EQ(result.messages[0].flags, v1::FLAG_SEEN);
}

TEST_F(FolderTest, KeywordsKeepTheirBitAndSpelling) {
  fixture_.Add(*inbox_, "a", 0, {"$Forwarded"});
  Store(UidSet::All(), Mode::kAdd, 0, {"$forwarded", "Work"});
  EXPECT_EQ(State().keywords, (std::vector<std::string>{"$Forwarded", "Work"}));
  const FlagResult result = Store(UidSet::All(), Mode::kRemove, 0, {"$FORWARDED", "never-seen"});
  EXPECT_EQ(result.messages[0].keyword_bits, std::string("\x02"));
  EXPECT_EQ(State().keywords.size(), 2u);  // taking away makes none
  Store(UidSet::All(), Mode::kReplace, v1::FLAG_FLAGGED);
  Reopen();
  EXPECT_EQ(State().keywords.size(), 2u);
  std::vector<std::string> bits;
  const auto messages = *SyncWait(inbox_->Select(UidSet::All(), Uid(), 10, &bits));
  EXPECT_EQ(bits[0], "");
  EXPECT_EQ(messages[0].flags, v1::FLAG_FLAGGED);
}

TEST_F(FolderTest, TooManyKeywordsAreRefusedByStoreAndDroppedByAppend) {
  fixture_.settings().keywords_per_folder = 2;
  Reopen();
  fixture_.Add(*inbox_, "a", 0, {"k1", "k2", "k3"});
  EXPECT_EQ(State().keywords.size(), 2u);
  EXPECT_EQ(fixture_.metrics().keywords_dropped.Value(), 1);
  FlagChange change;
  change.mode = Mode::kAdd;
  change.keywords = {"k4"};
  EXPECT_EQ(SyncWait(inbox_->StoreFlags(UidSet::All(), change)).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(FolderTest, OneStoreMayBringHundredsOfKeywords) {
  for (int i = 0; i < 3; ++i) fixture_.Add(*inbox_, "a");
  FlagChange change;
  change.mode = Mode::kAdd;
  for (int i = 0; i < 500; ++i) change.keywords.push_back(absl::StrCat("k", i));
  const FlagResult result = *SyncWait(inbox_->StoreFlags(UidSet::All(), change));
  EXPECT_EQ(result.messages.size(), 3u);
  EXPECT_EQ(State().keywords.size(), 500u);
}

// RFC 7162 §3.1.3
TEST_F(FolderTest, UnchangedSinceFailsOnlyThoseThatChanged) {
  fixture_.Add(*inbox_, "a");
  fixture_.Add(*inbox_, "b");
  const Modseq since = State().head.highest_modseq;
  Store(UidSet({{2, 2}}), Mode::kAdd, v1::FLAG_SEEN);
  FlagChange change;
  change.mode = Mode::kAdd;
  change.flags = v1::FLAG_FLAGGED;
  change.unchanged_since = since;
  const FlagResult result = *SyncWait(inbox_->StoreFlags(UidSet::All(), change));
  EXPECT_EQ(result.modified, UidSet({{2, 2}}));
  EXPECT_EQ(result.messages[0].flags, v1::FLAG_FLAGGED);
  EXPECT_EQ(result.messages[1].flags, v1::FLAG_SEEN);
  EXPECT_EQ(result.own_modseqs, std::vector<Modseq>{since.Next().Next()});
}

// A row's modseq may be of another change: which were taken is told apart from the rows.
TEST_F(FolderTest, AStoreThatChangesNothingTakesNoModseq) {
  fixture_.Add(*inbox_, "a");
  const FlagResult first = Store(UidSet::All(), Mode::kAdd, v1::FLAG_SEEN);
  EXPECT_EQ(first.own_modseqs, std::vector<Modseq>{State().head.highest_modseq});
  const FlagResult second = Store(UidSet::All(), Mode::kAdd, v1::FLAG_SEEN);
  EXPECT_TRUE(second.own_modseqs.empty());
  EXPECT_EQ(second.messages[0].modseq, State().head.highest_modseq);
}

TEST_F(FolderTest, LargeChangesAreSeveralCommitsWithCorrectStates) {
  constexpr int kMessages = 2000;
  std::vector<Task<absl::StatusOr<AppendResult>>> tasks;
  for (int i = 0; i < kMessages; ++i) tasks.push_back(inbox_->Append(fixture_.MakeMessage("x")));
  for (const auto& r : SyncWait(WhenAll(std::move(tasks)))) ASSERT_TRUE(r.ok());
  int commits = 0;
  fixture_.disk().SetCommitHook([&](const store::CommitRequest& request, bool*) {
    EXPECT_LE(request.mutations.size(), store::kMaxMutations);
    if (!request.partition.id.ends_with("/c")) ++commits;
    return absl::OkStatus();
  });
  EXPECT_EQ(Store(UidSet::All(), Mode::kAdd, v1::FLAG_DELETED).messages.size(), size_t{kMessages});
  EXPECT_EQ(commits, 3);
  EXPECT_EQ(Expunge(), UidSet({{1, kMessages}}));
  EXPECT_EQ(commits, 6);
  fixture_.disk().SetCommitHook(nullptr);
  Reopen();
  EXPECT_EQ(State().head.exists, 0u);
  EXPECT_EQ(State().head.size_bytes, 0u);
}

TEST_F(FolderTest, ChangesAfterTellsNewChangedAndVanished) {
  for (int i = 0; i < 5; ++i) fixture_.Add(*inbox_);
  const Modseq since = State().head.highest_modseq;
  Store(UidSet({{2, 2}}), Mode::kAdd, v1::FLAG_SEEN);
  Expunge(UidSet({{4, 4}}), true);
  fixture_.Add(*inbox_);
  fixture_.Add(*inbox_);
  Expunge(UidSet({{7, 7}}), true);  // came and went
  for (const bool reopen : {false, true}) {
    if (reopen) Reopen();
    const FolderChanges changes = *SyncWait(inbox_->ChangesAfter(since));
    EXPECT_FALSE(changes.full);
    ASSERT_EQ(changes.messages.size(), 2u);
    EXPECT_EQ(changes.messages[0].uid, Uid(2));
    EXPECT_EQ(changes.messages[1].uid, Uid(6));
    EXPECT_EQ(changes.vanished, UidSet({{4, 4}, {7, 7}}));
  }
  EXPECT_TRUE(SyncWait(inbox_->ChangesAfter(State().head.highest_modseq))->messages.empty());
}

TEST_F(FolderTest, ABoundedLogAnswersFullBeforeItsFloor) {
  fixture_.settings().change_log_entries = 10;
  Reopen();
  for (int i = 0; i < 50; ++i) fixture_.Add(*inbox_);
  const Head head = State().head;
  EXPECT_EQ(head.highest_modseq.value() - head.log_floor.value(), 10u);
  EXPECT_TRUE(SyncWait(inbox_->ChangesAfter(Modseq(head.log_floor.value() - 1)))->full);
  EXPECT_EQ(SyncWait(inbox_->ChangesAfter(Modseq()))->messages.size(), 50u);
  const FolderChanges changes = *SyncWait(inbox_->ChangesAfter(head.log_floor));
  EXPECT_FALSE(changes.full);
  EXPECT_EQ(changes.messages.size(), 10u);
  EXPECT_TRUE(SyncWait(inbox_->ChangesAfter(head.highest_modseq.Next()))->full);
  EXPECT_FALSE(SyncWait(inbox_->VanishedAfter(Modseq(1), UidSet::All()))->has_value());
  EXPECT_TRUE(SyncWait(inbox_->VanishedAfter(head.log_floor, UidSet::All()))->has_value());
  // Exactly the rows that the invariant names are on the disk.
  store::ReadRequest request;
  request.partition = FolderPartition(TenantId("t1"), inbox_->id().folder_id);
  request.prefix = kChangePrefix;
  request.limit = 1000;
  EXPECT_EQ(SyncWait(fixture_.store().Read(request))->page.size(), 10u);
}

// ---- another writer, unknown outcomes

TEST_F(FolderTest, AConflictIsDecidedAnew) {
  fixture_.Add(*inbox_);
  // Another process with its own cache.
  Mailboxes other(fixture_.deps());
  auto account = *SyncWait(other.OpenAccount(TenantId("t1"), AccountId("acc1")));
  auto other_inbox = *SyncWait(other.OpenFolder(account, inbox_->id().folder_id));
  EXPECT_EQ(fixture_.Add(*other_inbox), 2u);
  EXPECT_EQ(fixture_.Add(*inbox_), 3u);
  EXPECT_EQ(fixture_.Add(*other_inbox, "x", 0, {"kw"}), 4u);
  Store(UidSet({{2, 4}}), Mode::kAdd, v1::FLAG_SEEN);
  EXPECT_EQ(State().keywords, std::vector<std::string>{"kw"});
  EXPECT_EQ(SyncWait(other_inbox->Expunge(UidSet({{3, 3}}), true))->expunged, UidSet({{3, 3}}));
  Expunge(UidSet({{3, 3}}), true);
  EXPECT_EQ(
      SyncWait(other_inbox->StoreFlags(UidSet::All(), {Mode::kAdd, v1::FLAG_FLAGGED, {}, {}, false}))->messages.size(),
      3u);
  EXPECT_GT(fixture_.metrics().folder_commits.conflicts.Value(), 0);
  Reopen();
  EXPECT_EQ(State().head.exists, 3u);
  EXPECT_EQ(Uids(), UidSet({{1, 2}, {4, 4}}));
}

struct UnknownCase {
  const char* name;
  bool happens;
};
class UnknownTest : public FolderTest, public testing::WithParamInterface<UnknownCase> {
 protected:
  // The next commit to the folder answers "unknown".
  void FailNext() {
    auto left = std::make_shared<int>(1);
    const bool happens = GetParam().happens;
    fixture_.disk().SetCommitHook([left, happens](const store::CommitRequest& request, bool* apply_anyway) {
      if (request.partition.id.ends_with("/c") || (*left)-- <= 0) return absl::OkStatus();
      *apply_anyway = happens;
      return absl::DeadlineExceededError("timed out");
    });
  }
};

TEST_P(UnknownTest, EveryChangeHappensOnce) {
  FailNext();
  EXPECT_EQ(fixture_.Add(*inbox_), 1u);
  EXPECT_EQ(State().head.exists, 1u);
  FailNext();
  EXPECT_EQ(Store(UidSet::All(), Mode::kAdd, v1::FLAG_SEEN, {"kw"}).messages[0].flags, v1::FLAG_SEEN);
  const Modseq modseq = State().head.highest_modseq;
  FailNext();
  EXPECT_EQ(Expunge(UidSet::All(), true), UidSet({{1, 1}}));
  EXPECT_EQ(State().head.highest_modseq, modseq.Next());
  EXPECT_EQ(fixture_.metrics().folder_commits.unknown.Value(), 3);
  Reopen();
  EXPECT_EQ(State().head.exists, 0u);
  EXPECT_EQ(State().head.uid_next, Uid(2));
}

INSTANTIATE_TEST_SUITE_P(Truth, UnknownTest,
                         testing::Values(UnknownCase{"Happened", true}, UnknownCase{"DidNotHappen", false}),
                         [](const auto& info) { return info.param.name; });

TEST_F(FolderTest, AFailingStoreIsTold) {
  fixture_.Add(*inbox_);
  fixture_.disk().SetCommitHook([](const store::CommitRequest&, bool*) { return absl::UnavailableError("closing"); });
  EXPECT_EQ(SyncWait(inbox_->Append(fixture_.MakeMessage("x"))).status().code(), absl::StatusCode::kUnavailable);
  fixture_.disk().SetCommitHook(nullptr);
  EXPECT_EQ(fixture_.Add(*inbox_), 2u);
}

TEST_F(FolderTest, ADestroyedFolderIsNotFound) {
  fixture_.Add(*inbox_);
  EXPECT_TRUE(SyncWait(inbox_->Destroy()).ok());
  EXPECT_EQ(SyncWait(inbox_->Append(fixture_.MakeMessage("x"))).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SyncWait(inbox_->Snapshot()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FolderTest, HintsTellOfEveryCommit) {
  ChangeHints::Stream watch(fixture_.hints());
  watch.Watch(AccountId("acc1"), inbox_->id().folder_id);
  fixture_.Add(*inbox_);
  fixture_.Add(*inbox_);
  const std::vector<Hint> hints = watch.Take(10);
  ASSERT_EQ(hints.size(), 1u);  // coalesced
  EXPECT_EQ(hints[0].account_id, AccountId("acc1"));
  EXPECT_EQ(hints[0].folder_id, inbox_->id().folder_id);
  EXPECT_EQ(hints[0].highest_modseq, State().head.highest_modseq);
  EXPECT_TRUE(watch.Take(10).empty());
}

TEST_F(FolderTest, AHintOfADeletedFolderIsNotHiddenByOlderOnes) {
  ChangeHints::Stream watch(fixture_.hints());
  watch.Watch(AccountId("acc1"), inbox_->id().folder_id);
  fixture_.Add(*inbox_);
  EXPECT_TRUE(SyncWait(inbox_->Destroy()).ok());
  const std::vector<Hint> hints = watch.Take(10);
  ASSERT_EQ(hints.size(), 1u);
  EXPECT_EQ(hints[0].highest_modseq, Modseq());
}

TEST_F(FolderTest, FoldersThatAreNotWatchedGetNoHints) {
  ChangeHints::Stream watch(fixture_.hints());
  fixture_.Add(*inbox_);
  watch.Watch(AccountId("acc1"), inbox_->id().folder_id);
  watch.Watch(AccountId("acc1"), inbox_->id().folder_id);
  watch.Forget(AccountId("acc1"), inbox_->id().folder_id);
  fixture_.Add(*inbox_);
  EXPECT_TRUE(watch.Take(10).empty());
  EXPECT_EQ(fixture_.hints().watched_folders(), 0u);
}

// ---- in parts

TEST_F(FolderTest, FlagsOfManyMessagesAreStoredInParts) {
  for (size_t i = 0; i < 2 * Folder::kBatch + 1; ++i) fixture_.Add(*inbox_);
  FlagChange change;
  change.mode = Mode::kAdd;
  change.flags = v1::FLAG_SEEN;
  change.max_messages = 1;
  std::vector<size_t> parts;
  do {
    const FlagResult part = *SyncWait(inbox_->StoreFlags(UidSet::All(), change));
    parts.push_back(part.messages.size());
    change.after = part.continue_after;
  } while (!change.after.empty() && parts.size() < 10);
  EXPECT_EQ(parts, (std::vector<size_t>{Folder::kBatch, Folder::kBatch, 1}));
  EXPECT_EQ(State().head.unseen, 0u);
}

TEST_F(FolderTest, AnExpungeOfManyRangesIsDoneInParts) {
  for (size_t i = 0; i < 2 * Folder::kBatch + 2; ++i) fixture_.Add(*inbox_, "x", i % 2 == 0 ? v1::FLAG_DELETED : 0);
  const ExpungeResult part = *SyncWait(inbox_->Expunge(UidSet::All(), false, 1));
  EXPECT_TRUE(part.more);
  EXPECT_EQ(part.expunged.Count(), Folder::kBatch);
  const ExpungeResult rest = *SyncWait(inbox_->Expunge(UidSet::All(), false, 1));
  EXPECT_FALSE(rest.more);
  EXPECT_EQ(rest.expunged.Count(), 1u);
}

TEST_F(FolderTest, ChangesAreToldInParts) {
  for (int i = 0; i < 10; ++i) fixture_.Add(*inbox_);
  const Modseq modseq = State().head.highest_modseq;
  Store(UidSet({{2, 8}}), Mode::kAdd, v1::FLAG_SEEN);
  Expunge(UidSet({{5, 5}, {10, 10}}), true);
  std::vector<Uid> uids;
  Uid after;
  for (bool more = true; more;) {
    const FolderChanges part = *SyncWait(inbox_->ChangesAfter(modseq, after, 2));
    EXPECT_FALSE(part.full);
    EXPECT_EQ(part.vanished, after.empty() ? UidSet({{5, 5}, {10, 10}}) : UidSet());
    for (const MessageFlags& m : part.messages) uids.push_back(after = m.uid);
    more = part.more;
  }
  EXPECT_EQ(uids, (std::vector<Uid>{Uid(2), Uid(3), Uid(4), Uid(6), Uid(7), Uid(8)}));
}

// An engine that says no and did it all the same, and a folder that cannot look: what
// the account holds is right again with the next look at the head.
TEST_F(FolderTest, UsageFollowsACommitThatCameTrueLater) {
  ASSERT_TRUE(SyncWait(inbox_->CountUsage()).ok());
  fixture_.disk().SetCommitHook([](const store::CommitRequest&, bool* apply_anyway) {
    *apply_anyway = true;
    return absl::UnavailableError("the disk is gone");
  });
  EXPECT_FALSE(SyncWait(inbox_->Append(fixture_.MakeMessage("12345"))).ok());
  fixture_.disk().SetCommitHook(nullptr);
  EXPECT_EQ(State().head.exists, 1u);
  EXPECT_EQ(inbox_->usage()->Total().bytes, 5);
  EXPECT_EQ(inbox_->usage()->Total().messages, 1);
}

}  // namespace
}  // namespace posthouse::mailbox
