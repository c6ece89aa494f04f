#include "services/queue/schedule/settlement.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "services/queue/schedule/bounce.h"
#include "services/queue/schedule/resolution.h"

namespace posthouse::queue {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

class SettlementTest : public ::testing::Test {
 protected:
  SettlementTest() {
    policy_.retry = {.min = absl::Minutes(1), .max = absl::Hours(1), .factor = 2, .jitter = 0};
    item_.set_queue_id("01HF7YAT3VZZZZZZZZZZZZZZZZ");
    item_.mutable_envelope()->set_reverse_path("sender@example.org");
    ToProto(kStart, item_.mutable_accepted());
    ToProto(kStart + absl::Hours(120), item_.mutable_expires());
  }
  int Recipient(const std::string& address, std::vector<v1::Notify> notify = {}, bool local = false) {
    auto* recipient = item_.add_recipients();
    recipient->set_state(v1::RECIPIENT_STATE_QUEUED);
    recipient->mutable_recipient()->set_address(address);
    for (const v1::Notify n : notify) recipient->mutable_recipient()->add_notify(n);
    if (local) {
      recipient->mutable_recipient()->mutable_resolved()->mutable_local()->mutable_account()->set_home("m1");
    } else {
      recipient->mutable_recipient()->mutable_resolved()->mutable_remote()->set_domain("example.com");
    }
    ToProto(kStart, recipient->mutable_next_attempt());
    return item_.recipients_size() - 1;
  }
  int Apply(int index, Outcome outcome) {
    AttemptTime time = time_;
    time.started = time.now = now_;
    return ApplyOutcomes({{index, item_.recipients(index).recipient()}}, {outcome}, time, policy_, &item_, &unsaved_);
  }
  static Outcome Made(Outcome::Kind kind) {
    switch (kind) {
      case Outcome::Kind::kDelivered:
        return MakeOutcome(kind, 250, "2.0.0", "stored");
      case Outcome::Kind::kRelayed:
        return MakeOutcome(kind, 250, "2.0.0", "ok");
      case Outcome::Kind::kTemporary:
        return MakeOutcome(kind, 451, "4.3.0", "later");
      case Outcome::Kind::kPermanent:
        return MakeOutcome(kind, 550, "5.1.1", "no such user");
    }
    return {};
  }
  absl::Time Next(int index) { return FromProto(item_.recipients(index).next_attempt()); }
  v1::RecipientState State(int index) { return item_.recipients(index).state(); }

  v1::Item item_;
  Unsaved unsaved_;
  SettlementPolicy policy_;
  AttemptTime time_;
  absl::Time now_ = kStart;
};

using Kind = Outcome::Kind;
using N = std::vector<v1::Notify>;

// RFC 3461 §4.1 and §5.2: which outcomes are reported.
TEST_F(SettlementTest, WhoIsToldWhat) {
  const struct {
    Kind kind;
    bool handed_on;
    N notify;
    int notices;
  } kCases[] = {
      {Kind::kDelivered, false, {}, 0},
      {Kind::kDelivered, false, {v1::NOTIFY_SUCCESS}, 1},
      {Kind::kDelivered, false, {v1::NOTIFY_FAILURE}, 0},
      {Kind::kRelayed, false, {v1::NOTIFY_SUCCESS}, 1},
      {Kind::kRelayed, true, {v1::NOTIFY_SUCCESS}, 0},  // the next host tells
      {Kind::kPermanent, false, {}, 1},
      {Kind::kPermanent, false, {v1::NOTIFY_FAILURE, v1::NOTIFY_DELAY}, 1},
      {Kind::kPermanent, false, {v1::NOTIFY_SUCCESS}, 0},
      {Kind::kPermanent, false, {v1::NOTIFY_NEVER}, 0},
      {Kind::kTemporary, false, {}, 0},
  };
  for (const auto& c : kCases) {
    const int index = Recipient("a@example.com", c.notify);
    unsaved_ = {};
    Outcome outcome = Made(c.kind);
    outcome.dsn_handed_on = c.handed_on;
    EXPECT_EQ(Apply(index, outcome), 0);
    EXPECT_EQ(static_cast<int>(unsaved_.notices.size()), c.notices) << index;
    EXPECT_TRUE(unsaved_.changed.contains(index));
  }
}

TEST_F(SettlementTest, TheNullSenderIsToldNothing) {
  item_.mutable_envelope()->clear_reverse_path();
  const int index = Recipient("a@example.com");
  EXPECT_EQ(Apply(index, Made(Kind::kPermanent)), 1);
  EXPECT_EQ(State(index), v1::RECIPIENT_STATE_FAILED);
  EXPECT_TRUE(unsaved_.notices.empty());
}

TEST_F(SettlementTest, RetriesBackOff) {
  const int index = Recipient("a@example.com");
  for (const int minutes : {1, 2, 4, 8}) {
    Apply(index, Made(Kind::kTemporary));
    EXPECT_EQ(Next(index), now_ + absl::Minutes(minutes));
    EXPECT_EQ(FromProto(item_.next_attempt()), Next(index));
    now_ = Next(index);
  }
  EXPECT_EQ(item_.recipients(index).attempts(), 4u);
  EXPECT_EQ(item_.history_size(), 4);
}

TEST_F(SettlementTest, NoRetryComesBeforeTheSiteIsOpenAgain) {
  const int index = Recipient("a@example.com");
  time_.unreachable = true;
  time_.blocked_until = kStart + absl::Minutes(10);
  Apply(index, Made(Kind::kTemporary));
  EXPECT_GE(Next(index), kStart + absl::Minutes(10));
}

// A mailbox that is down must not delay each message by a minute.
TEST_F(SettlementTest, AnUnreachableMailboxIsTriedSoon) {
  const int index = Recipient("a@example.com", {}, /*local=*/true);
  time_.unreachable = true;
  time_.blocked_until = kStart + absl::Seconds(2);
  Apply(index, Made(Kind::kTemporary));
  EXPECT_LE(Next(index), kStart + absl::Seconds(4));
}

TEST_F(SettlementTest, ExpiryComesAfterALastTry) {
  const int index = Recipient("a@example.com");
  now_ = kStart + absl::Hours(120) - absl::Seconds(1);
  Apply(index, Made(Kind::kTemporary));
  EXPECT_EQ(Next(index), kStart + absl::Hours(120));
  now_ = Next(index);
  unsaved_ = {};
  Apply(index, Made(Kind::kTemporary));
  EXPECT_EQ(State(index), v1::RECIPIENT_STATE_EXPIRED);
  EXPECT_EQ(unsaved_.ledger.expired, 1);
  ASSERT_EQ(unsaved_.notices.size(), 1u);
  EXPECT_EQ(unsaved_.notices[0].action, dsn::Action::kFailed);
}

TEST_F(SettlementTest, TimeAloneExpiresWhatWasTriedOrIsBlocked) {
  const int tried = Recipient("tried@example.com");
  item_.mutable_recipients(tried)->set_attempts(3);
  const int fresh = Recipient("fresh@example.com");  // the queue was down: it gets its try
  const int blocked = Recipient("blocked@dead.example");
  item_.mutable_recipients(blocked)->mutable_recipient()->mutable_resolved()->mutable_remote()->set_domain(
      "dead.example");
  v1::Attempt failure;
  failure.set_host("mx.dead.example");
  failure.set_error("greeting: connection refused");
  ApplyTime(
      kStart + absl::Hours(121), policy_,
      [&](const Destination& d) { return d == Destination::Remote("dead.example") ? &failure : nullptr; }, &item_,
      &unsaved_);
  // The report says what the destination answered last.
  EXPECT_EQ(item_.recipients(blocked).last().error(), failure.error());
  EXPECT_EQ(State(tried), v1::RECIPIENT_STATE_EXPIRED);
  EXPECT_EQ(State(fresh), v1::RECIPIENT_STATE_QUEUED);
  EXPECT_EQ(State(blocked), v1::RECIPIENT_STATE_EXPIRED);
}

TEST_F(SettlementTest, ADelayIsToldOnce) {
  const int index = Recipient("a@example.com");
  EXPECT_EQ(WakeTime(item_, policy_.delay_warning_after), kStart + absl::Hours(4));
  now_ = kStart + absl::Hours(4);
  Apply(index, Made(Kind::kTemporary));
  ASSERT_EQ(unsaved_.notices.size(), 1u);
  EXPECT_EQ(unsaved_.notices[0].action, dsn::Action::kDelayed);
  EXPECT_EQ(WakeTime(item_, policy_.delay_warning_after), kStart + absl::Hours(120));
  Apply(index, Made(Kind::kTemporary));
  EXPECT_EQ(unsaved_.notices.size(), 1u);
  // Switched off, or not asked for.
  const int never = Recipient("b@example.com", {v1::NOTIFY_FAILURE});
  unsaved_ = {};
  Apply(never, Made(Kind::kTemporary));
  EXPECT_TRUE(unsaved_.notices.empty());
  EXPECT_EQ(WakeTime(item_, absl::ZeroDuration()), kStart + absl::Hours(120));
}

TEST_F(SettlementTest, AnAddressIsAddedOnceAndUpToTheLimit) {
  Recipient("a@example.com", {}, /*local=*/true);
  const auto add = [this](const std::string& address) {
    return AddRecipient(address, now_, policy_, &item_, &unsaved_);
  };
  EXPECT_TRUE(add("b@example.net"));
  EXPECT_FALSE(add("A@example.com"));
  EXPECT_FALSE(add("b@example.net"));
  EXPECT_FALSE(add(""));
  ASSERT_EQ(item_.recipients_size(), 2);
  EXPECT_EQ(item_.recipients(1).recipient().address(), "b@example.net");
  EXPECT_FALSE(DestinationOf(item_.recipients(1)).resolved());
  EXPECT_EQ(unsaved_.ledger.accepted, 1);
  policy_.max_recipients = 2;
  EXPECT_FALSE(add("c@example.net"));
}

TEST_F(SettlementTest, OnlyARemoteHandOverIsUrgent) {
  Apply(Recipient("a@example.com", {}, true), Made(Kind::kDelivered));
  Apply(Recipient("b@example.com"), Made(Kind::kTemporary));
  EXPECT_FALSE(unsaved_.urgent);
  Apply(Recipient("c@example.com"), Made(Kind::kRelayed));
  EXPECT_TRUE(unsaved_.urgent);
}

// Outcomes fit into one commit with any number of recipients and any length of replies.
TEST_F(SettlementTest, TheOutcomesOfAHugeItemFitACommit) {
  constexpr int kMany = 5000;  // as many as intake.cc takes, with an envelope of 2 MiB
  std::vector<Target> targets;
  for (int i = 0; i < kMany; ++i) {
    Recipient(absl::StrCat(std::string(200, 'r'), i, "@example.com"));
    item_.mutable_recipients(i)->mutable_recipient()->set_original(std::string(200, 'o'));
    targets.push_back({i, item_.recipients(i).recipient()});
  }
  Outcome outcome = MakeOutcome(Outcome::Kind::kPermanent, 550, "5.1.1", std::string(2000, 'x'));
  outcome.attempt.set_host(std::string(200, 'h'));
  outcome.attempt.set_error(std::string(500, 'e'));
  ApplyOutcomes(targets, std::vector<Outcome>(kMany, outcome), time_, policy_, &item_, &unsaved_);
  ItemRecord record;
  record.item = item_;
  Change change;
  const std::vector<int> changed(unsaved_.changed.begin(), unsaved_.changed.end());
  AddSettle(&record, kStart, kStart, changed, &change);
  size_t bytes = 0;
  for (const store::Mutation& m : change.mutations) {
    const size_t row = m.key.size() + (m.value ? m.value->size() : 0);
    EXPECT_LE(row, store::kMaxRowBytes);
    bytes += row;
  }
  EXPECT_LE(change.mutations.size(), store::kMaxMutations - 1);
  EXPECT_LE(bytes, store::kMaxCommitBytes - 64 * 1024);
}

TEST_F(SettlementTest, ASettledRecipientStaysSettled) {
  const int index = Recipient("a@example.com");
  Apply(index, Made(Kind::kRelayed));
  Apply(index, Made(Kind::kPermanent));
  EXPECT_EQ(State(index), v1::RECIPIENT_STATE_RELAYED);
  EXPECT_EQ(unsaved_.ledger.failed, 0);
}

TEST_F(SettlementTest, DeletionCountsAndTellsWhenAsked) {
  Recipient("a@example.com");
  Apply(Recipient("b@example.com"), Made(Kind::kRelayed));
  unsaved_ = {};
  ApplyDeletion(now_, /*bounce=*/true, &item_, &unsaved_);
  EXPECT_EQ(unsaved_.ledger.deleted, 1);
  EXPECT_EQ(unsaved_.notices.size(), 1u);
  EXPECT_TRUE(AllSettled(item_));
}

// ---- resolution

using Response = routing::v1::ResolveRecipientResponse;

TEST_F(SettlementTest, RoutingAnswersBecomeOutcomes) {
  const struct {
    Response::Outcome answer;
    Kind kind;
    const char* status;
  } kCases[] = {{Response::OUTCOME_NO_SUCH_MAILBOX, Kind::kPermanent, "5.1.1"},
                {Response::OUTCOME_BAD_ADDRESS, Kind::kPermanent, "5.1.3"},
                {Response::OUTCOME_RELAY_DENIED, Kind::kPermanent, "5.7.1"},
                {Response::OUTCOME_SUSPENDED, Kind::kTemporary, "4.2.1"},
                {Response::OUTCOME_TEMPORARY, Kind::kTemporary, "4.4.3"},
                {Response::OUTCOME_UNSPECIFIED, Kind::kTemporary, "4.4.3"},
                {Response::OUTCOME_ACCEPT, Kind::kTemporary, "4.4.3"}};  // without recipients: not believed
  const int index = Recipient("a@example.com");
  for (const auto& c : kCases) {
    Response response;
    response.set_outcome(c.answer);
    const std::optional<Outcome> outcome = ApplyResolution(index, response, now_, policy_, &item_, &unsaved_);
    ASSERT_TRUE(outcome.has_value());
    EXPECT_EQ(outcome->kind, c.kind);
    EXPECT_EQ(outcome->status, c.status);
  }
  const auto failed = ApplyResolution(index, absl::InternalError("bug"), now_, policy_, &item_, &unsaved_);
  EXPECT_EQ(failed->kind, Kind::kTemporary);
}

TEST_F(SettlementTest, AnAliasOfManyAddsRecipients) {
  const int index = Recipient("list@example.com", {v1::NOTIFY_NEVER});
  Response response;
  response.set_outcome(Response::OUTCOME_ACCEPT);
  for (const char* address : {"a@example.com", "b@example.net"}) {
    auto* recipient = response.add_recipients();
    recipient->set_address(address);
    recipient->mutable_remote()->set_domain("example.net");
  }
  EXPECT_FALSE(ApplyResolution(index, response, now_, policy_, &item_, &unsaved_).has_value());
  ASSERT_EQ(item_.recipients_size(), 2);
  EXPECT_EQ(item_.recipients(0).recipient().address(), "a@example.com");
  EXPECT_EQ(item_.recipients(1).recipient().notify(0), v1::NOTIFY_NEVER);
  EXPECT_TRUE(unsaved_.any());  // committed before anything is delivered
  // One final recipient needs no commit before its delivery.
  response.mutable_recipients()->RemoveLast();
  Unsaved none;
  EXPECT_FALSE(ApplyResolution(index, response, now_, policy_, &item_, &none).has_value());
  EXPECT_FALSE(none.any());
}

// ---- bounces

TEST_F(SettlementTest, StatusesInReports) {
  const int index = Recipient("a@example.com");
  const BounceOptions options{.hostname = "mx.example.net"};
  const auto status = [&](dsn::Action action) {
    return MakeReport(item_, {{index, action}}, "", false, QueueId(), now_, options).recipients[0].status;
  };
  Apply(index, Made(Kind::kTemporary));
  EXPECT_EQ(status(dsn::Action::kDelayed), "4.3.0");
  item_.mutable_recipients(index)->set_state(v1::RECIPIENT_STATE_EXPIRED);
  EXPECT_EQ(status(dsn::Action::kFailed), "4.4.7");  // RFC 3463 §3.5
  item_.mutable_recipients(index)->set_state(v1::RECIPIENT_STATE_FAILED);
  EXPECT_EQ(status(dsn::Action::kFailed), "5.0.0");  // 4.3.0 cannot be the reason of a failure
  // A host that did not answer.
  v1::Attempt* last = item_.mutable_recipients(index)->mutable_last();
  last->clear_reply();
  EXPECT_EQ(status(dsn::Action::kDelayed), "4.0.0");
  last->set_host("mx.example.com");
  EXPECT_EQ(status(dsn::Action::kDelayed), "4.4.1");
}

TEST_F(SettlementTest, WhatComesBack) {
  const BounceOptions options{.hostname = "mx.example.net", .max_return_bytes = 1000};
  const struct {
    v1::Ret ret;
    uint64_t size;
    dsn::Action action;
    v1::BodyType body;
    uint64_t bytes;
  } kCases[] = {{v1::RET_FULL, 1000, dsn::Action::kFailed, v1::BODY_TYPE_7BIT, 1000},
                {v1::RET_FULL, 1001, dsn::Action::kFailed, v1::BODY_TYPE_7BIT, 0},
                {v1::RET_HDRS, 10, dsn::Action::kFailed, v1::BODY_TYPE_7BIT, 0},
                {v1::RET_UNSPECIFIED, 10, dsn::Action::kFailed, v1::BODY_TYPE_7BIT, 0},
                {v1::RET_FULL, 10, dsn::Action::kDelayed, v1::BODY_TYPE_7BIT, 0},
                {v1::RET_FULL, 10, dsn::Action::kFailed, v1::BODY_TYPE_BINARYMIME, 0}};
  for (const auto& c : kCases) {
    item_.mutable_envelope()->set_ret(c.ret);
    item_.mutable_envelope()->set_body(c.body);
    item_.set_size_bytes(c.size);
    EXPECT_EQ(ReturnBytes(item_, {{0, c.action}}, options), c.bytes);
  }
}

TEST_F(SettlementTest, AReportIsAMessageThatNobodyReportsOn) {
  dsn::Composed composed;
  composed.eight_bit = true;
  Body body;
  body.queue_id = *QueueId::FromText("01HF7YAT3W0000000000000000");
  body.size_bytes = 77;
  const std::shared_ptr<ItemRecord> record =
      NewReportRecord(item_, composed, body, now_, {.hostname = "mx.example.net"});
  EXPECT_EQ(record->item.envelope().reverse_path(), "");
  EXPECT_EQ(record->item.envelope().body(), v1::BODY_TYPE_8BITMIME);
  EXPECT_EQ(record->item.dsn_for(), item_.queue_id());
  ASSERT_EQ(record->item.recipients_size(), 1);
  EXPECT_EQ(record->item.recipients(0).recipient().address(), "sender@example.org");
  EXPECT_FALSE(Wants(record->item.recipients(0).recipient(), v1::NOTIFY_FAILURE));
}

}  // namespace
}  // namespace posthouse::queue
