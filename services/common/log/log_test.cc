#include "services/common/log/log.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/common/testing/wait.h"

namespace posthouse::log {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string>& Lines() {
  static auto& lines = *new std::vector<std::string>();
  return lines;
}

class LogTest : public testing::Test {
 protected:
  LogTest() {
    Lines().clear();
    SetLevel(Level::kInfo);
    SetService("queue");
    SetSinkForTest([](absl::string_view line) { Lines().emplace_back(line); });
  }
  ~LogTest() override { SetSinkForTest(nullptr); }
  std::string Only() const { return Lines().size() == 1 ? Lines()[0] : "not one line"; }
};

TEST_F(LogTest, AnEventIsOneJsonLine) {
  LOG_EVENT(kInfo, "enqueued")
      .Str("a", "x")
      .Int("n", -7)
      .Double("d", 0.5)
      .Bool("b", true)
      .Seconds("s", absl::Milliseconds(1500));
  EXPECT_THAT(Only(), testing::MatchesRegex(
                          "\\{\"time\":\"20..-..-..T..:..:..\\.......Z\",\"level\":\"info\",\"service\":\"queue\","
                          "\"event\":\"enqueued\",\"a\":\"x\",\"n\":-7,\"d\":0.5,\"b\":true,\"s\":1.5\\}\n"));
}

TEST_F(LogTest, APartOfStandaloneIsNamed) {
#line 1 "services/queue/schedule/dispatcher.cc"
  LOG_EVENT(kInfo, "from_the_queue");
#line 1 "services/mailbox/grpc_service.cc"
  LOG_EVENT(kInfo, "from_the_mailbox");
#line 1 "services/common/store/store.cc"
  LOG_EVENT(kInfo, "from_the_store");
  ASSERT_EQ(Lines().size(), 3u);
  EXPECT_THAT(Lines()[0], Not(HasSubstr("component")));  // the fixture's service
  EXPECT_THAT(Lines()[1], HasSubstr("\"service\":\"queue\",\"component\":\"mailbox\",\"event\""));
  EXPECT_THAT(Lines()[2], Not(HasSubstr("component")));
}

TEST_F(LogTest, LevelsBelowTheSetOneAreSilent) {
  LOG_EVENT(kDebug, "quiet").Str("a", "x");
  EXPECT_TRUE(Lines().empty());
  SetLevel(Level::kError);
  LOG_EVENT(kWarning, "quiet");
  EXPECT_TRUE(Lines().empty());
  LOG_EVENT(kError, "loud");
  EXPECT_THAT(Only(), HasSubstr("\"level\":\"error\""));
}

TEST_F(LogTest, LevelNames) {
  Level level = Level::kInfo;
  EXPECT_TRUE(ParseLevel("debug", &level));
  EXPECT_EQ(level, Level::kDebug);
  EXPECT_TRUE(ParseLevel("warning", &level));
  EXPECT_EQ(level, Level::kWarning);
  EXPECT_FALSE(ParseLevel("WARN", &level));
  EXPECT_EQ(level, Level::kWarning);
}

TEST_F(LogTest, StringsAreEscaped) {
  struct Case {
    std::string value;
    std::string json;
  };
  const Case cases[] = {
      {"a\"b\\c", "\"v\":\"a\\\"b\\\\c\""},
      {"l1\r\nl2\t", "\"v\":\"l1\\r\\nl2\\t\""},
      {std::string("\0\x1b\x7f", 3), "\"v\":\"\\u0000\\u001b\\u007f\""},
      {"gr\xC3\xBC\xC3\x9F", "\"v\":\"gr\xC3\xBC\xC3\x9F\""},
      {"\xFF", "\"v\":\"\xEF\xBF\xBD\""},
      {"\xC0\xAF", "\"v\":\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                  // overlong
      {"\xED\xA0\x80", "\"v\":\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},  // surrogate
      {"\xF0\x9F\x98\x80", "\"v\":\"\xF0\x9F\x98\x80\""},
      {"cut \xE2\x82", "\"v\":\"cut \xEF\xBF\xBD\xEF\xBF\xBD\""},
  };
  for (const Case& c : cases) {
    Lines().clear();
    LOG_EVENT(kInfo, "e").Str("v", c.value);
    EXPECT_THAT(Only(), HasSubstr(c.json));
  }
}

TEST_F(LogTest, InfinityIsNull) {
  LOG_EVENT(kInfo, "e").Double("v", std::numeric_limits<double>::infinity()).Double("w", std::nan(""));
  EXPECT_THAT(Only(), HasSubstr("\"v\":null,\"w\":null"));
}

TEST_F(LogTest, AFieldIsCutAt1KiB) {
  LOG_EVENT(kInfo, "e").Str("v", std::string(100000, 'x'));
  EXPECT_LT(Only().size(), 1300u);
  EXPECT_THAT(Only(), EndsWith("xxx...\"}\n"));
}

TEST_F(LogTest, ALineIsCutAt8KiBAndStaysJson) {
  {
    Event event(Level::kInfo, "e");
    for (int i = 0; i < 100; ++i) event.Str("v", std::string(500, '"'));
  }
  EXPECT_LE(Only().size(), 8192u);
  EXPECT_THAT(Only(), EndsWith("\\\"\"}\n"));
}

TEST_F(LogTest, ErrorsAndIds) {
  LOG_EVENT(kError, "e").Err(absl::NotFoundError("no such thing")).Trace("abc").QueueId("q1");
  EXPECT_THAT(Only(),
              HasSubstr("\"code\":\"NOT_FOUND\",\"error\":\"no such thing\",\"trace_id\":\"abc\",\"queue_id\":\"q1\""));
  Lines().clear();
  LOG_EVENT(kInfo, "e").Trace("");
  EXPECT_THAT(Only(), Not(HasSubstr("trace_id")));
}

TEST_F(LogTest, LogIfErrorIsSilentWhenOk) {
  LogIfError(absl::OkStatus(), "closing");
  EXPECT_TRUE(Lines().empty());
  LogIfError(absl::UnavailableError("gone"), "closing");
  EXPECT_THAT(Only(), HasSubstr("\"while\":\"closing\",\"code\":\"UNAVAILABLE\""));
}

TEST(RateLimitTest, ReportsWhatWasDropped) {
  RateLimit none(0);
  int64_t dropped = -1;
  EXPECT_FALSE(none.Allow(&dropped));
  EXPECT_EQ(dropped, -1);
  RateLimit one(1);
  int64_t refused = 0;
  EXPECT_TRUE(one.Allow(&dropped));
  EXPECT_EQ(dropped, 0);
  // Within two seconds of the clock one answer is false; a later true one has their number.
  const bool reported = Eventually([&] {
    if (!one.Allow(&dropped)) {
      ++refused;
      return false;
    }
    EXPECT_EQ(dropped, refused);
    return dropped > 0;
  });
  EXPECT_TRUE(reported);
}

}  // namespace
}  // namespace posthouse::log
