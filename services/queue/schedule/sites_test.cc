#include "services/queue/schedule/sites.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace posthouse::queue {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

class SitesTest : public ::testing::Test {
 protected:
  SitesTest() {
    options_.max_remote = 10;
    options_.max_local = 6;
    options_.max_per_remote_site = 5;
    options_.first_per_remote_site = 2;
    options_.max_waiting_per_site = 100;
    options_.max_waiting = 1000;
    options_.remote_block.jitter = 0;
    options_.local_block.jitter = 0;
    sites_ = std::make_unique<Sites>(options_);
  }
  Sites::Offer Add(const std::string& site, int n = 1) {
    Sites::Offer offer = Sites::Offer::kWaiting;
    for (int i = 0; i < n; ++i) offer = sites_->Add(site, {absl::StrCat(site, "#", ++jobs_), site}, now_);
    return offer;
  }
  // Starts what may start; the sites in the order in which they got a turn.
  std::vector<std::string> StartAll() {
    std::vector<std::string> started;
    while (std::optional<Sites::Started> s = sites_->Next(now_)) started.push_back(s->site);
    return started;
  }
  std::vector<Job> Done(const std::string& site, Sites::Result result) {
    sites_->Done(site);
    return sites_->Report(site, result, now_, 0.5);
  }

  SitesOptions options_;
  std::unique_ptr<Sites> sites_;
  absl::Time now_ = kStart;
  int jobs_ = 0;
};

using Names = std::vector<std::string>;

TEST_F(SitesTest, SitesTakeTurns) {
  Add("a", 3);
  Add("b", 1);
  EXPECT_EQ(StartAll(), (Names{"a", "b", "a"}));  // the third of "a" waits for its limit of 2
  EXPECT_EQ(sites_->waiting(), 1u);
}

TEST_F(SitesTest, OneSiteNeverGetsEverySlot) {
  Add("dead", 100);
  EXPECT_EQ(StartAll().size(), 2u);
  Add("live");
  EXPECT_EQ(StartAll(), Names{"live"});
}

TEST_F(SitesTest, RemoteAndLocalHaveTheirOwnBudgets) {
  for (int i = 0; i < 20; ++i) Add(absl::StrCat("hang", i, ".example"));
  EXPECT_EQ(StartAll().size(), 10u);
  Add("local/", 10);
  EXPECT_EQ(StartAll(), Names(4, "local/"));
}

// A routing service that hangs, or one mailbox shard, leaves room for the others.
TEST_F(SitesTest, NoLocalSiteGetsEverySlot) {
  Add(kPrepareSite, 50);
  EXPECT_EQ(StartAll(), Names{kPrepareSite});
  Add("local/hangs", 50);
  EXPECT_EQ(StartAll(), Names(4, "local/hangs"));
  Add("local/well", 50);
  EXPECT_EQ(StartAll(), Names{"local/well"});
  Done("local/well", Reach::kSuccess);
  EXPECT_EQ(StartAll(), Names{"local/well"});
}

TEST_F(SitesTest, ConnectionsAreEarned) {
  Add("a", 50);
  EXPECT_EQ(StartAll().size(), 2u);
  Done("a", Sites::Result::kSuccess);  // one slot free, limit 3
  EXPECT_EQ(StartAll().size(), 2u);
  Done("a", Sites::Result::kNeutral);  // one slot free, no more
  EXPECT_EQ(StartAll().size(), 1u);
  for (int i = 0; i < 10; ++i) {
    Done("a", Sites::Result::kSuccess);
    StartAll();
  }
  EXPECT_EQ(sites_->running(), 5);  // max_per_remote_site
}

TEST_F(SitesTest, AnUnreachableSiteIsBlockedAndProbed) {
  Add("a", 10);
  EXPECT_EQ(StartAll().size(), 2u);
  EXPECT_EQ(Done("a", Sites::Result::kUnreachable).size(), 8u);
  EXPECT_EQ(sites_->BlockedUntil("a"), kStart + absl::Minutes(1));
  // The other attempt fails too: no second step of back-off.
  EXPECT_EQ(Done("a", Sites::Result::kUnreachable).size(), 0u);
  EXPECT_EQ(sites_->BlockedUntil("a"), kStart + absl::Minutes(1));
  EXPECT_EQ(Add("a"), Sites::Offer::kBlocked);
  EXPECT_EQ(sites_->blocked(now_), 1u);

  EXPECT_FALSE(sites_->TakeMissed(now_));
  EXPECT_EQ(sites_->NextMissed(), kStart + absl::Minutes(1));
  now_ = kStart + absl::Minutes(1);
  EXPECT_TRUE(sites_->TakeMissed(now_));
  EXPECT_FALSE(sites_->TakeMissed(now_));
  EXPECT_EQ(Add("a", 5), Sites::Offer::kWaiting);
  EXPECT_EQ(StartAll().size(), 1u);  // the probe
  Done("a", Sites::Result::kUnreachable);
  EXPECT_EQ(sites_->BlockedUntil("a"), now_ + absl::Minutes(2));

  now_ += absl::Minutes(2);
  Add("a", 5);
  EXPECT_EQ(StartAll().size(), 1u);
  Done("a", Sites::Result::kSuccess);
  EXPECT_EQ(StartAll().size(), 2u);  // open again, growing
}

TEST_F(SitesTest, ABlockedLocalSiteComesBackInSeconds) {
  Add("local/1");
  StartAll();
  Done("local/1", Sites::Result::kUnreachable);
  EXPECT_EQ(sites_->BlockedUntil("local/1"), now_ + absl::Seconds(1));
  now_ += absl::Seconds(1);
  Add("local/1", 3);
  EXPECT_EQ(StartAll().size(), 1u);
  Done("local/1", Sites::Result::kSuccess);
  EXPECT_EQ(StartAll().size(), 2u);  // all that wait
}

TEST_F(SitesTest, AFullLineRefusesAndIsScannedWhenItIsShort) {
  Add("a", 100);
  EXPECT_EQ(Add("a"), Sites::Offer::kFull);
  EXPECT_FALSE(sites_->TakeMissed(now_));
  EXPECT_EQ(sites_->NextMissed(), absl::InfiniteFuture());
  for (int i = 0; i < 80; ++i) {
    StartAll();
    Done("a", Sites::Result::kSuccess);
  }
  EXPECT_TRUE(sites_->TakeMissed(now_));
}

TEST_F(SitesTest, AllLinesTogetherAreBounded) {
  for (int i = 0; i < 20; ++i) Add(absl::StrCat("s", i), 100);
  EXPECT_LE(sites_->waiting(), 1000u);
  for (int i = 0; i < 1000; ++i) Add(absl::StrCat("t", i), 100);
  EXPECT_EQ(sites_->waiting(), 2000u);
}

// Long lines elsewhere do not keep a destination out.
TEST_F(SitesTest, AFullQueueStillTakesAFewForEverybody) {
  for (int i = 0; i < 100; ++i) Add(absl::StrCat("slow", i), 100);
  ASSERT_GE(sites_->waiting(), 1000u);
  EXPECT_EQ(Add("other"), Sites::Offer::kWaiting);
  Add("other", 100);
  EXPECT_EQ(Add("other"), Sites::Offer::kFull);
}

// The first message for a domain finds out that it belongs to a group.
TEST_F(SitesTest, AGroupLearnsFromItsDomains) {
  Add("mx.group", 3);
  Add("domain.example");
  EXPECT_EQ(StartAll().size(), 3u);
  sites_->Done("domain.example");
  EXPECT_EQ(sites_->Report("mx.group", Reach::kUnreachable, now_, 0.5).size(), 1u);
  EXPECT_EQ(sites_->running(), 2);  // of the group, still
  EXPECT_TRUE(sites_->any_missed());
}

TEST_F(SitesTest, AnOperatorMayUnblock) {
  Add("a");
  StartAll();
  Done("a", Sites::Result::kUnreachable);
  sites_->Unblock("a");
  EXPECT_EQ(Add("a"), Sites::Offer::kWaiting);
  EXPECT_EQ(StartAll().size(), 1u);
}

}  // namespace
}  // namespace posthouse::queue
