#include "services/common/metrics/metrics.h"
#include "services/common/testing/wait.h"

#include <atomic>
#include <string>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace posthouse::metrics {
namespace {

using testing::HasSubstr;

TEST(MetricsTest, CountersStartAtZeroAndCount) {
  Registry registry;
  Counter& in = registry.AddCounter("posthouse_test_things_total", "Things.", {{"kind", "in"}});
  registry.AddCounter("posthouse_test_things_total", "Things.", {{"kind", "out"}});
  in.Add();
  in.Add(2);
  EXPECT_EQ(in.Value(), 3);
  const std::string text = registry.Serialize();
  EXPECT_THAT(text,
              HasSubstr("# HELP posthouse_test_things_total Things.\n# TYPE posthouse_test_things_total counter\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_test_things_total{kind=\"in\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_test_things_total{kind=\"out\"} 0\n"));
}

TEST(MetricsTest, TheSameNameAndLabelsAreTheSameMetric) {
  Registry registry;
  Counter& one = registry.AddCounter("posthouse_test_things_total", "Things.", {{"kind", "in"}});
  Counter& two = registry.AddCounter("posthouse_test_things_total", "Other words.", {{"kind", "in"}});
  EXPECT_EQ(&one, &two);
}

TEST(MetricsTest, GaugesAreSetAtEachScrape) {
  Registry registry;
  Gauge& gauge = registry.AddGauge("posthouse_test_depth_messages", "Depth.");
  int depth = 4;
  const CollectHandle handle = registry.OnCollect([&] { gauge.Set(depth); });
  EXPECT_THAT(registry.Serialize(), HasSubstr("posthouse_test_depth_messages 4\n"));
  depth = 5;
  EXPECT_THAT(registry.Serialize(), HasSubstr("posthouse_test_depth_messages 5\n"));
  gauge.Add(-1);
  EXPECT_EQ(gauge.Value(), 4);
}

TEST(MetricsTest, AnUpdateIsCalledUntilItsHandleGoes) {
  Registry registry;
  int calls = 0;
  CollectHandle handle = registry.OnCollect([&] { ++calls; });
  registry.Serialize();
  CollectHandle moved = std::move(handle);
  registry.Serialize();
  EXPECT_EQ(calls, 2);
  moved = registry.OnCollect([&] { calls += 100; });  // the first goes
  registry.Serialize();
  EXPECT_EQ(calls, 102);
  moved.Unregister();
  moved.Unregister();
  registry.Serialize();
  EXPECT_EQ(calls, 102);
}

TEST(MetricsTest, UnregisteringWaitsForTheScrapeThatRuns) {
  Registry registry;
  absl::Notification entered;
  absl::Notification leave;
  std::atomic<bool> left{false};
  CollectHandle handle = registry.OnCollect([&] {
    entered.Notify();
    WaitFor(leave);
    left = true;
  });
  std::thread scrape([&] { registry.Serialize(); });
  WaitFor(entered);
  std::thread release([&] { leave.Notify(); });
  handle.Unregister();
  EXPECT_TRUE(left);
  scrape.join();
  release.join();
}

TEST(MetricsTest, AHandleMayOutliveItsRegistry) {
  CollectHandle handle;
  {
    Registry registry;
    handle = registry.OnCollect([] {});
  }
  handle.Unregister();
}

TEST(MetricsTest, HistogramsHaveBucketsSumAndCount) {
  Registry registry;
  Histogram& histogram = registry.AddHistogram("posthouse_test_wait_seconds", "Wait.", {}, {0.1, 1});
  histogram.Observe(0.05);
  histogram.Observe(absl::Milliseconds(500));
  histogram.Observe(30.0);
  const std::string text = registry.Serialize();
  EXPECT_THAT(text, HasSubstr("posthouse_test_wait_seconds_count 3\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_test_wait_seconds_sum 30.55\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_test_wait_seconds_bucket{le=\"0.1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_test_wait_seconds_bucket{le=\"1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_test_wait_seconds_bucket{le=\"+Inf\"} 3\n"));
}

constexpr char kTrace[] = "0af7651916cd43dd8448eb211c80319c";

TEST(MetricsTest, OpenMetricsHasExemplarsAndAnEnd) {
  Registry registry;
  registry.AddCounter("posthouse_test_things_total", "A \"thing\".\nOr two.", {{"kind", "a\"b"}}).Add(2);
  registry.AddGauge("posthouse_test_depth_messages", "Depth.").Set(1.5);
  Histogram& histogram = registry.AddHistogram("posthouse_test_wait_seconds", "Wait.", {{"kind", "in"}}, {0.1, 1});
  histogram.Observe(0.05);
  histogram.Observe(absl::Milliseconds(500), kTrace);
  histogram.Observe(1.0, "not a trace");
  const std::string text = registry.Serialize(Format::kOpenMetrics);
  EXPECT_THAT(text, HasSubstr("# TYPE posthouse_test_things counter\n"
                              "# HELP posthouse_test_things A \\\"thing\\\".\\nOr two.\n"
                              "posthouse_test_things_total{kind=\"a\\\"b\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE posthouse_test_depth_messages gauge\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_test_depth_messages 1.5\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_test_wait_seconds_bucket{kind=\"in\",le=\"0.1\"} 1\n"));
  // A whole bound is written as a float.
  EXPECT_THAT(text, HasSubstr(std::string("posthouse_test_wait_seconds_bucket{kind=\"in\",le=\"1.0\"} 3 "
                                          "# {trace_id=\"") +
                              kTrace + "\"} 0.5 "));
  EXPECT_THAT(text, HasSubstr("posthouse_test_wait_seconds_bucket{kind=\"in\",le=\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("posthouse_test_wait_seconds_count{kind=\"in\"} 3\n"));
  EXPECT_THAT(text, testing::EndsWith("\n# EOF\n"));
}

TEST(MetricsTest, ABucketHasTheExemplarOfItsLastValue) {
  Registry registry;
  Histogram& histogram = registry.AddHistogram("posthouse_test_wait_seconds", "Wait.", {}, {1});
  const std::string other(32, '1');
  histogram.Observe(0.5, kTrace);
  histogram.Observe(1.0, other);  // the bound belongs to its bucket
  histogram.Observe(2.0, kTrace);
  const std::string text = registry.Serialize(Format::kOpenMetrics);
  EXPECT_THAT(text, HasSubstr("{le=\"1.0\"} 2 # {trace_id=\"" + other + "\"} 1 "));
  EXPECT_THAT(text, HasSubstr(std::string("{le=\"+Inf\"} 3 # {trace_id=\"") + kTrace + "\"} 2 "));
  // The older format has none.
  EXPECT_THAT(registry.Serialize(), testing::Not(HasSubstr("trace_id")));
}

TEST(MetricsTest, ARemovedCounterIsGoneAndMayComeBackAtZero) {
  Registry registry;
  Counter& counter = registry.AddCounter("posthouse_test_things_total", "Things.", {{"to", "a"}});
  registry.AddCounter("posthouse_test_things_total", "Things.", {{"to", "b"}});
  counter.Add(3);
  registry.Remove("posthouse_test_things_total", counter);
  EXPECT_THAT(registry.Serialize(), testing::Not(HasSubstr("to=\"a\"")));
  EXPECT_THAT(registry.Serialize(), HasSubstr("to=\"b\""));
  registry.AddCounter("posthouse_test_things_total", "Things.", {{"to", "a"}});
  EXPECT_THAT(registry.Serialize(), HasSubstr("posthouse_test_things_total{to=\"a\"} 0\n"));
}

TEST(MetricsTest, TimerObservesOnce) {
  Registry registry;
  Histogram& histogram = registry.AddHistogram("posthouse_test_wait_seconds", "Wait.");
  {
    const Timer timer(histogram);
  }
  EXPECT_THAT(registry.Serialize(), HasSubstr("posthouse_test_wait_seconds_count 1\n"));
}

TEST(MetricsTest, ACounterFollowsACountAndNeverFalls) {
  Registry registry;
  Counter& counter = registry.AddCounter("posthouse_test_things_total", "Things.");
  for (const double value : {3.0, 1.0, 5.0}) counter.RaiseTo(value);
  EXPECT_EQ(counter.Value(), 5);
}

TEST(MetricsDeathTest, ACounterEndsInTotalAndAGaugeDoesNot) {
  Registry registry;
  EXPECT_DEATH(registry.AddCounter("posthouse_test_things", "Things."), "metric posthouse_test_things: not _total");
  EXPECT_DEATH(registry.AddGauge("posthouse_test_more_total", "Things."), "metric posthouse_test_more_total: a gauge");
}

TEST(MetricsDeathTest, ANameWithTwoTypesIsOurMistake) {
  Registry registry;
  registry.AddCounter("posthouse_test_things_total", "Things.");
  EXPECT_DEATH(registry.AddGauge("posthouse_test_things_total", "Things."), "metric posthouse_test_things_total");
}

}  // namespace
}  // namespace posthouse::metrics
