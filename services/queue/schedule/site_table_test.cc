#include "services/queue/schedule/site_table.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace posthouse::queue {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

Destination Domain(int n) { return Destination::Remote(absl::StrCat("d", n, ".example")); }
Job JobFor(const Destination& domain) { return {.queue_id = NewQueueId(kStart), .destination = domain}; }

TEST(SiteTableTest, TheJobsOfADomainShareOneLookup) {
  SiteTable table({});
  EXPECT_TRUE(table.Park(JobFor(Domain(1)), false));
  EXPECT_TRUE(table.Park(JobFor(Domain(1)), false));
  EXPECT_EQ(table.NextLookup(), Domain(1));
  EXPECT_TRUE(table.Park(JobFor(Domain(1)), false));  // while it is in progress
  EXPECT_EQ(table.NextLookup(), std::nullopt);
  EXPECT_EQ(table.Answered(Domain(1), Destination::Remote("mx.example"), kStart).size(), 3u);
  EXPECT_EQ(*table.Find(Domain(1), kStart), Destination::Remote("mx.example"));
  EXPECT_EQ(table.parked(), 0u);
}

TEST(SiteTableTest, LookupsInProgressAreLimited) {
  SiteTable table({.max_lookups = 2});
  for (int i = 0; i < 3; ++i) table.Park(JobFor(Domain(i)), false);
  EXPECT_EQ(table.NextLookup(), Domain(0));
  EXPECT_EQ(table.NextLookup(), Domain(1));
  EXPECT_EQ(table.NextLookup(), std::nullopt);
  table.Answered(Domain(1), std::nullopt, kStart);
  EXPECT_EQ(table.NextLookup(), Domain(2));
}

TEST(SiteTableTest, DomainsOfNewMailAreAskedForBeforeTheBacklog) {
  SiteTable table({.max_lookups = 4, .max_backlog_lookups = 2});
  for (int i = 0; i < 4; ++i) table.Park(JobFor(Domain(i)), true);
  EXPECT_EQ(table.NextLookup(), Domain(0));
  EXPECT_EQ(table.NextLookup(), Domain(1));
  EXPECT_EQ(table.NextLookup(), std::nullopt);  // the part of the backlog is used up
  table.Park(JobFor(Domain(9)), false);
  table.Park(JobFor(Domain(3)), false);  // of the backlog, and now of new mail too
  EXPECT_EQ(table.NextLookup(), Domain(9));
  EXPECT_EQ(table.NextLookup(), Domain(3));
  table.Answered(Domain(9), std::nullopt, kStart);
  EXPECT_EQ(table.NextLookup(), std::nullopt);
  EXPECT_EQ(table.Answered(Domain(3), std::nullopt, kStart).size(), 2u);
  table.Answered(Domain(0), std::nullopt, kStart);
  EXPECT_EQ(table.NextLookup(), Domain(2));
  EXPECT_EQ(table.NextLookup(), std::nullopt);  // Domain(3) was answered
  table.Park(JobFor(Domain(1)), false);         // its lookup is in progress
  EXPECT_EQ(table.NextLookup(), std::nullopt);
  EXPECT_EQ(table.Answered(Domain(1), std::nullopt, kStart).size(), 2u);
  EXPECT_EQ(table.Answered(Domain(2), std::nullopt, kStart).size(), 1u);
  EXPECT_EQ(table.parked(), 0u);
}

TEST(SiteTableTest, ADomainThatCannotBeLookedUpIsItsOwnSiteForAWhile) {
  SiteTable table({.retry_lookup = absl::Minutes(1)});
  table.Park(JobFor(Domain(1)), false);
  table.NextLookup();
  table.Answered(Domain(1), std::nullopt, kStart);
  EXPECT_EQ(*table.Find(Domain(1), kStart), Domain(1));
  EXPECT_EQ(table.Find(Domain(1), kStart + absl::Minutes(1)), nullptr);
}

TEST(SiteTableTest, MemoryIsBounded) {
  SiteTable table({.max_known = 10, .max_parked = 3});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(table.Park(JobFor(Domain(1)), false));
  EXPECT_FALSE(table.Park(JobFor(Domain(2)), false));
  for (int i = 0; i < 15; ++i) table.Learn(Domain(i), Destination::Remote("mx.example"));
  EXPECT_EQ(table.Find(Domain(0), kStart), nullptr);
  EXPECT_NE(table.Find(Domain(14), kStart), nullptr);
}

}  // namespace
}  // namespace posthouse::queue
