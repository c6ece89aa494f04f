#include "services/mail_formats/smtp/reply.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace posthouse::smtp {
namespace {

Reply Make(int code, std::string enhanced, std::vector<std::string> lines) {
  Reply reply;
  reply.code = code;
  reply.enhanced = std::move(enhanced);
  reply.lines = std::move(lines);
  return reply;
}

TEST(Format, OneLineAndSeveral) {
  EXPECT_EQ(Format(Reply(250, "2.1.5", "ok")), "250 2.1.5 ok\r\n");
  EXPECT_EQ(Format(Reply(354, "", "go ahead")), "354 go ahead\r\n");
  // RFC 5321 §4.2.1, RFC 2034 §4: the code stands in every line.
  EXPECT_EQ(Format(Make(550, "5.7.1", {"no", "really"})), "550-5.7.1 no\r\n550 5.7.1 really\r\n");
}

TEST(Format, WhatIsRepeatedCannotForgeALine) {
  EXPECT_EQ(Format(Reply(500, "5.5.2", "what is \r250 x\x01?")), "500 5.5.2 what is ?250 x??\r\n");
}

struct ParseCase {
  std::string input;
  Reply reply;
  std::string rest;
};

TEST(ReplyParser, ReadsWhatPeersSend) {
  const std::vector<ParseCase> cases = {
      {"250 ok\r\n", Make(250, "", {"ok"}), ""},
      {"250 2.1.5 ok\r\n", Make(250, "2.1.5", {"ok"}), ""},
      {"250\r\n", Make(250, "", {""}), ""},
      {"250 \r\n", Make(250, "", {""}), ""},
      {"250 ok\n", Make(250, "", {"ok"}), ""},
      {"250-a\r\n250-SIZE 1\r\n250 HELP\r\n", Make(250, "", {"a", "SIZE 1", "HELP"}), ""},
      {"550-5.1.1 no\r\n550 5.1.1 mailbox\r\n", Make(550, "5.1.1", {"no", "mailbox"}), ""},
      {"421 4.3.2 bye\r\nrest", Make(421, "4.3.2", {"bye"}), "rest"},
      {"250-a\r\n500 b\r\n", Make(500, "", {"a", "b"}), ""},  // the last code counts
      {"250 4.1.1 class of another\r\n", Make(250, "", {"4.1.1 class of another"}), ""},
      {"250 2.1 not enough\r\n", Make(250, "", {"2.1 not enough"}), ""},
      {"250 2.1.5\r\n", Make(250, "2.1.5", {""}), ""},
      {"250-\r\n250 x\r\n", Make(250, "", {"", "x"}), ""},
  };
  for (const ParseCase& c : cases) {
    // Whole, and byte by byte: chunk borders must not matter.
    for (const size_t step : {c.input.size(), size_t{1}}) {
      ReplyParser parser;
      std::optional<Reply> reply;
      size_t at = 0;
      absl::string_view rest;
      while (!reply.has_value() && at < c.input.size()) {
        rest = absl::string_view(c.input).substr(at, step);
        at += rest.size();
        const auto fed = parser.Feed(&rest);
        ASSERT_TRUE(fed.ok()) << c.input << fed.status().ToString();
        reply = *fed;
      }
      ASSERT_TRUE(reply.has_value()) << c.input;
      EXPECT_EQ(*reply, c.reply) << c.input;
      EXPECT_EQ(std::string(rest) + c.input.substr(at), c.rest);
    }
  }
}

TEST(ReplyParser, TakesPipelinedRepliesOneByOne) {
  ReplyParser parser;
  absl::string_view input = "250 a\r\n550 b\r\n35";
  EXPECT_EQ(parser.Feed(&input).value()->code, 250);
  EXPECT_EQ(parser.Feed(&input).value()->code, 550);
  EXPECT_FALSE(parser.Feed(&input).value().has_value());
  input = "4 c\r\n";
  EXPECT_EQ(parser.Feed(&input).value()->code, 354);
}

TEST(ReplyParser, RefusesWhatIsNotAReply) {
  for (const char* text :
       {"hello\r\n", "25 x\r\n", "2500 x\r\n", "150 x\r\n", "650 x\r\n", "\r\n", "+OK\r\n", "250_x\r\n"}) {
    ReplyParser parser;
    absl::string_view input = text;
    EXPECT_EQ(parser.Feed(&input).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ReplyParser, IsBounded) {
  {
    ReplyParser parser;
    const std::string endless(3000, 'x');
    absl::string_view input = endless;
    EXPECT_EQ(parser.Feed(&input).status().code(), absl::StatusCode::kResourceExhausted);
  }
  {
    ReplyParser parser;
    std::string many;
    for (int i = 0; i < 101; ++i) many += "250-x\r\n";
    absl::string_view input = many;
    EXPECT_EQ(parser.Feed(&input).status().code(), absl::StatusCode::kResourceExhausted);
  }
  {
    ReplyParser parser;
    std::string big;
    for (int i = 0; i < 20; ++i) big += "250-" + std::string(1000, 'x') + "\r\n";
    absl::string_view input = big;
    EXPECT_EQ(parser.Feed(&input).status().code(), absl::StatusCode::kResourceExhausted);
  }
}

TEST(Reply, ClassesFollowTheFirstDigit) {
  EXPECT_TRUE(Reply(250, "", "").positive());
  EXPECT_TRUE(Reply(451, "", "").temporary());
  EXPECT_TRUE(Reply(550, "", "").permanent());
  EXPECT_FALSE(Reply(550, "", "").temporary());
  EXPECT_EQ(Reply(550, "5.1.1", "no such mailbox").ToString(), "550 5.1.1 no such mailbox");
}

}  // namespace
}  // namespace posthouse::smtp
