#include "services/mailbox/folder/folder_deciders.h"
#include "services/common/uid_set/uid_set_proto.h"

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"

namespace posthouse::mailbox {
namespace {

using store::Verdict;
using Mode = FlagChange::Mode;

constexpr int64_t kNow = 1'700'000'000;
constexpr uint32_t kSeen = v1::FLAG_SEEN;
constexpr uint32_t kDeleted = v1::FLAG_DELETED;
constexpr uint32_t kFlagged = v1::FLAG_FLAGGED;

// A folder of four messages of 10 bytes; its newest modseq is 7 and it knows two keywords.
class DecidersTest : public testing::Test {
 protected:
  DecidersTest() {
    state_.exists = true;
    state_.head.uid_validity = UidValidity(1);
    state_.head.highest_modseq = Modseq(7);
    state_.keywords = {"$Work", "$Home"};
    state_.head.keywords = 2;
    state_.index.emplace();
    for (const auto& [uid, flags] : std::map<uint32_t, uint32_t>{{2, 0}, {3, kSeen}, {5, kDeleted}, {9, kFlagged}}) {
      v1::MessageRow row;
      row.set_modseq(uid == 9 ? 7 : 4);
      row.set_flags(flags);
      row.set_keywords(uid == 3 ? "\x01" : "");
      row.set_size_bytes(10);
      row.set_blob(std::string(16, static_cast<char>('a' + uid)));
      state_.index->Put(Uid(uid), row);
      state_.head.Count(flags, 10, +1);
      state_.head.uid_next = Uid(uid).Next();
      rows_.Put(MessageKey(Uid(uid)), EncodeRow(row));
    }
    draft_.head = state_.head;
  }

  // A second change of the same commit sees the rows of the first.
  void Overlay() { rows_.Overlay(&draft_); }
  NewMessage Message(std::string dedupe_key = "", std::vector<std::string> keywords = {}) {
    NewMessage message;
    message.size_bytes = 100;
    message.blob = *ObjectId::FromBytes(std::string(16, 'x'));
    message.dedupe_key = std::move(dedupe_key);
    message.keywords = std::move(keywords);
    return message;
  }
  absl::StatusOr<Verdict> Append(const NewMessage& message) {
    return DecideAppend(state_, rows_, draft_, message, kNow, append_);
  }
  absl::StatusOr<Verdict> Flags(Mode mode, uint32_t flags, std::vector<std::string> keywords = {},
                                UidSet uids = UidSet::All()) {
    change_.mode = mode;
    change_.flags = flags;
    change_.keywords = std::move(keywords);
    return DecideFlags(state_, rows_, draft_, uids, Uid(), change_, batch_);
  }
  v1::MessageRow Drafted(uint32_t uid) {
    const store::Mutation* m = draft_.store::Draft::Find(MessageKey(Uid(uid)));
    return m == nullptr || !m->value.has_value() ? v1::MessageRow() : *DecodeRow<v1::MessageRow>(*m->value);
  }
  v1::ChangeRow Logged(uint64_t modseq) {
    const store::Mutation* m = draft_.store::Draft::Find(ChangeKey(Modseq(modseq)));
    return m == nullptr ? v1::ChangeRow() : *DecodeRow<v1::ChangeRow>(*m->value);
  }

  FolderState state_;
  store::FetchedRows rows_;
  FolderDraft draft_;
  FlagChange change_;
  AppendResult append_;
  BatchAnswer batch_;
};

// ---- appends

TEST_F(DecidersTest, AnAppendTakesTheNextUidAndCounts) {
  EXPECT_EQ(*Append(Message(OperationKey("op"))), Verdict::kCommit);
  EXPECT_EQ(append_, (AppendResult{Uid(10), false}));
  EXPECT_EQ(draft_.head.uid_next, Uid(11));
  EXPECT_EQ(draft_.head.exists, 5u);
  EXPECT_EQ(draft_.head.size_bytes, 140u);
  EXPECT_EQ(Drafted(10).modseq(), 8u);
  EXPECT_EQ(Drafted(10).save_date(), kNow);
  ASSERT_EQ(draft_.guards().size(), 1u);
  EXPECT_EQ(draft_.guards()[0].key, OperationKey("op"));
  EXPECT_FALSE(draft_.guards()[0].value.has_value());
}

TEST_F(DecidersTest, AppendsOfOneCommitShareAModseqAndALogRow) {
  ASSERT_TRUE(Append(Message()).ok());
  ASSERT_TRUE(Append(Message()).ok());
  EXPECT_EQ(draft_.head.highest_modseq, Modseq(8));
  const store::Row log = draft_.SealLog();
  EXPECT_EQ(log.key, ChangeKey(Modseq(8)));
  EXPECT_EQ(UidSetFromFlat(DecodeRow<v1::ChangeRow>(log.value)->changed()), UidSet({{10, 11}}));
}

TEST_F(DecidersTest, AnAppendThatWasStoredBeforeChangesNothing) {
  v1::DedupeRow before;
  before.set_uid(3);
  rows_.Put(DeliveryKey("q/0/keep"), EncodeRow(before));
  EXPECT_EQ(*Append(Message(DeliveryKey("q/0/keep"))), Verdict::kDone);
  EXPECT_EQ(append_, (AppendResult{Uid(3), true}));
  EXPECT_TRUE(draft_.mutations().empty());
  EXPECT_EQ(draft_.head.Encode(), state_.head.Encode());
}

TEST_F(DecidersTest, TheSecondAppendOfOneKeyInOneCommitIsADuplicate) {
  ASSERT_TRUE(Append(Message(OperationKey("op"))).ok());
  Overlay();
  EXPECT_EQ(*Append(Message(OperationKey("op"))), Verdict::kDone);
  EXPECT_EQ(append_, (AppendResult{Uid(10), true}));
}

TEST_F(DecidersTest, TheLastUidIsNeverGivenOut) {
  draft_.head.uid_next = Uid(UINT32_MAX);
  EXPECT_EQ(Append(Message()).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(draft_.mutations().empty());
}

struct KeywordCase {
  const char* name;
  std::vector<std::string> keywords;
  std::string bits;
  std::vector<std::string> made;
};
TEST_F(DecidersTest, KeywordsOfAnAppend) {
  draft_.keyword_limit = 4;
  for (const KeywordCase& c : {
           KeywordCase{"a known one", {"$Home"}, "\x02", {}},
           {"in another case", {"$HOME", "$work"}, "\x03", {}},
           {"a new one", {"$New"}, "\x04", {"$New"}},
           {"twice", {"$New", "$NEW"}, "\x04", {"$New"}},
           {"more than the folder has numbers for", {"a", "b", "c"}, "\x0c", {"a", "b"}},
           {"no name", {""}, "", {}},
       }) {
    FolderDraft draft;
    draft.head = state_.head;
    draft.keyword_limit = 4;
    ASSERT_TRUE(DecideAppend(state_, rows_, draft, Message("", c.keywords), kNow, append_).ok()) << c.name;
    EXPECT_EQ(draft.added()[0].second.keywords(), c.bits) << c.name;
    EXPECT_EQ(draft.new_keywords(), c.made) << c.name;
    EXPECT_EQ(draft.head.keywords, 2 + c.made.size()) << c.name;
  }
}

TEST_F(DecidersTest, ChangesThatShareACommitKeepAllTheirKeywords) {
  for (const char* prefix : {"a", "b"}) {
    std::vector<std::string> keywords;
    for (int i = 0; i < 60; ++i) keywords.push_back(absl::StrCat(prefix, i));
    ASSERT_TRUE(Append(Message("", keywords)).ok());
  }
  EXPECT_EQ(draft_.new_keywords().size(), 120u);
  EXPECT_EQ(draft_.dropped_keywords(), 0u);
  draft_.keyword_limit = 4;
  ASSERT_TRUE(Append(Message("", {"no room"})).ok());
  EXPECT_EQ(draft_.dropped_keywords(), 1u);
}

TEST_F(DecidersTest, AKeywordThatAnEarlierChangeMadeHasItsNumber) {
  ASSERT_TRUE(Append(Message("", {"$New"})).ok());
  ASSERT_TRUE(Append(Message("", {"$Newer", "$new"})).ok());
  EXPECT_EQ(draft_.added()[1].second.keywords(), "\x0c");
  EXPECT_EQ(draft_.new_keywords(), (std::vector<std::string>{"$New", "$Newer"}));
}

// ---- flags

TEST_F(DecidersTest, FlagChangesAskForTheRowsThatChange) {
  rows_ = store::FetchedRows();
  EXPECT_EQ(*Flags(Mode::kAdd, kSeen), Verdict::kNeedRows);
  EXPECT_EQ(draft_.needed(), (std::vector<std::string>{MessageKey(Uid(2)), MessageKey(Uid(5)), MessageKey(Uid(9))}));
  EXPECT_TRUE(draft_.mutations().empty());
}

struct FlagCase {
  Mode mode;
  uint32_t flags;
  std::vector<std::string> keywords;
  uint32_t uid;  // alone
  Verdict verdict;
  uint32_t want_flags;
  std::string want_bits;
};
TEST_F(DecidersTest, FlagsAfterEachMode) {
  for (const FlagCase& c : std::vector<FlagCase>{
           {Mode::kAdd, kSeen, {}, 2, Verdict::kCommit, kSeen, ""},
           {Mode::kAdd, kSeen, {}, 3, Verdict::kDone, kSeen, "\x01"},
           {Mode::kAdd, 0, {"$HOME"}, 3, Verdict::kCommit, kSeen, "\x03"},
           {Mode::kRemove, kSeen, {}, 3, Verdict::kCommit, 0, "\x01"},
           {Mode::kRemove, 0, {"$Work", "$Never"}, 3, Verdict::kCommit, kSeen, ""},
           {Mode::kRemove, kSeen, {}, 2, Verdict::kDone, 0, ""},
           {Mode::kReplace, kFlagged, {}, 3, Verdict::kCommit, kFlagged, ""},
           {Mode::kReplace, kFlagged, {}, 9, Verdict::kDone, kFlagged, ""},
           {Mode::kReplace, kSeen, {"$Work"}, 3, Verdict::kDone, kSeen, "\x01"},
       }) {
    SCOPED_TRACE(absl::StrCat(static_cast<int>(c.mode), " ", c.flags, " of ", c.uid));
    draft_ = FolderDraft();
    draft_.head = state_.head;
    EXPECT_EQ(*Flags(c.mode, c.flags, c.keywords, UidSet({{c.uid, c.uid}})), c.verdict);
    ASSERT_EQ(batch_.messages.size(), 1u);
    EXPECT_EQ(batch_.messages[0].flags, c.want_flags);
    EXPECT_EQ(batch_.messages[0].keyword_bits, c.want_bits);
    EXPECT_EQ(batch_.own_modseq, c.verdict == Verdict::kCommit ? Modseq(8) : Modseq());
    EXPECT_EQ(draft_.new_keywords(), std::vector<std::string>());
    if (c.verdict == Verdict::kDone) {
      EXPECT_TRUE(draft_.mutations().empty());
      continue;
    }
    EXPECT_EQ(Drafted(c.uid).flags(), c.want_flags);
    EXPECT_EQ(Drafted(c.uid).modseq(), 8u);
    EXPECT_EQ(Drafted(c.uid).blob(), std::string(16, static_cast<char>('a' + c.uid)));  // the rest stays
  }
}

// RFC 7162 §3.1.3
TEST_F(DecidersTest, UnchangedSinceLeavesOutWhatIsNewer) {
  change_.unchanged_since = Modseq(4);
  EXPECT_EQ(*Flags(Mode::kAdd, kSeen), Verdict::kCommit);
  EXPECT_EQ(batch_.modified, UidSet({{9, 9}}));
  EXPECT_EQ(draft_.store::Draft::Find(MessageKey(Uid(9))), nullptr);
}

TEST_F(DecidersTest, TwoStoresOfOneCommitHaveTheirOwnModseqs) {
  ASSERT_EQ(*Flags(Mode::kAdd, kSeen, {}, UidSet({{2, 3}})), Verdict::kCommit);
  EXPECT_EQ(batch_.own_modseq, Modseq(8));
  Overlay();
  ASSERT_EQ(*Flags(Mode::kAdd, kFlagged, {}, UidSet({{2, 2}})), Verdict::kCommit);
  EXPECT_EQ(batch_.own_modseq, Modseq(9));
  EXPECT_EQ(batch_.messages, (std::vector<MessageFlags>{{Uid(2), Modseq(9), kSeen | kFlagged, ""}}));
  EXPECT_EQ(Drafted(2).flags(), kSeen | kFlagged);
  EXPECT_EQ(UidSetFromFlat(Logged(8).changed()), UidSet({{2, 2}}));
  const store::Row newest = draft_.SealLog();
  EXPECT_EQ(newest.key, ChangeKey(Modseq(9)));
  EXPECT_EQ(UidSetFromFlat(DecodeRow<v1::ChangeRow>(newest.value)->changed()), UidSet({{2, 2}}));
  EXPECT_EQ(draft_.head.unseen, 2u);
}

TEST_F(DecidersTest, OnlyChangedReportsOnlyThose) {
  change_.only_changed = true;
  ASSERT_EQ(*Flags(Mode::kAdd, kSeen, {}, UidSet({{2, 3}})), Verdict::kCommit);
  EXPECT_EQ(batch_.messages, (std::vector<MessageFlags>{{Uid(2), Modseq(8), kSeen, ""}}));
}

TEST_F(DecidersTest, ADamagedRowIsNamed) {
  rows_.Put(MessageKey(Uid(5)), "\x02garbage");
  const absl::Status status = Flags(Mode::kAdd, kSeen).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("message 5"), absl::string_view::npos);
  EXPECT_TRUE(draft_.mutations().empty());
}

// ---- expunges

TEST_F(DecidersTest, AnExpungeTakesWhatIsDeleted) {
  EXPECT_EQ(*DecideExpunge(state_, draft_, UidSet::All(), Uid(), /*even_undeleted=*/false, batch_), Verdict::kCommit);
  EXPECT_EQ(batch_.expunged, UidSet({{5, 5}}));
  EXPECT_FALSE(batch_.more);
  EXPECT_EQ(draft_.head.exists, 3u);
  EXPECT_EQ(draft_.head.deleted, 0u);
  EXPECT_EQ(DecodeRow<v1::ChangeRow>(draft_.SealLog().value)->expunged_size(), 2);
}

TEST_F(DecidersTest, AnExpungeSeesTheFlagsOfItsCommit) {
  ASSERT_EQ(*Flags(Mode::kReplace, kDeleted | kSeen, {}, UidSet({{2, 2}})), Verdict::kCommit);
  Overlay();
  ASSERT_EQ(*DecideExpunge(state_, draft_, UidSet::All(), Uid(), false, batch_), Verdict::kCommit);
  EXPECT_EQ(batch_.expunged, UidSet({{2, 2}, {5, 5}}));
  EXPECT_EQ(draft_.head.deleted, 0u);
  EXPECT_EQ(draft_.head.unseen, 1u);
  // And what it removed is gone for the next.
  Overlay();
  EXPECT_EQ(*DecideExpunge(state_, draft_, UidSet::All(), Uid(), false, batch_), Verdict::kDone);
  EXPECT_EQ(*Flags(Mode::kAdd, kSeen, {}, UidSet({{2, 2}})), Verdict::kDone);
  EXPECT_TRUE(batch_.messages.empty());
}

TEST_F(DecidersTest, AnExpungeOfManyStopsAfterABatch) {
  for (uint32_t uid = 10; uid < 1000; ++uid) {
    v1::MessageRow row;
    row.set_flags(kDeleted);
    state_.index->Put(Uid(uid), row);
    draft_.head.Count(kDeleted, 0, +1);
  }
  ASSERT_EQ(*DecideExpunge(state_, draft_, UidSet({{10, 2000}}), Uid(), false, batch_), Verdict::kCommit);
  EXPECT_EQ(batch_.expunged.Count(), kBatchMessages);
  EXPECT_EQ(batch_.last_uid, Uid(909));
  EXPECT_TRUE(batch_.more);
}

// ---- copies and moves

TEST_F(DecidersTest, ACopyReadsWhatIsThere) {
  std::vector<CopyItem> items;
  std::vector<ObjectId> blobs;
  ASSERT_EQ(*DecideReadForCopy(state_, rows_, draft_, UidSet({{3, 7}}), Uid(), items, blobs), Verdict::kDone);
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].uid, Uid(3));
  EXPECT_EQ(items[0].keywords, std::vector<std::string>{"$Work"});
  EXPECT_EQ(blobs, (std::vector<ObjectId>{*ObjectId::FromBytes(std::string(16, 'd')),
                                          *ObjectId::FromBytes(std::string(16, 'f'))}));
}

TEST_F(DecidersTest, ACopyNumbersKeywordsAnewAndIsDoneOnce) {
  CopyItem item;
  item.uid = Uid(77);
  item.row = std::string(rows_.Value(MessageKey(Uid(3))));
  item.keywords = {"$Home", "$Other"};
  const std::string key = CopyBatchKey("op", 0);
  CopyBatch done;
  ASSERT_EQ(*DecideCopy(state_, rows_, draft_, key, {item}, /*last=*/true, kNow, done), Verdict::kCommit);
  EXPECT_EQ(done.uids, (std::vector<std::pair<Uid, Uid>>{{Uid(77), Uid(10)}}));
  EXPECT_EQ(done.covered_to, Uid(77));
  EXPECT_EQ(Drafted(10).keywords(), "\x06");
  EXPECT_EQ(Drafted(10).flags(), kSeen);
  Overlay();
  CopyBatch again;
  EXPECT_EQ(*DecideCopy(state_, rows_, draft_, key, {item}, true, kNow, again), Verdict::kDone);
  EXPECT_EQ(again.uids, done.uids);
  EXPECT_TRUE(again.last);
}

TEST_F(DecidersTest, ACopyOfNothingLeavesARowOnlyUnderAnId) {
  CopyBatch done;
  EXPECT_EQ(*DecideCopy(state_, rows_, draft_, "", {}, true, kNow, done), Verdict::kDone);
  EXPECT_EQ(*DecideCopy(state_, rows_, draft_, CopyBatchKey("op", 0), {}, true, kNow, done), Verdict::kCommit);
}

TEST_F(DecidersTest, AMoveHasOneIntentUntilItIsFinished) {
  const MoveIntent intent{"op", FolderId("target"), UidSet({{2, 3}}), 0, true};
  ASSERT_EQ(*DecideBeginMove(rows_, draft_, intent, kNow), Verdict::kCommit);
  EXPECT_EQ(draft_.head.intents, 1u);
  Overlay();
  EXPECT_EQ(DecideBeginMove(rows_, draft_, intent, kNow).status().code(), absl::StatusCode::kAborted);
  ASSERT_EQ(*DecideFinishMove(state_, rows_, draft_, "op", UidSet({{2, 2}}), batch_), Verdict::kCommit);
  EXPECT_EQ(batch_.expunged, UidSet({{2, 2}}));
  EXPECT_EQ(draft_.head.intents, 0u);
  Overlay();
  EXPECT_EQ(*DecideFinishMove(state_, rows_, draft_, "op", UidSet({{2, 2}}), batch_), Verdict::kDone);
}

TEST_F(DecidersTest, FinishingAMoveLooksForItsIntent) {
  EXPECT_EQ(*DecideFinishMove(state_, rows_, draft_, "op", UidSet({{2, 2}}), batch_), Verdict::kNeedRows);
  EXPECT_EQ(draft_.needed(), std::vector<std::string>{IntentKey("op")});
}

// ---- the change log

TEST_F(DecidersTest, TheLogKeepsItsLength) {
  draft_.log_entries = 3;
  draft_.head.log_floor = Modseq(1);  // six rows: two go with each that comes
  ASSERT_TRUE(Append(Message()).ok());
  draft_.SealLog();
  EXPECT_EQ(draft_.head.log_floor, Modseq(3));
  const store::Mutation* dropped = draft_.store::Draft::Find(ChangeKey(Modseq(3)));
  ASSERT_NE(dropped, nullptr);
  EXPECT_FALSE(dropped->value.has_value());
}

TEST_F(DecidersTest, ACommitWithoutAChangeTakesAModseqToo) {
  EXPECT_EQ(draft_.SealLog().key, ChangeKey(Modseq(8)));
  EXPECT_EQ(draft_.head.highest_modseq, Modseq(8));
}

}  // namespace
}  // namespace posthouse::mailbox
