#include "services/ingress/refusals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"

namespace posthouse::ingress {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

const absl::Time kNoon = absl::FromUnixSeconds(1700000000);

std::vector<std::string>& Lines() {
  static auto* const lines = new std::vector<std::string>;
  return *lines;
}

class RefusalsTest : public testing::Test {
 protected:
  RefusalsTest() {
    Lines().clear();
    log::SetSinkForTest([](absl::string_view line) { Lines().emplace_back(line); });
  }
  ~RefusalsTest() override { log::SetSinkForTest(nullptr); }

  static Refusal Unknown(const std::string& to, const std::string& client = "192.0.2.7", absl::Time at = kNoon) {
    Refusal refusal;
    refusal.at = at;
    refusal.stage = Stage::kRcpt;
    refusal.reason = Reason::kNoSuchMailbox;
    refusal.port = "mx";
    refusal.client = client;
    refusal.helo = "client.example";
    refusal.from = "sender@client.example";
    refusal.to = {to};
    refusal.reply = "550 5.1.1 No such mailbox";
    refusal.trace_id = "0123";
    return refusal;
  }
  static size_t Logged(absl::string_view event) {
    size_t count = 0;
    for (const std::string& line : Lines()) count += absl::StrContains(line, event) ? 1 : 0;
    return count;
  }
  std::vector<Refusal> Find(const std::string& address) { return refusals_.Find({.text = address}); }

  metrics::Registry registry_;
  std::shared_ptr<Metrics> metrics_ = std::make_shared<Metrics>(registry_);
  Refusals refusals_{metrics_};
};

TEST_F(RefusalsTest, ARefusalIsCountedLoggedAndFound) {
  refusals_.Record(Unknown("nobody@mx.example"));
  EXPECT_EQ(metrics_->Refused(Stage::kRcpt, Reason::kNoSuchMailbox).Value(), 1);
  EXPECT_THAT(registry_.Serialize(),
              HasSubstr("posthouse_ingress_refused_total{reason=\"no_such_mailbox\",stage=\"rcpt\"} 1"));
  ASSERT_THAT(Lines(), SizeIs(1));
  for (const char* field :
       {"\"recipient_refused\"", "\"reason\":\"no_such_mailbox\"", "\"client\":\"192.0.2.7\"",
        "\"helo\":\"client.example\"", "\"from\":\"sender@client.example\"", "\"to\":\"nobody@mx.example\"",
        "\"reply\":\"550 5.1.1 No such mailbox\"", "\"trace_id\":\"0123\""}) {
    EXPECT_THAT(Lines()[0], HasSubstr(field));
  }
  for (const char* address : {"Nobody@MX.example", "sender@client.example"}) {
    ASSERT_THAT(Find(address), SizeIs(1)) << address;
    EXPECT_EQ(Find(address)[0].reply, "550 5.1.1 No such mailbox");
  }
  EXPECT_THAT(Find("other@mx.example"), SizeIs(0));
  EXPECT_THAT(refusals_.Find({.by = RefusalQuery::By::kTraceId, .text = "0123"}), SizeIs(1));
  EXPECT_THAT(refusals_.Find({.by = RefusalQuery::By::kClient, .text = "192.0.2.7"}), SizeIs(1));
}

TEST_F(RefusalsTest, AFloodWritesFewLinesAndSaysHowManyItLeftOut) {
  for (int i = 0; i < 5000; ++i) refusals_.Record(Unknown(absl::StrCat("u", i, "@mx.example"), "192.0.2.9"));
  EXPECT_EQ(Logged("recipient_refused"), static_cast<size_t>(Refusals::kLinesPerMinute));
  EXPECT_EQ(metrics_->Refused(Stage::kRcpt, Reason::kNoSuchMailbox).Value(), 5000);
  // Another reason and another network have lines of their own.
  Refusal denied = Unknown("x@foreign.example", "192.0.2.9");
  denied.reason = Reason::kRelayDenied;
  refusals_.Record(denied);
  refusals_.Record(Unknown("nobody@mx.example", "198.51.100.1"));
  EXPECT_EQ(Logged("recipient_refused"), static_cast<size_t>(Refusals::kLinesPerMinute) + 2);
  // The rest is told by its number, and the network has lines again.
  refusals_.Record(Unknown("again@mx.example", "192.0.2.200", kNoon + absl::Seconds(61)));
  EXPECT_THAT(Lines()[Lines().size() - 2],
              HasSubstr(absl::StrCat("\"suppressed\":", 5000 - Refusals::kLinesPerMinute)));
  EXPECT_THAT(Lines().back(), HasSubstr("again@mx.example"));
}

TEST_F(RefusalsTest, TheCountOfANetworkThatStoppedIsLogged) {
  for (int i = 0; i < Refusals::kLinesPerMinute + 7; ++i) refusals_.Record(Unknown("nobody@mx.example"));
  refusals_.Tick(kNoon + absl::Seconds(59));
  EXPECT_EQ(Logged("refusals_suppressed"), 0u);
  refusals_.Tick(kNoon + absl::Seconds(60));
  ASSERT_EQ(Logged("refusals_suppressed"), 1u);
  EXPECT_THAT(Lines().back(), HasSubstr("\"what\":\"rcpt no_such_mailbox 192.0.2.0/24\""));
  EXPECT_THAT(Lines().back(), HasSubstr("\"suppressed\":7"));
}

TEST_F(RefusalsTest, AFloodFromOneNetworkLeavesOthersInMemory) {
  // Of 32 other networks at most one shares the flood's group.
  for (int i = 0; i < 32; ++i) {
    refusals_.Record(Unknown(absl::StrCat("n", i, "@mx.example"), absl::StrCat("198.51.", i, ".1")));
  }
  for (size_t i = 0; i < 10 * Refusals::kPerBucket; ++i) refusals_.Record(Unknown("flood@mx.example"));
  int kept = 0;
  for (int i = 0; i < 32; ++i) kept += Find(absl::StrCat("n", i, "@mx.example")).empty() ? 0 : 1;
  EXPECT_GE(kept, 24);  // 64 groups: chance takes a few
  EXPECT_LE(refusals_.remembered(), 32 + Refusals::kPerBucket);
  EXPECT_THAT(Find("flood@mx.example"), SizeIs(20));  // the limit of a query
}

TEST_F(RefusalsTest, WhatIsKeptIsBounded) {
  Refusal large = Unknown("x");
  large.from = std::string(100000, 'f');
  large.to.assign(1000, std::string(100000, 't'));
  refusals_.Record(large);
  const std::vector<Refusal> found = refusals_.Find({.by = RefusalQuery::By::kClient, .text = "192.0.2.7"});
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].from.size(), Refusals::kMaxText);
  EXPECT_THAT(found[0].to, SizeIs(Refusals::kMaxRecipients));
  EXPECT_EQ(found[0].to[0].size(), Refusals::kMaxText);
}

TEST(LineLimitTest, TheNextLineSaysHowManyWereLeftOut) {
  LineLimit limit(1, absl::Minutes(1), 10);
  uint64_t suppressed = 7;
  EXPECT_TRUE(limit.Allow("a", kNoon, &suppressed));
  EXPECT_EQ(suppressed, 0u);
  EXPECT_FALSE(limit.Allow("a", kNoon, &suppressed));
  limit.Suppress("a", 2);
  EXPECT_TRUE(limit.Allow("a", kNoon + absl::Minutes(1), &suppressed));
  EXPECT_EQ(suppressed, 3u);
}

TEST(LineLimitTest, KeysBeyondTheLimitShareOneWindow) {
  LineLimit limit(1, absl::Minutes(1), 2);
  uint64_t suppressed = 0;
  EXPECT_TRUE(limit.Allow("a", kNoon, &suppressed));
  EXPECT_TRUE(limit.Allow("b", kNoon, &suppressed));
  EXPECT_TRUE(limit.Allow("c", kNoon, &suppressed));
  EXPECT_FALSE(limit.Allow("d", kNoon, &suppressed));
  EXPECT_THAT(limit.TakeQuiet(kNoon + absl::Minutes(1)), SizeIs(1));
  // A clock that steps back does not silence a key.
  EXPECT_TRUE(limit.Allow("a", kNoon, &suppressed));
  EXPECT_TRUE(limit.Allow("a", kNoon - absl::Hours(1), &suppressed));
}

}  // namespace
}  // namespace posthouse::ingress
