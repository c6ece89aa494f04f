// The spool's model without a store: drafts, heads and ledgers.
#include "services/queue/spool/spool_model.h"

#include <gtest/gtest.h>

#include "services/common/async/sync.h"
#include "services/common/store/testing/memory_store.h"
#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {
namespace {

using store::Verdict;

const QueueId kFirst = *QueueId::FromText("01HF7YAT3VZZZZZZZZZZZZZZZZ");

std::string IdempotencyValue(const std::string& queue_id) {
  v1::IdempotencyRow row;
  row.set_queue_id(queue_id);
  return EncodeValue(row);
}

Change NewChange(const std::string& key) {
  Change change;
  change.idempotency_key = key;
  change.Set("i/x", "item");
  change.Remove("t/x");
  change.ledger.accepted = 2;
  change.ledger.items = 1;
  change.drop_blobs = {"blob"};
  return change;
}

TEST(DecideChangeTest, NewAndKnownKeys) {
  const struct {
    const char* name;
    std::string key;
    std::optional<std::string> row;  // of the key, when it was read
    bool was_read;
    absl::StatusOr<Verdict> verdict;
    bool duplicate;
    size_t guards, mutations;
  } kCases[] = {
      {"no key", "", std::nullopt, false, Verdict::kCommit, false, 0, 2},
      {"a key that was not looked up", "k", std::nullopt, false, Verdict::kCommit, false, 1, 2},
      {"a key without a row", "k", std::nullopt, true, Verdict::kCommit, false, 1, 2},
      {"a key of an earlier call", "k", IdempotencyValue(kFirst.Text()), true, Verdict::kDone, true, 0, 0},
      {"a damaged row", "k", "\x02", true, absl::DataLossError(""), false, 0, 0},
      {"a row without an id", "k", IdempotencyValue(""), true, absl::DataLossError(""), false, 0, 0},
  };
  for (const auto& c : kCases) {
    store::FetchedRows rows;
    if (c.was_read) rows.Put(IdempotencyRowKey(c.key), c.row);
    SpoolDraft draft;
    std::optional<QueueId> duplicate_of;
    const absl::StatusOr<Verdict> verdict = DecideChange(NewChange(c.key), rows, draft, &duplicate_of);
    ASSERT_EQ(verdict.status().code(), c.verdict.status().code()) << c.name;
    if (verdict.ok()) EXPECT_EQ(*verdict, *c.verdict) << c.name;
    EXPECT_EQ(duplicate_of, c.duplicate ? std::optional(kFirst) : std::nullopt) << c.name;
    EXPECT_EQ(draft.guards().size(), c.guards) << c.name;
    EXPECT_EQ(draft.mutations().size(), c.mutations) << c.name;
    EXPECT_EQ(draft.ledger.accepted, c.mutations > 0 ? 2 : 0) << c.name;
  }
}

// The primitive asks again only for changes that go on without room; their removals fit.
TEST(DecideChangeTest, AFullStoreGetsOnlyRemovals) {
  SpoolDraft draft;
  draft.SetStoreIsFull();
  std::optional<QueueId> duplicate_of;
  const absl::StatusOr<Verdict> verdict = DecideChange(NewChange(""), {}, draft, &duplicate_of);
  ASSERT_TRUE(verdict.ok());
  EXPECT_EQ(*verdict, Verdict::kCommit);
  ASSERT_EQ(draft.mutations().size(), 1u);
  EXPECT_EQ(draft.mutations()[0].key, "t/x");
  EXPECT_EQ(draft.mutations()[0].value, std::nullopt);
  EXPECT_EQ(draft.ledger.accepted, 2);  // the head is written, by the reserve
  EXPECT_EQ(draft.drop_blobs.size(), 1u);
}

TEST(DecideChangeTest, ChangesOfOneCommitAddUpAndTheLaterRowWins) {
  SpoolDraft draft;
  std::optional<QueueId> duplicate_of;
  Change later = NewChange("b");
  later.mutations[0].value = "later";
  ASSERT_TRUE(DecideChange(NewChange("a"), {}, draft, &duplicate_of).ok());
  ASSERT_TRUE(DecideChange(later, {}, draft, &duplicate_of).ok());
  EXPECT_EQ(draft.ledger.accepted, 4);
  EXPECT_EQ(draft.ledger.items, 2);
  EXPECT_EQ(draft.drop_blobs.size(), 2u);
  ASSERT_EQ(draft.mutations().size(), 2u);
  EXPECT_EQ(draft.mutations()[0].value, "later");
}

class SpoolModelTest : public ::testing::Test {
 protected:
  SpoolModel NewModel(uint64_t owner) {
    return SpoolModel(store_, QueuePartition("0"), owner, last_head_, [](std::vector<std::string>) {});
  }
  // Seals, stores and applies a commit without changes.
  void Commit(SpoolModel& model, v1::Head& head) {
    SpoolDraft draft;
    const store::SealedDraft sealed = *model.Seal(head, draft);
    store::CommitRequest request{.partition = QueuePartition("0")};
    request.mutations.push_back({HeadKey(), sealed.head});
    ASSERT_TRUE(SyncWait(store_.Commit(request)).ok());
    model.Apply(head, draft);
  }

  store::MemoryStore store_;
  std::shared_ptr<LastHead> last_head_ = std::make_shared<LastHead>();
};

TEST_F(SpoolModelTest, TheHeadCountsTheLedger) {
  v1::Head head;
  head.set_accepted(10);
  head.set_items(4);
  LedgerDelta delta;
  delta.accepted = 1;
  delta.delivered = 2;
  delta.relayed = 3;
  delta.failed = 4;
  delta.expired = 5;
  delta.deleted = 6;
  delta.items = -1;
  const v1::Head next = NextHead(head, delta);
  EXPECT_EQ(next.accepted(), 11u);
  EXPECT_EQ(next.delivered(), 2u);
  EXPECT_EQ(next.relayed(), 3u);
  EXPECT_EQ(next.failed(), 4u);
  EXPECT_EQ(next.expired(), 5u);
  EXPECT_EQ(next.deleted(), 6u);
  EXPECT_EQ(next.items(), 3u);
}

TEST_F(SpoolModelTest, NoTwoCommitsHaveTheSameHead) {
  SpoolModel model = NewModel(7);
  v1::Head head;
  SpoolDraft lost, same, taken_over;
  const std::string first = model.Seal(head, lost)->head;
  EXPECT_NE(model.Seal(head, same)->head, first);
  model.Apply(head, same);
  EXPECT_EQ(head.epoch(), 1u);
  EXPECT_EQ(head.owner(), 7u);
  EXPECT_EQ(head.sequence(), 2u);
  EXPECT_NE(model.Seal(head, taken_over)->head, EncodeValue(head));
  EXPECT_EQ(taken_over.head.epoch(), 1u);  // only the first commit takes the shard over
  // Two processes that open the shard at the same time.
  SpoolModel other = NewModel(9);
  SpoolDraft others;
  EXPECT_NE(other.Seal(v1::Head(), others)->head, first);
}

TEST_F(SpoolModelTest, AHeadOfAnotherOwnerIsFenced) {
  SpoolModel model = NewModel(7);
  v1::Head head;
  Commit(model, head);
  EXPECT_TRUE(SyncWait(model.Load(0)).ok());
  SpoolModel other = NewModel(9);
  v1::Head others = SyncWait(other.Load(0))->state;
  Commit(other, others);
  EXPECT_EQ(others.epoch(), 2u);
  EXPECT_EQ(SyncWait(model.Load(0)).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(SyncWait(other.Load(0)).ok());
}

// A binary that does not know the mark keeps the field, and raises the epoch.
TEST_F(SpoolModelTest, AMarkOfAReleaseIsOfOneEpoch) {
  SpoolModel model = NewModel(7);
  v1::Head head;
  SpoolDraft taken, released, again;
  ASSERT_TRUE(model.Seal(head, taken).ok());
  model.Apply(head, taken);
  EXPECT_FALSE(IsReleased(head));
  released.release = true;
  ASSERT_TRUE(model.Seal(head, released).ok());
  model.Apply(head, released);
  EXPECT_TRUE(IsReleased(head));
  v1::Head of_an_earlier_version = head;
  of_an_earlier_version.set_epoch(head.epoch() + 1);
  EXPECT_FALSE(IsReleased(of_an_earlier_version));
  ASSERT_TRUE(model.Seal(head, again).ok());
  EXPECT_FALSE(IsReleased(again.head));
  EXPECT_FALSE(IsReleased(v1::Head()));
}

// A binary that does not know the owner raises the epoch and keeps the field.
TEST_F(SpoolModelTest, AHeadOfAnEarlierVersionIsFencedToo) {
  SpoolModel model = NewModel(7);
  v1::Head head;
  Commit(model, head);
  head.set_epoch(head.epoch() + 1);
  store::CommitRequest request{.partition = QueuePartition("0")};
  request.mutations.push_back({HeadKey(), EncodeValue(head)});
  ASSERT_TRUE(SyncWait(store_.Commit(request)).ok());
  EXPECT_EQ(SyncWait(model.Load(0)).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace posthouse::queue
