#include "services/common/metrics/top_counters.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace posthouse::metrics {
namespace {

using testing::HasSubstr;
using testing::Not;

class TopCountersTest : public testing::Test {
 protected:
  void Add(absl::string_view value, int times = 1, size_t kind = 0) {
    for (int i = 0; i < times; ++i) top_.Add(value, kind, now_);
  }
  std::string Sample(absl::string_view value, absl::string_view kind, int count) {
    return absl::StrCat("posthouse_test_top_total{outcome=\"", kind, "\",to=\"", value, "\"} ", count, "\n");
  }
  std::string Text() { return registry_.Serialize(); }
  double Sum() {
    double sum = 0;
    for (const absl::string_view line : absl::StrSplit(Text(), '\n')) {
      double value = 0;
      if (absl::StartsWith(line, "posthouse_test_top_total{") &&
          absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) {
        sum += value;
      }
    }
    return sum;
  }

  Registry registry_;
  TopCounters top_{registry_,
                   {.name = "posthouse_test_top_total",
                    .help = "Things.",
                    .label = "to",
                    .kind = "outcome",
                    .kinds = {"good", "bad"},
                    .values = 4}};
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

TEST_F(TopCountersTest, OtherIsZeroFromTheStart) {
  EXPECT_THAT(Text(), HasSubstr(Sample("other", "good", 0)));
  EXPECT_THAT(Text(), HasSubstr(Sample("other", "bad", 0)));
}

TEST_F(TopCountersTest, TheFirstValuesGetSeriesAndLaterOnesAreOther) {
  for (const char* value : {"a.example", "b.example", "c.example", "d.example", "e.example", "f.example"}) Add(value);
  Add("a.example", 2, 1);
  EXPECT_THAT(Text(), HasSubstr(Sample("a.example", "good", 1)));
  EXPECT_THAT(Text(), HasSubstr(Sample("a.example", "bad", 2)));
  EXPECT_THAT(Text(), Not(HasSubstr("e.example")));
  EXPECT_THAT(Text(), HasSubstr(Sample("other", "good", 2)));
  EXPECT_EQ(Sum(), 8);
}

TEST_F(TopCountersTest, AValueThatBecameFrequentTakesThePlaceOfARareOne) {
  for (const char* value : {"a.example", "b.example", "c.example"}) Add(value, 100);
  Add("d.example");
  Add("busy.example", 50);
  now_ += absl::Minutes(2);
  Add("busy.example", 5);
  EXPECT_THAT(Text(), HasSubstr(Sample("busy.example", "good", 5)));
  EXPECT_THAT(Text(), Not(HasSubstr("d.example")));
  EXPECT_THAT(Text(), HasSubstr(Sample("other", "good", 50)));
}

TEST_F(TopCountersTest, EqualsDoNotTakeTurns) {
  for (int round = 0; round < 10; ++round) {
    for (const char* value : {"a.example", "b.example", "c.example", "d.example", "e.example"}) Add(value, 10);
    now_ += absl::Minutes(1);
  }
  EXPECT_THAT(Text(), HasSubstr(Sample("a.example", "good", 100)));
  EXPECT_THAT(Text(), Not(HasSubstr("e.example")));
}

TEST_F(TopCountersTest, AFloodOfNewValuesTakesNoSeriesFromFrequentOnes) {
  for (const char* value : {"a.example", "b.example", "c.example", "d.example"}) Add(value, 100);
  for (int i = 0; i < 5000; ++i) {
    Add(absl::StrCat("random", i, ".example"));
    now_ += absl::Milliseconds(100);
  }
  for (const char* value : {"a.example", "b.example", "c.example", "d.example"}) {
    EXPECT_THAT(Text(), HasSubstr(Sample(value, "good", 100)));
  }
  EXPECT_THAT(Text(), Not(HasSubstr("random")));
}

TEST_F(TopCountersTest, ValuesThatNobodyUsesAnyMoreGo) {
  Add("a.example");
  now_ += absl::Hours(3);
  Add("b.example");
  EXPECT_THAT(Text(), Not(HasSubstr("a.example")));
  EXPECT_THAT(Text(), HasSubstr(Sample("b.example", "good", 1)));
}

// A label that is not UTF-8 would cost the whole scrape.
TEST_F(TopCountersTest, OddValuesAreOther) {
  Add("\xff\xfe");
  Add("");
  Add("two words");
  Add(std::string(300, 'x'));
  Add("other");
  EXPECT_THAT(Text(), HasSubstr(Sample("other", "good", 5)));
  EXPECT_EQ(Sum(), 5);
}

}  // namespace
}  // namespace posthouse::metrics
