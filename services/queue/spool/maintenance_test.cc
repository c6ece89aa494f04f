// Maintenance and Admin over a spool in memory.
#include "services/queue/spool/maintenance.h"

#include <array>
#include <cstdint>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "services/common/async/thread_pool.h"
#include "services/common/status/status.h"
#include "services/common/store/testing/memory_store.h"
#include "services/queue/admin.h"
#include "services/queue/spool/hold.h"
#include "services/queue/spool/item_record.h"
#include "services/queue/spool/key_schema.h"
#include "services/queue/spool/queue_id.h"

namespace posthouse::queue {
namespace {

using Strings = std::vector<std::string>;

const absl::Time kStart = absl::FromUnixSeconds(1700000000);
constexpr absl::Duration kWarning = absl::Hours(4);

// Records its calls.
class FakeOperations final : public ItemOperations {
 public:
  Task<absl::Status> Retry(QueueId id) override {
    asked.push_back("retry " + id.Text());
    co_return absl::OkStatus();
  }
  Task<absl::StatusOr<uint32_t>> RetryDestination(std::string domain) override {
    asked.push_back("retry at " + domain);
    co_return 3u;
  }
  Task<absl::Status> Delete(QueueId id, bool bounce) override {
    asked.push_back(absl::StrCat("delete ", id.Text(), bounce ? " and tell" : ""));
    co_return absl::OkStatus();
  }
  std::vector<DestinationScheduler::SiteState> Destinations() override { return states; }
  Destination SiteFor(const Destination& destination) override {
    return destination == Destination::Remote("example.com") ? Destination::Remote("mx.example.com") : destination;
  }
  Strings asked;
  std::vector<DestinationScheduler::SiteState> states;
};

class MaintenanceTest : public ::testing::Test {
 protected:
  MaintenanceTest() {
    SpoolOptions options;
    options.executor = &pool_;
    options.linger = absl::Milliseconds(1);
    options.clock = [this] { return now_; };
    absl::StatusOr<std::unique_ptr<Spool>> spool = SyncWait(Spool::Open(store_, options));
    PH_CHECK(spool.ok());
    spool_ = *std::move(spool);
  }
  ~MaintenanceTest() override { SyncWait(spool_->Close()); }

  QueueId Put(const std::string& body, int recipients = 1, const std::string& sender = "s@example.org") {
    now_ += absl::Milliseconds(1);
    auto record = std::make_shared<ItemRecord>();
    record->idempotency_key = absl::StrCat("key", ++puts_);
    record->item.mutable_envelope()->set_reverse_path(sender);
    record->item.set_message_id(absl::StrCat("<", puts_, "@example.org>"));
    for (int i = 0; i < recipients; ++i) {
      auto* recipient = record->item.add_recipients();
      recipient->set_state(v1::RECIPIENT_STATE_QUEUED);
      recipient->mutable_recipient()->set_address(absl::StrCat("r", i, "@Example.com"));
      recipient->mutable_recipient()->mutable_resolved()->mutable_remote()->set_domain("example.com");
      ToProto(now_, recipient->mutable_next_attempt());
    }
    ToProto(now_, record->item.mutable_accepted());
    ToProto(now_ + absl::Hours(120), record->item.mutable_expires());
    RefreshNextAttempt(&record->item);
    std::unique_ptr<BodyWriter> writer = spool_->NewBody();
    PH_CHECK(SyncWait(writer->Append(body)).ok());
    Body written = *SyncWait(writer->Finish());
    return SyncWait(spool_->Put(record, std::move(written), now_ + kWarning))->queue_id;
  }
  void Settle(const QueueId& id) {
    ItemRecord record = **SyncWait(spool_->Load(id));
    const absl::Time old_due = record.due();
    Change change;
    std::vector<int> all;
    for (int i = 0; i < record.item.recipients_size(); ++i) {
      record.item.mutable_recipients(i)->set_state(v1::RECIPIENT_STATE_DELIVERED);
      change.ledger.CountSettled(v1::RECIPIENT_STATE_DELIVERED);
      all.push_back(i);
    }
    AddSettle(&record, old_due, now_, all, &change);
    ASSERT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  }
  void Edit(std::vector<store::Mutation> mutations) {
    Change change;
    change.mutations = std::move(mutations);
    ASSERT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  }
  // Number of rows by prefix, without the head.
  std::string Rows() {
    std::map<char, int> counts;
    std::string after;
    while (true) {
      absl::StatusOr<store::ReadResult> read =
          SyncWait(store_.Read({.partition = QueuePartition("0"), .after = after, .limit = store::kMaxPageRows}));
      for (const store::Row& row : read->page) {
        after = row.key;
        if (row.key != HeadKey()) ++counts[row.key[0]];
      }
      if (!read->more) break;
    }
    std::string text;
    for (const auto& [prefix, n] : counts) absl::StrAppend(&text, text.empty() ? "" : " ", std::string(1, prefix), n);
    return text;
  }
  uint64_t Audited() {
    absl::StatusOr<uint64_t> repaired = SyncWait(Audit(*spool_, kWarning));
    EXPECT_TRUE(repaired.ok()) << repaired.status();
    return repaired.value_or(0);
  }

  absl::Time now_ = kStart;
  int puts_ = 0;
  ThreadPool pool_{1};
  store::MemoryStore store_;
  std::unique_ptr<Spool> spool_;
};

TEST_F(MaintenanceTest, DoneMarksGoAfterTheirRetention) {
  Settle(Put("x", 20));  // with recipients in rows of their own
  const QueueId waiting = Put("y");
  const QueueId late = Put("z");
  EXPECT_EQ(*SyncWait(PurgeDone(*spool_, absl::Hours(72))), 0u);
  now_ += absl::Hours(71);
  Settle(late);  // old, and settled just now: remembered for longer
  EXPECT_EQ(*SyncWait(PurgeDone(*spool_, absl::Hours(72))), 0u);
  now_ += absl::Hours(2);
  EXPECT_EQ(*SyncWait(PurgeDone(*spool_, absl::Hours(72))), 1u);
  EXPECT_EQ(Rows(), "D1 b1 i1 k2 t1");
  now_ += absl::Hours(72);
  EXPECT_EQ(*SyncWait(PurgeDone(*spool_, absl::Hours(72))), 1u);
  EXPECT_EQ(Rows(), "b1 i1 k1 t1");
  EXPECT_TRUE(SyncWait(spool_->Load(waiting))->has_value());
}

TEST_F(MaintenanceTest, BlobsThatNobodyNamesAreSwept) {
  const QueueId kept = Put(std::string(50000, 'x'));
  ASSERT_TRUE(SyncWait(store_.blobs().Put(kStoreTenant, NewQueueId(now_).Text(), absl::Cord("left by a crash"))).ok());
  std::unique_ptr<BodyWriter> writing = spool_->NewBody();
  ASSERT_TRUE(SyncWait(writing->Append(std::string(50000, 'w'))).ok());
  Body body = *SyncWait(writing->Finish());  // finished, and its item comes in a moment
  EXPECT_EQ(*SyncWait(SweepBlobs(*spool_)), 1u);
  EXPECT_EQ(SyncWait(store_.blobs().List(kStoreTenant, "", 10))->blobs.size(), 2u);
  body = Body();
  writing = nullptr;
  EXPECT_EQ(*SyncWait(SweepBlobs(*spool_)), 1u);
  const absl::StatusOr<absl::Cord> bytes = SyncWait(spool_->ReadBody(kept, kept.Text(), 0, 50000));
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(bytes->size(), 50000u);
}

// The table of key_schema.h, row by row.
TEST_F(MaintenanceTest, TheAuditMendsWhatShouldNotBe) {
  const QueueId good = Put("good", 20);
  const QueueId no_due = Put("no due row");
  const QueueId both = Put("item beside a done mark");
  const QueueId done = Put("done");
  Settle(done);
  EXPECT_EQ(Audited(), 0u);
  const std::string rows = Rows();
  const ItemRecord lost = **SyncWait(spool_->Load(no_due));
  const ItemRecord twice = **SyncWait(spool_->Load(both));
  v1::StoredItem mark;
  *mark.mutable_item() = twice.item;
  v1::IdempotencyRow nobody;
  const QueueId gone = NewQueueId(now_);
  nobody.set_queue_id(gone.Text());
  Edit({{DueKey(lost.due(), no_due), std::nullopt},
        {DoneKey(both), EncodeValue(mark)},
        {BodyKey(gone), EncodeBody("orphan")},
        {RecipientsKey(gone, 0), EncodeValue(v1::RecipientChunk())},
        {IdempotencyRowKey("orphan"), EncodeValue(nobody)}});
  EXPECT_EQ(Audited(), 5u);
  EXPECT_EQ(Rows(), "D2 b2 i2 k4 r3 t2");
  EXPECT_EQ(Audited(), 0u);
  absl::StatusOr<DuePage> due = SyncWait(spool_->ReadDue("", 10));
  ASSERT_EQ(due->entries.size(), 2u);
  EXPECT_EQ(due->entries[1].queue_id, no_due);
  EXPECT_EQ(due->entries[1].destination, Destination::Remote("example.com"));
  EXPECT_TRUE(SyncWait(spool_->Load(good))->has_value());
}

TEST_F(MaintenanceTest, MessagesAndTheirBytesAreCountedByState) {
  using Counts = QueueCounts;
  Counts counts = *SyncWait(CountByState(*spool_));
  EXPECT_EQ(counts.messages, (std::array<uint64_t, Counts::kStates>{0, 0, 0}));
  Put(std::string(10, 'x'));
  const QueueId deferred = Put(std::string(200, 'x'));
  Put(std::string(20000, 'x'));  // a blob
  ItemRecord record = **SyncWait(spool_->Load(deferred));
  const absl::Time old_due = record.due();
  ToProto(now_ + absl::Minutes(5), record.item.mutable_recipients(0)->mutable_next_attempt());
  RefreshNextAttempt(&record.item);
  Change change;
  AddUpdate(&record, old_due, now_ + kWarning, {0}, &change);
  ASSERT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  counts = *SyncWait(CountByState(*spool_));
  EXPECT_EQ(counts.messages, (std::array<uint64_t, Counts::kStates>{2, 1, 0}));
  EXPECT_EQ(counts.bytes, (std::array<uint64_t, Counts::kStates>{20010, 200, 0}));
  ASSERT_TRUE(SyncWait(HoldAll(*spool_, kWarning)).ok());
  Settle(deferred);
  counts = *SyncWait(CountByState(*spool_));
  EXPECT_EQ(counts.messages, (std::array<uint64_t, Counts::kStates>{0, 0, 2}));
  EXPECT_EQ(counts.bytes, (std::array<uint64_t, Counts::kStates>{0, 0, 20010}));
}

TEST_F(MaintenanceTest, TheAuditGoesThroughAllPages) {
  QueueId last;
  for (int i = 0; i < 600; ++i) last = Put("x");
  const ItemRecord lost = **SyncWait(spool_->Load(last));
  // A damaged row on the first page does not stop it.
  const absl::StatusOr<ItemPage> page = SyncWait(spool_->ReadItems(false, "", 1));
  Edit({{DueKey(lost.due(), last), std::nullopt}, {ItemKey(*QueueId::FromText(page->last_id)), "\x01\xff"}});
  EXPECT_EQ(Audited(), 1u);
}

// ---- operators

class AdminTest : public MaintenanceTest {
 protected:
  template <typename Response>
  static Strings Ids(const Response& response) {
    Strings ids;
    for (const v1::Item& item : response.items()) ids.push_back(item.queue_id());
    return ids;
  }
  FakeOperations operations_;
  Admin admin_{*spool_, operations_, [this] { return now_; }, [] { return absl::Minutes(5); }};
};

TEST_F(AdminTest, AnItemIsShownWhileItWaitsAndWhenItIsDone) {
  const QueueId id = Put("Subject: x\r\nTo: y\r\n\r\nsecret\r\n");
  v1::GetItemRequest request;
  request.set_queue_id(id.Text());
  absl::StatusOr<v1::GetItemResponse> shown = SyncWait(admin_.GetItem(request));
  ASSERT_TRUE(shown.ok());
  EXPECT_EQ(shown->header(), "Subject: x\r\nTo: y\r\n\r\n");  // never the body
  EXPECT_FALSE(shown->done());
  Settle(id);
  shown = SyncWait(admin_.GetItem(request));
  ASSERT_TRUE(shown.ok());
  EXPECT_TRUE(shown->done());
  EXPECT_EQ(shown->item().recipients(0).state(), v1::RECIPIENT_STATE_DELIVERED);
  request.set_queue_id(NewQueueId(now_).Text());
  EXPECT_EQ(SyncWait(admin_.GetItem(request)).status().code(), absl::StatusCode::kNotFound);
  request.set_queue_id("../x");
  EXPECT_EQ(SyncWait(admin_.GetItem(request)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(AdminTest, ListsComeInPages) {
  Strings ids;
  for (int i = 0; i < 5; ++i) ids.push_back(Put("x", 1, i == 2 ? "other@example.org" : "s@example.org").Text());
  v1::ListItemsRequest request;
  request.mutable_page()->set_page_size(2);
  Strings found;
  while (true) {
    absl::StatusOr<v1::ListItemsResponse> page = SyncWait(admin_.ListItems(request));
    ASSERT_TRUE(page.ok());
    for (const std::string& id : Ids(*page)) found.push_back(id);
    if (page->page().next_page_token().empty()) break;
    request.mutable_page()->set_page_token(page->page().next_page_token());
  }
  EXPECT_EQ(found, ids);
  request = v1::ListItemsRequest();
  request.set_sender("OTHER@example.org");
  EXPECT_EQ(Ids(*SyncWait(admin_.ListItems(request))), Strings{ids[2]});
  request = v1::ListItemsRequest();
  request.set_domain("EXAMPLE.com");
  EXPECT_EQ(Ids(*SyncWait(admin_.ListItems(request))), ids);
  request.set_domain("elsewhere.example");
  EXPECT_EQ(Ids(*SyncWait(admin_.ListItems(request))), Strings{});
}

// An operator may write the name as users do. Addresses and destinations have A-labels.
TEST_F(AdminTest, ListAndRetryTakeADomainInAnyForm) {
  Put("x");
  v1::ListItemsRequest list;
  list.set_domain("Example.COM.");
  EXPECT_EQ(SyncWait(admin_.ListItems(list))->items_size(), 1);
  v1::RetryItemsRequest retry;
  retry.set_domain(
      "B\xC3\xBC"
      "cher.example");
  EXPECT_EQ(SyncWait(admin_.RetryItems(retry))->items(), 3u);
  EXPECT_EQ(operations_.asked, Strings{"retry at xn--bcher-kva.example"});
}

TEST_F(AdminTest, WhatWaitsForABlockedDestinationSaysSo) {
  const QueueId id = Put("x", 2);
  DestinationScheduler::SiteState state;
  state.site = Destination::Remote("mx.example.com");
  state.failures = 2;
  state.failing_since = now_ - absl::Minutes(3);
  state.blocked_until = now_ + absl::Minutes(2);
  state.limit = 1;
  state.last_failure.set_error("greeting: connection refused");
  operations_.states = {state};
  const absl::StatusOr<v1::ListItemsResponse> list = SyncWait(admin_.ListItems({}));
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->items_size(), 1);
  const v1::Block& block = list->items(0).recipients(1).blocked();
  EXPECT_EQ(block.destination(), "mx.example.com");
  EXPECT_EQ(block.failures(), 2u);
  EXPECT_EQ(FromProto(block.since()), state.failing_since);
  EXPECT_EQ(FromProto(block.until()), state.blocked_until);
  EXPECT_EQ(block.last().error(), "greeting: connection refused");
  v1::GetItemRequest get;
  get.set_queue_id(id.Text());
  EXPECT_TRUE(SyncWait(admin_.GetItem(get))->item().recipients(0).has_blocked());
  // It is not stored.
  EXPECT_FALSE((*SyncWait(spool_->Load(id)))->item.recipients(0).has_blocked());
}

TEST_F(AdminTest, DestinationsAreListedWithWhatWaitsForThem) {
  for (int i = 0; i < 3; ++i) Put("x");
  DestinationScheduler::SiteState dead;
  dead.site = Destination::Remote("mx.example.com");
  dead.limit = 1;
  dead.blocked_until = now_ + absl::Minutes(2);
  DestinationScheduler::SiteState busy;
  busy.site = Destination::Remote("mx.busy.example");
  busy.running = 3;
  busy.limit = 4;
  operations_.states = {busy, dead};
  absl::StatusOr<v1::ListDestinationsResponse> list = SyncWait(admin_.ListDestinations({}));
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->destinations_size(), 2);
  EXPECT_EQ(list->destinations(0).destination(), "mx.example.com");
  EXPECT_EQ(list->destinations(0).waiting(), 3u);
  ASSERT_EQ(list->destinations(0).domains_size(), 1);
  EXPECT_EQ(list->destinations(0).domains(0), "example.com");
  EXPECT_TRUE(list->destinations(0).has_blocked());
  EXPECT_EQ(list->destinations(1).in_progress(), 3u);
  EXPECT_EQ(list->destinations(1).limit(), 4u);
  v1::ListDestinationsRequest blocked;
  blocked.set_blocked(true);
  EXPECT_EQ(SyncWait(admin_.ListDestinations(blocked))->destinations_size(), 1);
  v1::ListDestinationsRequest limited;
  limited.set_limit(1);
  EXPECT_EQ(SyncWait(admin_.ListDestinations(limited))->more(), 1u);
}

// Any answer fits into one gRPC message.
TEST_F(AdminTest, AnAnswerHasABoundedSize) {
  for (int i = 0; i < 40; ++i) Put("x", 2000);
  v1::ListItemsRequest request;
  request.mutable_page()->set_page_size(1000);
  const absl::StatusOr<v1::ListItemsResponse> page = SyncWait(admin_.ListItems(request));
  ASSERT_TRUE(page.ok());
  EXPECT_LT(page->ByteSizeLong(), 2u << 20);
  EXPECT_FALSE(page->page().next_page_token().empty());
  v1::FindItemsRequest find;
  find.set_address("s@example.org");
  find.set_limit(1000);
  EXPECT_LT(SyncWait(admin_.FindItems(find))->ByteSizeLong(), 2u << 20);
}

TEST_F(AdminTest, MessagesAreFoundNewestFirst) {
  const QueueId old = Put("x");
  Settle(old);
  now_ += absl::Hours(30);
  const QueueId recent = Put("y");
  const auto find = [this](auto set) {
    v1::FindItemsRequest request;
    set(request);
    return Ids(*SyncWait(admin_.FindItems(request)));
  };
  EXPECT_EQ(find([](auto& r) { r.set_address("r0@example.com"); }), (Strings{recent.Text(), old.Text()}));
  EXPECT_EQ(find([](auto& r) { r.set_address("S@Example.ORG"), r.set_limit(1); }), Strings{recent.Text()});
  EXPECT_EQ(find([](auto& r) { r.set_message_id("1@example.org"); }), Strings{old.Text()});
  EXPECT_EQ(find([](auto& r) { r.set_message_id("<2@example.org>"); }), Strings{recent.Text()});
  EXPECT_EQ(find([&](auto& r) { r.set_queue_id(old.Text()); }), Strings{old.Text()});
  EXPECT_EQ(find([](auto& r) { r.set_message_id(""); }), Strings{});
  EXPECT_EQ(SyncWait(admin_.FindItems({})).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(AdminTest, WhatARestoreHoldsIsRetriedTogether) {
  const QueueId first = Put("x", 20), second = Put("y");
  Settle(Put("z"));
  EXPECT_EQ(*SyncWait(HoldAll(*spool_, kWarning)), 2u);
  EXPECT_EQ(*SyncWait(HoldAll(*spool_, kWarning)), 0u) << "a crash in between repeats it";
  EXPECT_EQ(Audited(), 0u);
  const QueueId fresh = Put("new mail");
  v1::RetryItemsRequest retry;
  retry.set_held(true);
  const auto answer = SyncWait(admin_.RetryItems(retry));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->items(), 2u);
  EXPECT_EQ(operations_.asked, (Strings{"retry " + first.Text(), "retry " + second.Text()}));
  EXPECT_NE(fresh, first);
}

TEST_F(AdminTest, OrdersGoToTheDispatcher) {
  const QueueId id = NewQueueId(now_);
  v1::RetryItemsRequest retry;
  retry.set_held(true);
  EXPECT_EQ(SyncWait(admin_.RetryItems(retry))->items(), 0u);
  retry.set_domain("example.com");
  EXPECT_FALSE(SyncWait(admin_.RetryItems(retry)).ok());  // one or the other
  retry.Clear();
  EXPECT_FALSE(SyncWait(admin_.RetryItems(retry)).ok());
  retry.set_domain("Example.COM");
  EXPECT_EQ(SyncWait(admin_.RetryItems(retry))->items(), 3u);
  retry.set_queue_id(id.Text());
  EXPECT_FALSE(SyncWait(admin_.RetryItems(retry)).ok());  // one or the other
  retry.clear_domain();
  EXPECT_EQ(SyncWait(admin_.RetryItems(retry))->items(), 1u);
  v1::DeleteItemRequest remove;
  remove.set_queue_id(id.Text());
  remove.set_bounce(true);
  EXPECT_TRUE(SyncWait(admin_.DeleteItem(remove)).ok());
  EXPECT_EQ(operations_.asked,
            (Strings{"retry at example.com", "retry " + id.Text(), absl::StrCat("delete ", id.Text(), " and tell")}));
}

TEST_F(AdminTest, StatsAreTheLedger) {
  Put("x", 3);
  Settle(Put("y", 2));
  const absl::StatusOr<v1::GetStatsResponse> stats = SyncWait(admin_.GetStats({}));
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->accepted(), 5u);
  EXPECT_EQ(stats->delivered(), 2u);
  EXPECT_EQ(stats->queued(), 3u);
  EXPECT_EQ(stats->items(), 1u);
  EXPECT_EQ(FromProto(stats->oldest()), absl::Minutes(5));
}

}  // namespace
}  // namespace posthouse::queue
