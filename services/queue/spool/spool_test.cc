// Spool on the memory engine, with faults at each step.
#include "services/queue/spool/spool.h"
#include "services/common/testing/wait.h"

#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "services/common/async/thread_pool.h"
#include "services/common/status/status.h"
#include "services/common/store/testing/memory_store.h"
#include "services/common/store/testing/store_with_hole.h"
#include "services/queue/spool/item_record.h"
#include "services/queue/spool/key_schema.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

class SpoolTest : public ::testing::Test {
 protected:
  SpoolTest() { Reopen(); }
  ~SpoolTest() override { Shut(); }

  void Shut() {
    if (spool_ != nullptr) SyncWait(spool_->Close());
    spool_ = nullptr;
  }
  // A restart: only the disk remains.
  void Reopen() {
    Shut();
    store_ = std::make_unique<store::MemoryStore>(disk_);
    spool_ = OpenSpool(*store_);
  }
  std::unique_ptr<Spool> OpenSpool(store::Store& store) {
    SpoolOptions options;
    options.executor = &pool_;
    options.linger = absl::Milliseconds(1);
    options.memory_body_budget = budget_;
    options.clock = [this] { return now_; };
    absl::StatusOr<std::unique_ptr<Spool>> spool = SyncWait(Spool::Open(store, options));
    EXPECT_TRUE(spool.ok()) << spool.status();
    return *std::move(spool);
  }

  std::shared_ptr<ItemRecord> NewRecord(int recipients = 1, absl::string_view key = "") {
    auto record = std::make_shared<ItemRecord>();
    record->idempotency_key = std::string(key);
    record->item.mutable_envelope()->set_reverse_path("sender@example.org");
    for (int i = 0; i < recipients; ++i) {
      auto* recipient = record->item.add_recipients();
      recipient->set_state(v1::RECIPIENT_STATE_QUEUED);
      recipient->mutable_recipient()->set_address(absl::StrCat("r", i, "@example.com"));
      recipient->mutable_recipient()->mutable_resolved()->mutable_remote()->set_domain("example.com");
      ToProto(now_, recipient->mutable_next_attempt());
    }
    ToProto(now_, record->item.mutable_accepted());
    ToProto(now_ + absl::Hours(120), record->item.mutable_expires());
    RefreshNextAttempt(&record->item);
    return record;
  }
  absl::StatusOr<PutResult> TryPut(const std::string& bytes, int recipients = 1, absl::string_view key = "") {
    std::unique_ptr<BodyWriter> writer = spool_->NewBody();
    for (size_t at = 0; at < bytes.size(); at += 10000) {
      PH_RETURN_IF_ERROR(SyncWait(writer->Append(bytes.substr(at, 10000))));
    }
    PH_ASSIGN_OR_RETURN(Body body, SyncWait(writer->Finish()));
    return SyncWait(spool_->Put(NewRecord(recipients, key), std::move(body), now_ + absl::Hours(4)));
  }
  QueueId Put(const std::string& bytes, int recipients = 1, absl::string_view key = "") {
    absl::StatusOr<PutResult> put = TryPut(bytes, recipients, key);
    EXPECT_TRUE(put.ok()) << put.status();
    return put.ok() ? put->queue_id : QueueId();
  }
  ItemRecord Loaded(const QueueId& id) {
    absl::StatusOr<std::optional<ItemRecord>> record = SyncWait(spool_->Load(id));
    EXPECT_TRUE(record.ok() && record->has_value()) << record.status();
    return record.ok() && record->has_value() ? **std::move(record) : ItemRecord();
  }
  std::string BodyOf(const QueueId& id) {
    const ItemRecord record = Loaded(id);
    absl::StatusOr<absl::Cord> body = SyncWait(spool_->ReadBody(id, record.item.blob(), 0, record.item.size_bytes()));
    return body.ok() ? std::string(*body) : body.status().ToString();
  }
  Change SettleAll(ItemRecord* record, v1::RecipientState state) {
    const absl::Time old_due = record->due();
    Change change;
    std::vector<int> all;
    for (int i = 0; i < record->item.recipients_size(); ++i) {
      record->item.mutable_recipients(i)->set_state(state);
      change.ledger.CountSettled(state);
      all.push_back(i);
    }
    AddSettle(record, old_due, now_, all, &change);
    change.removal_only_ok = true;
    return change;
  }
  // Prefixes of the item's rows, and all idempotency keys.
  std::vector<std::string> Keys(const QueueId& id) {
    absl::StatusOr<store::ReadResult> read =
        SyncWait(store_->Read({.partition = QueuePartition("0"), .limit = store::kMaxPageRows}));
    std::vector<std::string> keys;
    for (const store::Row& row : read->page) {
      const size_t at = row.key.find(id.Text());
      if (at != std::string::npos) keys.push_back(row.key.substr(0, 2));
      if (row.key[0] == 'k') keys.push_back(row.key);
    }
    return keys;
  }
  std::vector<std::string> Blobs() {
    const store::BlobPage page = *SyncWait(store_->blobs().List(kStoreTenant, "", 100));
    std::vector<std::string> names;
    for (const store::BlobInfo& blob : page.blobs) names.push_back(blob.name);
    return names;
  }

  absl::Time now_ = kStart;
  size_t budget_ = 64 * 1024 * 1024;
  ThreadPool pool_{1};
  std::shared_ptr<store::MemoryDisk> disk_ = std::make_shared<store::MemoryDisk>();
  std::unique_ptr<store::MemoryStore> store_;
  std::unique_ptr<Spool> spool_;
};

using Strings = std::vector<std::string>;

TEST_F(SpoolTest, APutIsThereAfterARestart) {
  const QueueId id = Put("Subject: x\r\n\r\nhello\r\n", 2, "key-1");
  Reopen();
  const ItemRecord record = Loaded(id);
  EXPECT_EQ(record.item.recipients_size(), 2);
  EXPECT_EQ(record.item.size_bytes(), 21u);
  EXPECT_EQ(BodyOf(id), "Subject: x\r\n\r\nhello\r\n");
  EXPECT_EQ(Keys(id), (Strings{"b/", "i/", "k/key-1", "t/"}));
  EXPECT_EQ(spool_->ledger().accepted, 2u);
  EXPECT_EQ(spool_->ledger().queued(), 2u);
  EXPECT_EQ(spool_->ledger().items, 1u);
}

TEST_F(SpoolTest, BodiesAroundTheRowLimit) {
  const size_t limit = store_->Limits().max_row_body_bytes;
  for (const size_t size : {size_t{0}, size_t{1}, limit, limit + 1, size_t{300000}}) {
    const std::string bytes(size, 'x');
    const QueueId id = Put(bytes);
    EXPECT_EQ(Loaded(id).item.blob().empty(), size <= limit) << size;
    EXPECT_EQ(BodyOf(id), bytes) << size;
  }
}

TEST_F(SpoolTest, SmallBodiesStayInMemoryAndLargeOnesDoNot) {
  for (const auto& [size, kept] :
       {std::pair<size_t, bool>{100, true}, {100000, true}, {kMaxMemoryBodyBytes + 1, false}}) {
    std::unique_ptr<BodyWriter> writer = spool_->NewBody();
    ASSERT_TRUE(SyncWait(writer->Append(std::string(size, 'x'))).ok());
    const absl::StatusOr<Body> body = SyncWait(writer->Finish());
    ASSERT_TRUE(body.ok());
    EXPECT_EQ(body->memory != nullptr, kept) << size;
    if (kept) EXPECT_EQ(body->memory->size(), size);
  }
}

// Also while bodies are being received.
TEST_F(SpoolTest, BodiesInMemoryAreBoundedTogether) {
  budget_ = 200000;
  Reopen();
  std::vector<std::unique_ptr<BodyWriter>> writers;
  for (int i = 0; i < 20; ++i) {
    writers.push_back(spool_->NewBody());
    for (int piece = 0; piece < 5; ++piece) ASSERT_TRUE(SyncWait(writers.back()->Append(std::string(10000, 'x'))).ok());
    EXPECT_LE(spool_->body_memory(), budget_ + 20 * store_->Limits().max_row_body_bytes);
  }
  std::vector<Body> bodies;
  for (const auto& writer : writers) bodies.push_back(*SyncWait(writer->Finish()));
  EXPECT_LE(spool_->body_memory(), budget_);
  EXPECT_NE(bodies[0].memory, nullptr);
  EXPECT_EQ(bodies[19].memory, nullptr);
  bodies.clear();
  writers.clear();
  EXPECT_EQ(spool_->body_memory(), 0u);
}

TEST_F(SpoolTest, TheSameKeyReturnsTheFirstId) {
  const QueueId id = Put("one", 1, "same");
  const absl::StatusOr<PutResult> again = TryPut(std::string(50000, 'y'), 1, "same");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->queue_id, id);
  EXPECT_TRUE(again->duplicate);
  EXPECT_EQ(Blobs(), Strings{});  // the second body is gone
  Reopen();
  EXPECT_EQ(TryPut("three", 1, "same")->queue_id, id);
  EXPECT_EQ(spool_->ledger().accepted, 1u);
  // Also after the message was delivered.
  ItemRecord record = Loaded(id);
  ASSERT_TRUE(SyncWait(spool_->Commit(SettleAll(&record, v1::RECIPIENT_STATE_DELIVERED))).ok());
  EXPECT_EQ(TryPut("four", 1, "same")->queue_id, id);
}

TEST_F(SpoolTest, SettlingLeavesADoneMark) {
  const QueueId id = Put(std::string(20000, 'z'), 1, "k");
  EXPECT_EQ(Blobs(), Strings{id.Text()});
  ItemRecord record = Loaded(id);
  ASSERT_TRUE(SyncWait(spool_->Commit(SettleAll(&record, v1::RECIPIENT_STATE_RELAYED))).ok());
  EXPECT_EQ(Keys(id), (Strings{"D/", "k/k"}));
  EXPECT_EQ(Blobs(), Strings{});
  Reopen();
  EXPECT_FALSE(SyncWait(spool_->Load(id))->has_value());
  const absl::StatusOr<std::optional<ItemRecord>> done = SyncWait(spool_->LoadDone(id));
  ASSERT_TRUE(done.ok() && done->has_value());
  EXPECT_EQ((*done)->item.recipients(0).state(), v1::RECIPIENT_STATE_RELAYED);
  const Ledger ledger = spool_->ledger();
  EXPECT_EQ(ledger.relayed, 1u);
  EXPECT_EQ(ledger.queued(), 0u);
  EXPECT_EQ(ledger.items, 0u);
}

TEST_F(SpoolTest, AnUpdateMovesTheDueRow) {
  const QueueId id = Put("x");
  ItemRecord record = Loaded(id);
  const absl::Time old_due = record.due();
  ToProto(now_ + absl::Hours(1), record.item.mutable_recipients(0)->mutable_next_attempt());
  RefreshNextAttempt(&record.item);
  Change change;
  AddUpdate(&record, old_due, now_ + absl::Hours(2), {0}, &change);
  ASSERT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  const absl::StatusOr<DuePage> page = SyncWait(spool_->ReadDue("", 10));
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->entries.size(), 1u);
  EXPECT_EQ(page->entries[0].due, now_ + absl::Hours(1));
  EXPECT_EQ(page->entries[0].wake, now_ + absl::Hours(2));
  EXPECT_EQ(page->entries[0].destination, Destination::Remote("example.com"));
}

TEST_F(SpoolTest, ManyRecipientsLieInRowsOfTheirOwn) {
  const QueueId id = Put("x", 20);
  EXPECT_EQ(Keys(id), (Strings{"b/", "i/", "r/", "r/", "r/", "t/"}));
  Reopen();
  ItemRecord record = Loaded(id);
  ASSERT_EQ(record.item.recipients_size(), 20);
  EXPECT_EQ(record.item.recipients(19).recipient().address(), "r19@example.com");
  // Only the changed recipients' row is written again.
  record.item.mutable_recipients(9)->set_attempts(7);
  Change change;
  AddUpdate(&record, record.due(), now_, {9}, &change);
  EXPECT_EQ(change.mutations.size(), 3u);  // i, r/1, t
  ASSERT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  EXPECT_EQ(Loaded(id).item.recipients(9).attempts(), 7u);
  // The done mark has them all.
  ASSERT_TRUE(SyncWait(spool_->Commit(SettleAll(&record, v1::RECIPIENT_STATE_FAILED))).ok());
  EXPECT_EQ((*SyncWait(spool_->LoadDone(id)))->item.recipients_size(), 20);
  EXPECT_EQ(Keys(id), (Strings{"D/", "r/", "r/", "r/"}));
}

TEST_F(SpoolTest, RecipientsThatAreAddedOutgrowTheItemRow) {
  const QueueId id = Put("x", 8);
  ItemRecord record = Loaded(id);
  EXPECT_EQ(record.recipient_rows, 0u);
  *record.item.add_recipients() = record.item.recipients(0);
  Change change;
  AddUpdate(&record, record.due(), now_, {8}, &change);
  change.ledger.accepted = 1;
  ASSERT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  EXPECT_EQ(Loaded(id).item.recipients_size(), 9);
}

TEST_F(SpoolTest, DuePagesComeInOrder) {
  std::vector<QueueId> ids;
  for (int i = 0; i < 5; ++i) {
    now_ = kStart + absl::Seconds(i);
    ids.push_back(Put("x"));
  }
  absl::StatusOr<DuePage> page = SyncWait(spool_->ReadDue("", 3));
  EXPECT_TRUE(page->more);
  EXPECT_EQ(page->entries[2].queue_id, ids[2]);
  page = SyncWait(spool_->ReadDue(page->last_key, 3));
  EXPECT_FALSE(page->more);
  ASSERT_EQ(page->entries.size(), 2u);
  EXPECT_EQ(page->entries[1].queue_id, ids[4]);
}

// A damaged row hides no other row.
TEST_F(SpoolTest, PagesOfItemsGoOnBehindABadRow) {
  std::vector<QueueId> ids;
  for (int i = 0; i < 6; ++i) {
    ids.push_back(Put("x", i == 3 ? 20 : 1));
    now_ += absl::Milliseconds(1);
  }
  Change change;
  change.Set(ItemKey(ids[1]), "\x01\xff not an item");
  change.Remove(RecipientsKey(ids[3], 1));
  ASSERT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  std::vector<QueueId> found;
  std::string after;
  for (int pages = 1;; ++pages) {
    absl::StatusOr<ItemPage> page = SyncWait(spool_->ReadItems(false, after, 2));
    ASSERT_TRUE(page.ok());
    for (const ItemRecord& record : page->items) found.push_back(record.queue_id());
    if (!page->more) break;
    ASSERT_LT(pages, 10);
    after = page->last_id;
  }
  EXPECT_EQ(found, (std::vector<QueueId>{ids[0], ids[2], ids[4], ids[5]}));
}

TEST_F(SpoolTest, ADamagedBlockOfItemsCostsTheItemsInIt) {
  std::vector<QueueId> ids;
  for (int i = 0; i < 6; ++i) {
    ids.push_back(Put("x", 1));
    now_ += absl::Milliseconds(1);
  }
  Shut();
  store::StoreWithHole hole(*store_, ItemKey(ids[1]), ItemKey(ids[2]));
  spool_ = OpenSpool(hole);
  const absl::StatusOr<ItemPage> page = SyncWait(spool_->ReadItems(false, "", 100));
  ASSERT_TRUE(page.ok()) << page.status();
  std::vector<QueueId> found;
  for (const ItemRecord& record : page->items) found.push_back(record.queue_id());
  // The first page ends before the damage.
  ASSERT_TRUE(page->more);
  const absl::StatusOr<ItemPage> rest = SyncWait(spool_->ReadItems(false, page->last_id, 100));
  ASSERT_TRUE(rest.ok()) << rest.status();
  for (const ItemRecord& record : rest->items) found.push_back(record.queue_id());
  EXPECT_EQ(found, (std::vector<QueueId>{ids[0], ids[3], ids[4], ids[5]}));
  EXPECT_TRUE(absl::IsDataLoss(SyncWait(spool_->Load(ids[1])).status()));
  Put("y");
  Shut();
}

// Where the index cannot be read, the items say what is due.
TEST_F(SpoolTest, ADamagedBlockOfTheDueIndexDelaysNothing) {
  std::vector<QueueId> ids;
  std::vector<std::string> due;
  for (int i = 0; i < 6; ++i) {
    ids.push_back(Put("x", 1));
    due.push_back(DueKey(Loaded(ids.back()).due(), ids.back()));
    now_ += absl::Milliseconds(1);
  }
  Shut();
  for (const auto& [first, last] : std::vector<std::pair<std::string, std::string>>{
           {due[1], due[3]}, {kDuePrefix, due[2]}, {due[4], due[5]}, {kDuePrefix, due[5]}}) {
    store::StoreWithHole hole(*store_, first, last);
    spool_ = OpenSpool(hole);
    std::vector<QueueId> found;
    std::string after;
    for (bool more = true; more;) {
      const absl::StatusOr<DuePage> page = SyncWait(spool_->ReadDue(after, 2));
      ASSERT_TRUE(page.ok()) << page.status();
      for (const DueEntry& entry : page->entries) found.push_back(entry.queue_id);
      more = page->more;
      after = page->last_key;
      ASSERT_LE(found.size(), 6u);
    }
    EXPECT_EQ(found, ids);
    Shut();
  }
}

// A damaged head costs the sums, and not the start.
TEST_F(SpoolTest, ADamagedHeadIsMadeAnewFromTheItems) {
  Put("x", 3);
  Put("y", 20);
  Shut();
  store::CommitRequest commit{.partition = QueuePartition("0")};
  commit.mutations.push_back({HeadKey(), "\x01\xff\xff not a head"});
  ASSERT_TRUE(SyncWait(store_->Commit(commit)).ok());
  Reopen();
  EXPECT_EQ(spool_->ledger().queued(), 23u);
  EXPECT_EQ(spool_->ledger().items, 2u);
  Put("z");
  Reopen();
  EXPECT_EQ(spool_->ledger().queued(), 24u);
  Shut();
  store::StoreWithHole hole(*store_, HeadKey(), HeadKey());
  spool_ = OpenSpool(hole);
  EXPECT_EQ(spool_->ledger().queued(), 24u);
  Put("z");
  Shut();
}

TEST_F(SpoolTest, PagesOfLargeItemsAreShort) {
  for (int i = 0; i < 40; ++i) Put("x", 2000);
  absl::StatusOr<ItemPage> page = SyncWait(spool_->ReadItems(false, "", 100));
  ASSERT_TRUE(page.ok());
  EXPECT_LT(page->items.size(), 30u);
  EXPECT_TRUE(page->more);
}

// ---- faults

TEST_F(SpoolTest, ARefusedPutLeavesNothing) {
  disk_->SetCommitHook([](const store::CommitRequest&, bool*) { return absl::UnavailableError("disk"); });
  EXPECT_EQ(TryPut(std::string(50000, 'x')).status().code(), absl::StatusCode::kUnavailable);
  disk_->SetCommitHook(nullptr);
  EXPECT_EQ(Blobs(), Strings{});
  EXPECT_EQ(spool_->ledger().accepted, 0u);
  Reopen();
  EXPECT_EQ(SyncWait(spool_->ReadDue("", 10))->entries.size(), 0u);
  EXPECT_EQ(spool_->ledger().accepted, 0u);
}

// With either outcome the answer is right and the message is stored once.
TEST_F(SpoolTest, AnUnknownCommitIsLookedUp) {
  for (const bool happened : {false, true}) {
    int calls = 0;
    disk_->SetCommitHook([&calls, happened](const store::CommitRequest&, bool* apply_anyway) -> absl::Status {
      if (calls++ > 0) return absl::OkStatus();
      *apply_anyway = happened;
      return absl::DeadlineExceededError("who knows");
    });
    const uint64_t before = spool_->ledger().accepted;
    const absl::StatusOr<PutResult> put = TryPut("x", 1, happened ? "a" : "b");
    ASSERT_TRUE(put.ok()) << put.status();
    EXPECT_FALSE(put->duplicate);
    EXPECT_EQ(spool_->ledger().accepted, before + 1);
    EXPECT_EQ(calls, happened ? 1 : 2);  // the head tells
    disk_->SetCommitHook(nullptr);
    EXPECT_EQ(BodyOf(put->queue_id), "x");
  }
}

// The store loses the answer to a commit that happened, and answers with another error
// meanwhile: that error says nothing about the first commit.
TEST_F(SpoolTest, AnUnknownCommitIsNotTakenForAFailedOne) {
  for (const absl::Status& meanwhile : {absl::UnavailableError("recovering"), absl::ResourceExhaustedError("full")}) {
    int calls = 0;
    disk_->SetCommitHook([&](const store::CommitRequest&, bool* apply_anyway) -> absl::Status {
      if (++calls > 2) return absl::OkStatus();
      *apply_anyway = calls == 1;
      return calls == 1 ? absl::DeadlineExceededError("who knows") : meanwhile;
    });
    const uint64_t before = spool_->ledger().accepted;
    const absl::StatusOr<PutResult> put = TryPut(std::string(50000, 'x'));
    disk_->SetCommitHook(nullptr);
    ASSERT_TRUE(put.ok()) << put.status();
    EXPECT_EQ(spool_->ledger().accepted, before + 1);
    EXPECT_EQ(BodyOf(put->queue_id).size(), 50000u);
  }
}

// Closed before the outcome was known. The sender's retry after the restart gets "duplicate",
// so the message must be there, with its body.
TEST_F(SpoolTest, ABodyOfAnUnknownPutIsKept) {
  absl::Notification tried;
  disk_->SetCommitHook([&](const store::CommitRequest&, bool* apply_anyway) -> absl::Status {
    *apply_anyway = !tried.HasBeenNotified();
    if (!tried.HasBeenNotified()) tried.Notify();
    return absl::DeadlineExceededError("who knows");
  });
  disk_->SetReadError(absl::UnavailableError("no answer"));  // nor does the head tell
  absl::StatusOr<PutResult> put = absl::InternalError("not called");
  std::thread sender([&] { put = TryPut(std::string(50000, 'x'), 1, "key"); });
  WaitFor(tried);
  SyncWait(spool_->Close());
  sender.join();
  EXPECT_EQ(put.status().code(), absl::StatusCode::kDeadlineExceeded) << put.status();
  disk_->SetCommitHook(nullptr);
  disk_->SetReadError(absl::OkStatus());
  spool_ = nullptr;
  Reopen();
  const absl::StatusOr<PutResult> again = TryPut(std::string(50000, 'x'), 1, "key");
  ASSERT_TRUE(again.ok() && again->duplicate);
  EXPECT_EQ(BodyOf(again->queue_id).size(), 50000u);
}

// A store that answers "unavailable" although the commit happened breaks its contract; the
// ledger is right from the next commit on.
TEST_F(SpoolTest, ALostAnswerIsAdopted) {
  int calls = 0;
  disk_->SetCommitHook([&calls](const store::CommitRequest&, bool* apply_anyway) -> absl::Status {
    if (calls++ > 0) return absl::OkStatus();
    *apply_anyway = true;
    return absl::UnavailableError("no answer");
  });
  EXPECT_FALSE(TryPut("x").ok());
  Put("y");
  EXPECT_EQ(spool_->ledger().accepted, 2u);
  EXPECT_TRUE(spool_->healthy().ok());
}

TEST_F(SpoolTest, ASecondWriterFencesTheFirst) {
  Put("x");
  store::MemoryStore other(disk_);
  std::unique_ptr<Spool> second = OpenSpool(other);
  EXPECT_EQ(TryPut("y").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(spool_->healthy().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(TryPut("z").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(second->ledger().accepted, 1u);
  SyncWait(second->Close());
}

// A stop hands the shard back, a kill does not. Where owners hold leases, only the second one keeps a successor
// waiting.
TEST_F(SpoolTest, TheNextOwnerKnowsWhetherTheShardWasHandedBack) {
  EXPECT_EQ(spool_->predecessor(), Predecessor::kNone);
  const QueueId id = Put("x");
  Reopen();
  EXPECT_EQ(spool_->predecessor(), Predecessor::kNotReleased);
  ASSERT_TRUE(SyncWait(spool_->Release(absl::InfiniteFuture())).ok());
  EXPECT_EQ(spool_->ledger().queued(), 1u);
  Reopen();
  EXPECT_EQ(spool_->predecessor(), Predecessor::kReleased);
  EXPECT_EQ(BodyOf(id), "x");
  EXPECT_EQ(spool_->ledger().accepted, 1u);
  // It holds for the owner that made it only.
  Reopen();
  EXPECT_EQ(spool_->predecessor(), Predecessor::kNotReleased);
}

// The mark is of the last commit: what was submitted before it is done, and a change after it takes the shard again.
TEST_F(SpoolTest, AReleaseFollowsAllChangesAndIsUndoneByALaterOne) {
  ItemRecord record = Loaded(Put("x"));
  absl::Notification settled;
  spool_->Submit(SettleAll(&record, v1::RECIPIENT_STATE_DELIVERED), [&settled](const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    settled.Notify();
  });
  ASSERT_TRUE(SyncWait(spool_->Release(absl::InfiniteFuture())).ok());
  EXPECT_TRUE(settled.WaitForNotificationWithTimeout(absl::Seconds(30)));
  EXPECT_EQ(spool_->ledger().delivered, 1u);
  Put("y");
  Reopen();
  EXPECT_EQ(spool_->predecessor(), Predecessor::kNotReleased);
  EXPECT_EQ(spool_->ledger().accepted, 2u);
}

// Also on a full disk: the head has room in the reserve. A fenced owner has nothing to hand back.
TEST_F(SpoolTest, AFullDiskAllowsAReleaseAndAFenceDoesNot) {
  Put("x");
  disk_->SetFreeBytes(0);
  EXPECT_TRUE(SyncWait(spool_->Release(absl::InfiniteFuture())).ok());
  disk_->SetFreeBytes(1 << 20);
  store::MemoryStore other(disk_);
  std::unique_ptr<Spool> second = OpenSpool(other);
  EXPECT_EQ(second->predecessor(), Predecessor::kReleased);
  EXPECT_EQ(SyncWait(spool_->Release(absl::InfiniteFuture())).code(), absl::StatusCode::kFailedPrecondition);
  SyncWait(second->Close());
  Reopen();
  EXPECT_EQ(spool_->predecessor(), Predecessor::kNotReleased);
}

TEST_F(SpoolTest, AFullStoreRefusesPutsAndStillSettles) {
  const QueueId id = Put("x");
  ItemRecord record = Loaded(id);
  disk_->SetFreeBytes(0);
  EXPECT_EQ(TryPut("y").status().code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(SyncWait(spool_->Commit(SettleAll(&record, v1::RECIPIENT_STATE_DELIVERED))).ok());
  EXPECT_EQ(Keys(id), Strings{});
  EXPECT_EQ(spool_->ledger().delivered, 1u);
  disk_->SetFreeBytes(1 << 20);
  Put("z");
  Reopen();  // the ledger was caught up
  EXPECT_EQ(spool_->ledger().delivered, 1u);
  EXPECT_EQ(spool_->ledger().accepted, 2u);
}

TEST_F(SpoolTest, AnOlderBinaryRefusesANewerHead) {
  Shut();
  store::CommitRequest commit{.partition = QueuePartition("0")};
  commit.mutations.push_back({HeadKey(), "\x02future"});
  ASSERT_TRUE(SyncWait(store_->Commit(commit)).ok());
  EXPECT_EQ(SyncWait(Spool::Open(*store_, {.executor = &pool_})).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// Killed before and after each commit of a message's life: the message is stored, or its
// sender got an error; the ledger balances.
TEST_F(SpoolTest, KilledAtEachCommit) {
  for (int step = 0; step < 4; ++step) {
    for (const bool happened : {false, true}) {
      int calls = 0;
      disk_->SetCommitHook([&calls, step, happened](const store::CommitRequest&, bool* apply_anyway) -> absl::Status {
        if (calls++ < step) return absl::OkStatus();
        if (calls == step + 1) *apply_anyway = happened;
        return absl::UnavailableError("killed");
      });
      const absl::StatusOr<PutResult> put = TryPut("x", 1, absl::StrCat("key", step, happened));
      bool delivered = false;
      if (put.ok()) {
        ItemRecord record = Loaded(put->queue_id);
        const absl::Time old_due = record.due();
        record.item.mutable_recipients(0)->set_attempts(1);
        Change change;
        AddUpdate(&record, old_due, now_, {0}, &change);
        if (SyncWait(spool_->Commit(std::move(change))).ok()) {
          delivered = SyncWait(spool_->Commit(SettleAll(&record, v1::RECIPIENT_STATE_DELIVERED))).ok();
        }
      }
      disk_->SetCommitHook(nullptr);
      Reopen();
      // The sender's retry after a lost answer.
      const absl::StatusOr<PutResult> retry = TryPut("x", 1, absl::StrCat("key", step, happened));
      ASSERT_TRUE(retry.ok());
      if (put.ok()) EXPECT_EQ(retry->queue_id, put->queue_id);
      const bool queued = SyncWait(spool_->Load(retry->queue_id))->has_value();
      const bool done = SyncWait(spool_->LoadDone(retry->queue_id))->has_value();
      EXPECT_NE(queued, done) << step << happened;
      if (delivered) EXPECT_TRUE(done);
      if (queued) {
        EXPECT_EQ(BodyOf(retry->queue_id), "x");
        ItemRecord record = Loaded(retry->queue_id);
        ASSERT_TRUE(SyncWait(spool_->Commit(SettleAll(&record, v1::RECIPIENT_STATE_DELIVERED))).ok());
      }
      EXPECT_EQ(spool_->ledger().queued(), 0u) << step << happened;
      EXPECT_EQ(spool_->ledger().items, 0u);
    }
  }
}

// Rows as 4a50539 wrote them: a head without owner, an item with its body and rows.
TEST_F(SpoolTest, AStoreOfTheFirstVersionIsTakenOver) {
  Shut();
  disk_ = std::make_shared<store::MemoryDisk>();
  store_ = std::make_unique<store::MemoryStore>(disk_);
  const QueueId id = *QueueId::FromText("01HF7YAT3VZZZZZZZZZZZZZZZZ");
  const auto row = [](absl::string_view hex) { return absl::StrCat("\x01", absl::HexStringToBytes(hex)); };
  store::CommitRequest commit{.partition = QueuePartition("0")};
  commit.mutations = {
      {"H", row("0803100518014801")},
      {"i/" + id.Text(),
       row("0afa010a1a303148463759415433565a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a124e0a0d73406578616d706c652e6f726718023a0274"
           "315a3730302d30616637363531393136636434336464383434386562323131633830333139632d6237616436623731363932303333"
           "33312d30311a520a410a0d61406578616d706c652e636f6d120d61406578616d706c652e636f6d1a210a0d61406578616d706c652e"
           "636f6d12100a0e0a0274311204616363311a026d311001220b0880e2cfaa0610c0a9d33a220b0880e2cfaa0610c0a9d33a2a0b0880"
           "91eaaa0610c0a9d33a3005420f3c31406578616d706c652e6f72673e520b0880e2cfaa0610c0a9d33a121030313233343536373839"
           "616263646566")},
      {"b/" + id.Text(), "\x01hello"},
      {absl::StrCat("t/", absl::HexStringToBytes("00060a2418202078"), "/", id.Text()),
       row("0a086c6f63616c2f6d31120b08c0d2d0aa0610c0a9d33a")},
      {"k/0123456789abcdef", row("0a1a303148463759415433565a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a")}};
  ASSERT_TRUE(SyncWait(store_->Commit(commit)).ok());
  spool_ = OpenSpool(*store_);
  EXPECT_EQ(spool_->ledger().queued(), 1u);
  EXPECT_EQ(BodyOf(id), "hello");
  const absl::StatusOr<DuePage> due = SyncWait(spool_->ReadDue("", 10));
  ASSERT_EQ(due->entries.size(), 1u);
  EXPECT_EQ(due->entries[0].destination, Destination::Local(Home("m1")));
  ItemRecord record = Loaded(id);
  EXPECT_EQ(due->entries[0].due, record.due());
  EXPECT_EQ(TryPut("again", 1, "0123456789abcdef")->queue_id, id);
  ASSERT_TRUE(SyncWait(spool_->Commit(SettleAll(&record, v1::RECIPIENT_STATE_DELIVERED))).ok());
  EXPECT_EQ(Keys(id), (Strings{"D/", "k/0123456789abcdef"}));
  EXPECT_EQ(spool_->ledger().delivered, 1u);
}

TEST_F(SpoolTest, LazyChangesAreCommittedWithoutCompany) {
  const QueueId id = Put("x");
  ItemRecord record = Loaded(id);
  Change change = SettleAll(&record, v1::RECIPIENT_STATE_DELIVERED);
  change.lazy = true;
  EXPECT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  EXPECT_EQ(spool_->ledger().items, 0u);
}

TEST_F(SpoolTest, CloseCommitsWhatIsLazyAndRefusesTheRest) {
  const QueueId id = Put("x");
  ItemRecord record = Loaded(id);
  Change change = SettleAll(&record, v1::RECIPIENT_STATE_DELIVERED);
  change.lazy = true;
  absl::Status settled = absl::UnknownError("not called");
  spool_->Submit(std::move(change), [&settled](absl::Status s) { settled = s; });
  SyncWait(spool_->Close());
  EXPECT_TRUE(settled.ok()) << settled;
  EXPECT_EQ(TryPut("y").status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(SpoolTest, ConcurrentPutsShareCommitsAndKeepTheLedger) {
  constexpr int kThreads = 4, kEach = 50;
  std::vector<std::thread> threads;
  std::atomic<int> duplicates{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        // Every key is used by two threads.
        const absl::StatusOr<PutResult> put = TryPut("x", 1, absl::StrCat("key", t / 2, "-", i));
        ASSERT_TRUE(put.ok());
        duplicates += put->duplicate;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(duplicates, kThreads * kEach / 2);
  EXPECT_EQ(spool_->ledger().accepted, uint64_t{kThreads * kEach / 2});
  Reopen();
  EXPECT_EQ(spool_->ledger().items, uint64_t{kThreads * kEach / 2});
}

}  // namespace
}  // namespace posthouse::queue
