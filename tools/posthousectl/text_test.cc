// The output of posthousectl, and the queries of `trace`.
#include <gtest/gtest.h>

#include "posthouse/directory/v1/directory.pb.h"
#include "posthouse/ingress/v1/ingress.pb.h"
#include "posthouse/queue/v1/queue.pb.h"
#include "tools/posthousectl/items.h"
#include "tools/posthousectl/output.h"
#include "tools/posthousectl/trace_query.h"

namespace posthouse::ctl {
namespace {

TEST(OutputTest, TablesLineUp) {
  EXPECT_EQ(Table({"A", "LONGER"}, {{"x", "1"}, {"wide \xC3\xBC", "2"}}),
            "A       LONGER\nx       1\nwide \xC3\xBC  2\n");
}

TEST(OutputTest, JsonHasFieldNamesTextAndTimes) {
  queue::v1::Item item;
  item.set_queue_id("Q");
  item.mutable_accepted()->set_seconds(1700000000);
  item.mutable_accepted()->set_nanos(5000000);
  item.mutable_envelope()->set_reverse_path("a\"b@example.org\xFF");
  item.add_recipients()->set_state(queue::v1::RECIPIENT_STATE_QUEUED);
  item.add_recipients()->set_delay_warned(true);
  item.set_size_bytes(5000000000);
  EXPECT_EQ(ToJson(item),
            "{\"queue_id\":\"Q\",\"envelope\":{\"reverse_path\":\"a\\\"b@example.org\xEF\xBF\xBD\",\"smtputf8\":false},"
            "\"recipients\":[{\"state\":\"RECIPIENT_STATE_QUEUED\",\"attempts\":0,\"delay_warned\":false},"
            "{\"attempts\":0,\"delay_warned\":true}],"
            "\"accepted\":\"2023-11-14T22:13:20.005Z\",\"size_bytes\":5000000000,\"attempts\":0}");
}

TEST(OutputTest, ATerminalGetsNoControlCharacters) {
  EXPECT_EQ(Printable("a\x1B[31mb\x07 \"q\" back\\slash\tt\nn \xC3\xBC \xFF"),
            "a?[31mb? \"q\" back\\slash t n \xC3\xBC \xEF\xBF\xBD");
}

TEST(OutputTest, SizesAndAges) {
  EXPECT_EQ(FormatBytes(712), "712 B");
  EXPECT_EQ(FormatBytes(4200), "4.1 KiB");
  EXPECT_EQ(FormatBytes(uint64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(FormatAge(absl::Milliseconds(12)), "12 ms");
  EXPECT_EQ(FormatAge(absl::Milliseconds(-5)), "0 ms");
  EXPECT_EQ(FormatAge(absl::Seconds(4.25)), "4.2 s");
  EXPECT_EQ(FormatAge(absl::Minutes(61)), "61 min");
  EXPECT_EQ(FormatAge(absl::Hours(47)), "47 h");
  EXPECT_EQ(FormatAge(absl::Hours(49)), "2 d");
}

queue::v1::Item WaitingItem() {
  queue::v1::Item item;
  item.set_queue_id("01HF7YAT00QW8M3VZ1ABCDEFGH");
  item.mutable_accepted()->set_seconds(1000);
  item.mutable_next_attempt()->set_seconds(1160);
  item.mutable_expires()->set_seconds(433000);
  item.set_size_bytes(2048);
  item.set_message_id("<m@example.net>");
  item.mutable_envelope()->set_client_address("192.0.2.7");
  item.mutable_envelope()->set_client_name("mx.example.net");
  item.mutable_envelope()->set_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  auto* done = item.add_recipients();
  done->mutable_recipient()->set_address("a@example.org");
  done->set_state(queue::v1::RECIPIENT_STATE_DELIVERED);
  done->set_attempts(1);
  auto* waiting = item.add_recipients();
  waiting->mutable_recipient()->set_address("b@example.com");
  waiting->mutable_recipient()->set_original("b@alias.example");
  waiting->set_state(queue::v1::RECIPIENT_STATE_QUEUED);
  waiting->set_attempts(2);
  waiting->mutable_next_attempt()->set_seconds(1160);
  waiting->mutable_last()->set_host("mx1.example.com");
  waiting->mutable_last()->set_address("192.0.2.1:25");
  waiting->mutable_last()->mutable_took()->set_nanos(3000000);
  waiting->mutable_last()->mutable_reply()->set_code(451);
  waiting->mutable_last()->mutable_reply()->set_enhanced("4.7.1");
  waiting->mutable_last()->mutable_reply()->set_text("later\x1B[0m");
  return item;
}

TEST(ItemsTest, AWaitingMessageSaysWhoWaitsForWhatAndWhy) {
  const std::string text = DescribeItem(WaitingItem(), absl::FromUnixSeconds(1100));
  for (const char* part :
       {"01HF7YAT00QW8M3VZ1ABCDEFGH  in the queue", "from 192.0.2.7 (mx.example.net)", "from       <>",
        "<m@example.net>", "0af7651916cd43dd8448eb211c80319c", "<a@example.org>  delivered after 1 attempt\n",
        "<b@example.com> (was <b@alias.example>)  queued after 2 attempts, next in 60.0 s",
        "mx1.example.com [192.0.2.1:25]: 451 4.7.1 later?[0m (3 ms)", "expires"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\nin\n" << text;
  }
  const auto row = ItemRow(WaitingItem(), absl::FromUnixSeconds(1100));
  EXPECT_EQ(row.size(), ItemHead().size());
  EXPECT_EQ(row[1], "100.0 s");
  EXPECT_EQ(row[4], "b@example.com");
  EXPECT_EQ(row[5], "in 60.0 s");
}

TEST(ItemsTest, ARefusalSaysWhatWasRefusedToWhomAndWhy) {
  ingress::v1::Refusal refusal;
  refusal.mutable_at()->set_seconds(1000);
  refusal.set_stage("rcpt");
  refusal.set_reason("no_such_mailbox");
  refusal.set_port("mx");
  refusal.set_client_address("192.0.2.7");
  refusal.set_helo("mx.example.net");
  refusal.set_reverse_path("s@example.net");
  refusal.add_recipients("nobody@example.org");
  refusal.set_reply("550 5.1.1 No such mailbox\x1B");
  refusal.set_trace_id("0af7651916cd43dd8448eb211c80319c");
  const std::string text = DescribeRefusal(refusal);
  for (const char* part :
       {"refused by ingress at rcpt: no_such_mailbox\n", "from 192.0.2.7 (mx.example.net) on port mx\n",
        "from       <s@example.net>\n", "to         <nobody@example.org>\n", "reply      550 5.1.1 No such mailbox?\n",
        "0af7651916cd43dd8448eb211c80319c"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\nin\n" << text;
  }
}

TEST(ItemsTest, WhatWaitsForABlockedDestinationSaysWhyAndUntilWhen) {
  queue::v1::Item item = WaitingItem();
  auto* waiting = item.mutable_recipients(1);
  waiting->clear_last();
  waiting->clear_attempts();
  waiting->mutable_next_attempt()->set_seconds(1000);
  queue::v1::Block* block = waiting->mutable_blocked();
  block->set_destination("mx.example.com");
  block->mutable_since()->set_seconds(1005);
  block->mutable_until()->set_seconds(1160);
  block->mutable_last()->set_host("mx.example.com");
  block->mutable_last()->set_error("greeting: connection refused");
  const absl::Time now = absl::FromUnixSeconds(1100);
  const std::string text = DescribeItem(item, now);
  for (const char* part : {"waits for mx.example.com: not reached since ", "probed again in 60.0 s",
                           "mx.example.com: greeting: connection refused"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\nin\n" << text;
  }
  const auto row = ItemRow(item, now);
  EXPECT_EQ(row[5], "blocked, in 60.0 s");
  EXPECT_EQ(row[6], "mx.example.com: greeting: connection refused (0 ms)");
  queue::v1::DestinationState state;
  state.set_destination("mx.example.com");
  state.add_domains("example.com");
  state.set_waiting(9999);
  state.set_limit(1);
  *state.mutable_blocked() = *block;
  const auto destination = DestinationRow(state, now);
  ASSERT_EQ(destination.size(), DestinationHead().size());
  EXPECT_EQ(destination[1], "9999");
  EXPECT_EQ(destination[2], "0 of 1");
  EXPECT_EQ(destination[3], "in 60.0 s");
  EXPECT_EQ(destination[5], "example.com");
  EXPECT_EQ(destination[6], "mx.example.com: greeting: connection refused (0 ms)");
}

std::string Queries(absl::string_view what) {
  std::string out;
  for (const auto& q : QueriesFor(what)) out += q.ShortDebugString() + ";";
  return out;
}

TEST(TraceQueryTest, WhatPeopleTypeBecomesQuestions) {
  EXPECT_EQ(Queries("01hf7yat00qw8m3vz1abcdefgh"), "queue_id: \"01HF7YAT00QW8M3VZ1ABCDEFGH\";");
  EXPECT_EQ(Queries("0AF7651916CD43DD8448EB211C80319C"), "trace_id: \"0af7651916cd43dd8448eb211c80319c\";");
  EXPECT_EQ(Queries(" <m@example.net> "), "address: \"m@example.net\";message_id: \"<m@example.net>\";");
  EXPECT_EQ(Queries("user@example.org"), "address: \"user@example.org\";message_id: \"<user@example.org>\";");
  EXPECT_EQ(Queries("odd-id"), "message_id: \"<odd-id>\";");
}

TEST(TraceQueryTest, IngressIsAskedForWhatItRemembers) {
  const auto queries = [](absl::string_view what) {
    std::string out;
    for (const auto& q : RefusalQueriesFor(what)) out += q.ShortDebugString() + ";";
    return out;
  };
  EXPECT_EQ(queries("0AF7651916CD43DD8448EB211C80319C"), "trace_id: \"0af7651916cd43dd8448eb211c80319c\";");
  EXPECT_EQ(queries("<user@example.org>"), "address: \"user@example.org\";");
  EXPECT_EQ(queries("192.0.2.7"), "client_address: \"192.0.2.7\";");
  EXPECT_EQ(queries("2001:db8::7"), "client_address: \"2001:db8::7\";");
  EXPECT_EQ(queries("01hf7yat00qw8m3vz1abcdefgh"), "");
}

}  // namespace
}  // namespace posthouse::ctl
