#include "services/queue/schedule/destination_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace posthouse::queue {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

class DestinationSchedulerTest : public ::testing::Test {
 protected:
  DestinationSchedulerTest() {
    options_.max_remote = 10;
    options_.max_local = 6;
    options_.max_per_remote_site = 5;
    options_.first_per_remote_site = 2;
    options_.max_waiting_per_site = 100;
    options_.max_waiting = 1000;
    options_.remote_block.jitter = 0;
    options_.local_block.jitter = 0;
    scheduler_ = std::make_unique<DestinationScheduler>(options_);
  }
  // Sites are written as in rows: "" is the unresolved one.
  DestinationScheduler::Offer Add(const std::string& name, int n = 1) {
    const Destination site = Destination::FromString(name);
    DestinationScheduler::Offer offer = DestinationScheduler::Offer::kWaiting;
    for (int i = 0; i < n; ++i) offer = scheduler_->Add(site, {NewQueueId(kStart), site}, now_);
    return offer;
  }
  // Starts all jobs that may start; returns their sites in the order of their turns.
  std::vector<std::string> StartAll() {
    std::vector<std::string> started;
    while (std::optional<DestinationScheduler::Started> s = scheduler_->Next(now_))
      started.push_back(s->site.ToString());
    return started;
  }
  std::vector<Job> Done(const std::string& name, Reachability result) {
    scheduler_->Done(Destination::FromString(name), now_);
    return scheduler_->Report(Destination::FromString(name), result, now_, 0.5);
  }
  // A message to the site gets through.
  void Prove(const std::string& name) {
    Add(name);
    EXPECT_EQ(StartAll(), std::vector<std::string>{name});
    Done(name, Reachability::kSuccess);
  }
  absl::Time BlockedUntil(const std::string& name) { return scheduler_->BlockedUntil(Destination::FromString(name)); }

  SchedulerOptions options_;
  std::unique_ptr<DestinationScheduler> scheduler_;
  absl::Time now_ = kStart;
};

using Names = std::vector<std::string>;

TEST_F(DestinationSchedulerTest, SitesTakeTurns) {
  Prove("a");
  Prove("b");
  Add("a", 3);
  Add("b", 1);
  EXPECT_EQ(StartAll(), (Names{"a", "b", "a"}));  // the third of "a" waits for its limit of 2
  EXPECT_EQ(scheduler_->waiting(), 1u);
}

TEST_F(DestinationSchedulerTest, OneSiteNeverGetsEverySlot) {
  Prove("dead");
  Add("dead", 100);
  EXPECT_EQ(StartAll().size(), 2u);
  Add("live");
  EXPECT_EQ(StartAll(), Names{"live"});
}

TEST_F(DestinationSchedulerTest, RemoteAndLocalHaveTheirOwnBudgets) {
  for (int i = 0; i < 20; ++i) Add(absl::StrCat("hang", i, ".example"));
  EXPECT_EQ(StartAll().size(), 5u);
  Add("local/", 10);
  EXPECT_EQ(StartAll(), Names(4, "local/"));
}

// A routing service that hangs, or one mailbox process, leaves room for the others.
TEST_F(DestinationSchedulerTest, NoLocalSiteGetsEverySlot) {
  Add("", 50);
  EXPECT_EQ(StartAll(), Names{""});
  Add("local/hangs", 50);
  EXPECT_EQ(StartAll(), Names(4, "local/hangs"));
  Add("local/well", 50);
  EXPECT_EQ(StartAll(), Names{"local/well"});
  Done("local/well", Reachability::kSuccess);
  EXPECT_EQ(StartAll(), Names{"local/well"});
}

TEST_F(DestinationSchedulerTest, ConnectionsAreEarned) {
  Add("a", 50);
  EXPECT_EQ(StartAll().size(), 1u);   // until it has answered
  Done("a", Reachability::kSuccess);  // one slot free, limit 2
  EXPECT_EQ(StartAll().size(), 2u);
  Done("a", Reachability::kSuccess);  // one slot free, limit 3
  EXPECT_EQ(StartAll().size(), 2u);
  Done("a", Reachability::kNeutral);  // one slot free, no more
  EXPECT_EQ(StartAll().size(), 1u);
  for (int i = 0; i < 10; ++i) {
    Done("a", Reachability::kSuccess);
    StartAll();
  }
  EXPECT_EQ(scheduler_->running(), 5);  // max_per_remote_site
}

TEST_F(DestinationSchedulerTest, AnUnreachableSiteIsBlockedAndProbed) {
  Prove("a");
  Add("a", 10);
  EXPECT_EQ(StartAll().size(), 2u);
  EXPECT_EQ(Done("a", Reachability::kUnreachable).size(), 8u);
  EXPECT_EQ(BlockedUntil("a"), kStart + absl::Minutes(1));
  // The other attempt fails too: that is not a second failure.
  EXPECT_EQ(Done("a", Reachability::kUnreachable).size(), 0u);
  EXPECT_EQ(BlockedUntil("a"), kStart + absl::Minutes(1));
  EXPECT_EQ(Add("a"), DestinationScheduler::Offer::kBlocked);
  EXPECT_EQ(scheduler_->Count(now_).blocked, 1u);

  EXPECT_FALSE(scheduler_->TakeRefusedWork(now_));
  EXPECT_EQ(scheduler_->NextRefusedWork(), kStart + absl::Minutes(1));
  now_ = kStart + absl::Minutes(1);
  EXPECT_TRUE(scheduler_->TakeRefusedWork(now_));
  EXPECT_FALSE(scheduler_->TakeRefusedWork(now_));
  EXPECT_EQ(Add("a", 5), DestinationScheduler::Offer::kWaiting);
  EXPECT_EQ(StartAll().size(), 1u);  // the probe
  Done("a", Reachability::kUnreachable);
  EXPECT_EQ(BlockedUntil("a"), now_ + absl::Minutes(2));

  now_ += absl::Minutes(2);
  Add("a", 5);
  EXPECT_EQ(StartAll().size(), 1u);
  Done("a", Reachability::kSuccess);
  EXPECT_EQ(StartAll().size(), 2u);  // open again, growing
}

TEST_F(DestinationSchedulerTest, ABlockedLocalSiteComesBackInSeconds) {
  Add("local/1");
  StartAll();
  Done("local/1", Reachability::kUnreachable);
  EXPECT_EQ(BlockedUntil("local/1"), now_ + absl::Seconds(1));
  now_ += absl::Seconds(1);
  Add("local/1", 3);
  EXPECT_EQ(StartAll().size(), 1u);
  Done("local/1", Reachability::kSuccess);
  EXPECT_EQ(StartAll().size(), 2u);  // all that wait
}

TEST_F(DestinationSchedulerTest, AFullLineRefusesAndIsScannedWhenItIsShort) {
  Add("a", 100);
  EXPECT_EQ(Add("a"), DestinationScheduler::Offer::kFull);
  EXPECT_FALSE(scheduler_->TakeRefusedWork(now_));
  EXPECT_EQ(scheduler_->NextRefusedWork(), absl::InfiniteFuture());
  for (int i = 0; i < 80; ++i) {
    StartAll();
    Done("a", Reachability::kSuccess);
  }
  EXPECT_TRUE(scheduler_->TakeRefusedWork(now_));
}

TEST_F(DestinationSchedulerTest, AllLinesTogetherAreBounded) {
  for (int i = 0; i < 20; ++i) Add(absl::StrCat("s", i), 100);
  EXPECT_LE(scheduler_->waiting(), 1000u);
  for (int i = 0; i < 1000; ++i) Add(absl::StrCat("t", i), 100);
  EXPECT_EQ(scheduler_->waiting(), 2000u);
}

// Long lines of other destinations leave room for a few jobs of each.
TEST_F(DestinationSchedulerTest, AFullQueueStillTakesAFewForEverybody) {
  for (int i = 0; i < 100; ++i) Add(absl::StrCat("slow", i), 100);
  ASSERT_GE(scheduler_->waiting(), 1000u);
  EXPECT_EQ(Add("other"), DestinationScheduler::Offer::kWaiting);
  Add("other", 100);
  EXPECT_EQ(Add("other"), DestinationScheduler::Offer::kFull);
}

// The first message for a domain shows that the domain belongs to a group.
TEST_F(DestinationSchedulerTest, AGroupLearnsFromItsDomains) {
  Prove("mx.group");
  Add("mx.group", 3);
  Add("domain.example");
  EXPECT_EQ(StartAll().size(), 3u);
  scheduler_->Done(Destination::Remote("domain.example"), now_);
  EXPECT_EQ(scheduler_->Report(Destination::Remote("mx.group"), Reachability::kUnreachable, now_, 0.5).size(), 1u);
  EXPECT_EQ(scheduler_->running(), 2);  // of the group, still
  EXPECT_TRUE(scheduler_->has_refused_work());
}

// ---- hosts that do not answer leave room for those that do

TEST_F(DestinationSchedulerTest, SilentHostsLeaveHalfOfTheSlotsToProvenOnes) {
  for (int i = 0; i < 5; ++i) Prove(absl::StrCat("live", i));
  for (int i = 0; i < 150; ++i) Add(absl::StrCat("silent", i), 4);
  EXPECT_EQ(StartAll().size(), 5u);
  for (int i = 0; i < 5; ++i) Add(absl::StrCat("live", i));
  EXPECT_EQ(StartAll().size(), 5u);
}

// After a restart nothing is proven: what failed before does not keep out what is new.
TEST_F(DestinationSchedulerTest, SitesThatFailedLeaveRoomForNewOnes) {
  for (int i = 0; i < 150; ++i) {
    const Destination site = Destination::Remote(absl::StrCat("silent", i));
    scheduler_->Add(site, {.queue_id = NewQueueId(kStart), .destination = site, .tried = true}, now_);
  }
  EXPECT_EQ(StartAll().size(), 2u);  // a quarter
  for (int i = 0; i < 10; ++i) Add(absl::StrCat("new", i));
  EXPECT_EQ(StartAll(), (Names{"new0", "new1", "new2"}));
}

TEST_F(DestinationSchedulerTest, AProbeOfABlockedSiteIsDoubtful) {
  for (int i = 0; i < 10; ++i) {
    const std::string name = absl::StrCat("dead", i);
    Prove(name);
    Add(name);
    StartAll();
    Done(name, Reachability::kUnreachable);
  }
  EXPECT_EQ(scheduler_->Count(now_).blocked, 10u);
  now_ += absl::Minutes(2);
  for (int i = 0; i < 10; ++i) Add(absl::StrCat("dead", i));
  EXPECT_EQ(StartAll().size(), 2u);
  EXPECT_EQ(scheduler_->Count(now_).remote[DestinationScheduler::kDoubtful], 10u);
}

// Neither do many proven sites that are always busy keep out new ones.
TEST_F(DestinationSchedulerTest, EveryStandingGetsItsTurn) {
  for (int i = 0; i < 4; ++i) {
    Prove(absl::StrCat("live", i));
    for (int n = 0; n < 3; ++n) Prove(absl::StrCat("live", i));
  }
  for (int i = 0; i < 4; ++i) Add(absl::StrCat("live", i), 50);
  EXPECT_EQ(StartAll().size(), 10u);
  Add("new");
  std::vector<std::string> started;
  for (int i = 0; i < 3; ++i) {
    Done("live0", Reachability::kSuccess);
    for (std::string& name : StartAll()) started.push_back(std::move(name));
  }
  EXPECT_EQ(std::count(started.begin(), started.end(), "new"), 1);
}

TEST_F(DestinationSchedulerTest, AProofExpires) {
  Prove("a");
  now_ += absl::Hours(1);
  EXPECT_EQ(scheduler_->Count(now_).remote[DestinationScheduler::kFresh], 1u);
  Add("a", 5);
  EXPECT_EQ(StartAll().size(), 1u);
}

TEST_F(DestinationSchedulerTest, AnOperatorSeesWhyASiteIsBlocked) {
  Add("a", 3);
  StartAll();
  Done("a", Reachability::kUnreachable);
  v1::Attempt failure;
  failure.set_error("connection refused");
  scheduler_->NoteFailure(Destination::Remote("a"), failure);
  const std::optional<DestinationScheduler::SiteState> state = scheduler_->StateOf(Destination::Remote("a"));
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->failures, 1);
  EXPECT_EQ(state->failing_since, now_);
  EXPECT_EQ(state->blocked_until, now_ + absl::Minutes(1));
  EXPECT_EQ(state->last_failure.error(), "connection refused");
  EXPECT_EQ(scheduler_->States(now_).size(), 1u);
  EXPECT_EQ(scheduler_->States(now_ + absl::Hours(1)).size(), 0u);
}

TEST_F(DestinationSchedulerTest, AnOperatorMayUnblock) {
  Add("a");
  StartAll();
  Done("a", Reachability::kUnreachable);
  scheduler_->Unblock(Destination::Remote("a"));
  EXPECT_EQ(Add("a"), DestinationScheduler::Offer::kWaiting);
  EXPECT_EQ(StartAll().size(), 1u);
}

}  // namespace
}  // namespace posthouse::queue
