#include "services/queue/settings.h"

#include <gtest/gtest.h>

#include <functional>

#include "absl/strings/match.h"
#include "posthouse/config/v1/config.pb.h"

namespace posthouse::queue {
namespace {

config::v1::Config Plain() {
  config::v1::Config config;
  config.set_hostname("MX.Example.org");
  config.set_data_dir("/data");
  return config;
}

TEST(QueueSettingsTest, AbsentKeysMeanTheDocumentedDefaults) {
  const absl::StatusOr<Settings> s = Settings::FromConfig(Plain());
  ASSERT_TRUE(s.ok()) << s.status();
  EXPECT_EQ(s->hostname, "mx.example.org");
  EXPECT_EQ(s->store_dir, "/data/queue");
  EXPECT_EQ(s->shard, "0");
  EXPECT_EQ(s->settlement.retry.min, absl::Minutes(1));
  EXPECT_EQ(s->settlement.retry.max, absl::Hours(1));
  EXPECT_EQ(s->settlement.retry.factor, 2);
  EXPECT_EQ(s->expire_after, absl::Hours(120));
  EXPECT_EQ(s->settlement.delay_warning_after, absl::Hours(4));
  EXPECT_EQ(s->scheduler.max_remote, 500);
  EXPECT_EQ(s->scheduler.max_per_remote_site, 20);
  EXPECT_EQ(s->remote.connect_timeout, absl::Seconds(30));
  EXPECT_EQ(s->remote.reply_timeout, absl::Minutes(5));
  EXPECT_EQ(s->remote.greeting_timeout, absl::Minutes(1));      // less than RFC 5321 §4.5.3.2.1 says
  EXPECT_EQ(s->remote.end_of_data_timeout, absl::Minutes(10));  // RFC 5321 §4.5.3.2.6
  EXPECT_FALSE(s->remote.bounce_refused_sessions);
  EXPECT_EQ(s->remote.pool.idle_timeout, absl::Seconds(10));
  EXPECT_EQ(s->remote.pool.messages_per_connection, 100u);
  EXPECT_EQ(s->done_retention, absl::Hours(72));
}

// Tests retry in seconds; the others follow.
TEST(QueueSettingsTest, ShortRetriesShortenTheRest) {
  config::v1::Config config = Plain();
  config.mutable_queue()->mutable_retry_min()->set_seconds(1);
  config.mutable_queue()->mutable_retry_max()->set_seconds(5);
  config.mutable_queue()->mutable_done_retention()->set_seconds(1);
  config.mutable_queue()->mutable_delay_warning_after();  // 0s: never
  config.mutable_queue()->set_max_concurrent(3);
  const absl::StatusOr<Settings> s = Settings::FromConfig(config);
  ASSERT_TRUE(s.ok()) << s.status();
  EXPECT_EQ(s->scheduler.remote_block.min, absl::Seconds(1));
  EXPECT_EQ(s->scheduler.remote_block.max, absl::Seconds(5));
  EXPECT_EQ(s->scheduler.max_per_remote_site, 3);
  EXPECT_EQ(s->settlement.delay_warning_after, absl::ZeroDuration());
  EXPECT_EQ(s->done_retention, absl::Hours(1));  // idempotency keys live so long
}

TEST(QueueSettingsTest, MistakesAreNamed) {
  using Config = config::v1::Config;
  const std::vector<std::pair<std::function<void(Config&)>, std::string>> cases = {
      {[](Config& c) { c.clear_data_dir(); }, "data_dir"},
      {[](Config& c) { c.mutable_queue()->set_shard("a/b"); }, "queue.shard"},
      {[](Config& c) { c.mutable_queue()->mutable_retry_min()->set_nanos(1000); }, "queue.retry_min"},
      {[](Config& c) {
         c.mutable_queue()->mutable_retry_min()->set_seconds(60);
         c.mutable_queue()->mutable_retry_max()->set_seconds(30);
       },
       "queue.retry_max"},
      {[](Config& c) { c.mutable_queue()->set_retry_factor(0.5); }, "queue.retry_factor"},
      {[](Config& c) { c.mutable_queue()->mutable_expire_after(); }, "queue.expire_after"},
      {[](Config& c) { c.mutable_queue()->mutable_delay_warning_after()->set_seconds(-1); }, "delay_warning_after"},
      {[](Config& c) { c.mutable_queue()->mutable_connect_timeout(); }, "connect_timeout"},
      {[](Config& c) { c.mutable_queue()->mutable_reply_timeout()->set_seconds(-1); }, "reply_timeout"},
      {[](Config& c) { c.mutable_queue()->mutable_end_of_data_timeout(); }, "end_of_data_timeout"},
      {[](Config& c) { c.mutable_queue()->mutable_greeting_timeout(); }, "greeting_timeout"},
      {[](Config& c) { c.mutable_queue()->set_source_address("banana"); }, "queue.source_address"},
      {[](Config& c) { c.mutable_queue()->set_source_address("192.0.2.0/24"); }, "queue.source_address"},
      {[](Config& c) { c.mutable_queue()->set_max_concurrent(1 << 20); }, "max_concurrent"},
      {[](Config& c) { c.mutable_queue()->set_max_per_destination(501); }, "max_per_destination"},
  };
  for (const auto& [change, key] : cases) {
    config::v1::Config config = Plain();
    change(config);
    const absl::Status status = Settings::FromConfig(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key;
    EXPECT_TRUE(absl::StrContains(status.message(), key)) << status;
  }
}

}  // namespace
}  // namespace posthouse::queue
