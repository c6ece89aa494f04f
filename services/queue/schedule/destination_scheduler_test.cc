#include "services/queue/schedule/destination_scheduler.h"

#include <gtest/gtest.h>

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
    scheduler_->Done(Destination::FromString(name));
    return scheduler_->Report(Destination::FromString(name), result, now_, 0.5);
  }
  absl::Time BlockedUntil(const std::string& name) { return scheduler_->BlockedUntil(Destination::FromString(name)); }

  SchedulerOptions options_;
  std::unique_ptr<DestinationScheduler> scheduler_;
  absl::Time now_ = kStart;
};

using Names = std::vector<std::string>;

TEST_F(DestinationSchedulerTest, SitesTakeTurns) {
  Add("a", 3);
  Add("b", 1);
  EXPECT_EQ(StartAll(), (Names{"a", "b", "a"}));  // the third of "a" waits for its limit of 2
  EXPECT_EQ(scheduler_->waiting(), 1u);
}

TEST_F(DestinationSchedulerTest, OneSiteNeverGetsEverySlot) {
  Add("dead", 100);
  EXPECT_EQ(StartAll().size(), 2u);
  Add("live");
  EXPECT_EQ(StartAll(), Names{"live"});
}

TEST_F(DestinationSchedulerTest, RemoteAndLocalHaveTheirOwnBudgets) {
  for (int i = 0; i < 20; ++i) Add(absl::StrCat("hang", i, ".example"));
  EXPECT_EQ(StartAll().size(), 10u);
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
  Add("a", 10);
  EXPECT_EQ(StartAll().size(), 2u);
  EXPECT_EQ(Done("a", Reachability::kUnreachable).size(), 8u);
  EXPECT_EQ(BlockedUntil("a"), kStart + absl::Minutes(1));
  // The other attempt fails too: that is not a second failure.
  EXPECT_EQ(Done("a", Reachability::kUnreachable).size(), 0u);
  EXPECT_EQ(BlockedUntil("a"), kStart + absl::Minutes(1));
  EXPECT_EQ(Add("a"), DestinationScheduler::Offer::kBlocked);
  EXPECT_EQ(scheduler_->blocked(now_), 1u);

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
  Add("mx.group", 3);
  Add("domain.example");
  EXPECT_EQ(StartAll().size(), 3u);
  scheduler_->Done(Destination::Remote("domain.example"));
  EXPECT_EQ(scheduler_->Report(Destination::Remote("mx.group"), Reachability::kUnreachable, now_, 0.5).size(), 1u);
  EXPECT_EQ(scheduler_->running(), 2);  // of the group, still
  EXPECT_TRUE(scheduler_->has_refused_work());
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
