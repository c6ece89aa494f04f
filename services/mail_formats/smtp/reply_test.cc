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
      // The text of a reply does not change its code.
      {"250-a\r\n\r\nno code\r\n250_x\r\n250 b\r\n", Make(250, "", {"a", "b"}), ""},
      {std::string("250 a\0b\x80\xff\r\n", 11), Make(250, "", {std::string("a\0b\x80\xff", 5)}), ""},
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

// A long text is no reason to take a decision for another one, and to send a message twice.
TEST(ReplyParser, LongRepliesAreCutAndKeepTheirCode) {
  for (const int code : {220, 250, 354, 450, 550}) {
    const std::string number = std::to_string(code);
    std::string many;
    for (int i = 0; i < 200; ++i) many += number + "-x" + std::to_string(i) + "\r\n";
    many += number + " end\r\n";
    const struct {
      std::string input;
      size_t lines;
    } kCases[] = {
        {number + " " + std::string(10000, 'x') + "\r\n", 1},
        {number + "-" + std::string(10000, 'x') + "\r\n" + number + " " + std::string(10000, 'y') + "\r\n", 2},
        {many, 100},
        {number + " " + std::string(1000000, 'x') + "\r\n", 1},
    };
    for (const auto& c : kCases) {
      for (const size_t step : {c.input.size(), size_t{4096}, size_t{c.input.size() < 5000 ? 1u : 1000u}}) {
        ReplyParser parser;
        std::optional<Reply> reply;
        for (size_t at = 0; at < c.input.size(); at += step) {
          absl::string_view piece = absl::string_view(c.input).substr(at, step);
          const auto fed = parser.Feed(&piece);
          ASSERT_TRUE(fed.ok()) << fed.status();
          EXPECT_TRUE(piece.empty());
          reply = *fed;
        }
        ASSERT_TRUE(reply.has_value());
        EXPECT_EQ(reply->code, code);
        EXPECT_EQ(reply->lines.size(), c.lines);
        for (const std::string& line : reply->lines) EXPECT_LE(line.size(), 2044u);
        EXPECT_EQ(reply->lines[0].substr(0, 1), "x");
      }
    }
  }
}

TEST(ReplyParser, IsBounded) {
  for (const std::string unit : {"x", "250-x\r\n", "250-\r\njunk\r\n"}) {
    std::string endless = "250-";
    while (endless.size() <= 1024 * 1024) endless += unit;
    ReplyParser parser;
    absl::string_view input = endless;
    EXPECT_EQ(parser.Feed(&input).status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(parser.TakeUnfinished()->code, 250);
  }
}

TEST(ReplyParser, TellsTheCodeOfAReplyThatDoesNotEnd) {
  const std::vector<std::pair<std::string, int>> cases = {
      {"", 0}, {"25", 0}, {"250", 0}, {"250 ", 250}, {"250-", 250}, {"250 ok", 250}, {"550-no\r\n55", 550}, {"junk", 0},
  };
  for (const auto& [text, code] : cases) {
    ReplyParser parser;
    absl::string_view input = text;
    ASSERT_TRUE(parser.Feed(&input).ok());
    const std::optional<Reply> reply = parser.TakeUnfinished();
    EXPECT_EQ(reply.has_value() ? reply->code : 0, code) << text;
    input = "220 next\r\n";
    EXPECT_EQ(parser.Feed(&input).value()->code, 220) << text;
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
