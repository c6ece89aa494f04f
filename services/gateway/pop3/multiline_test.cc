#include "services/gateway/pop3/multiline.h"

#include <gtest/gtest.h>

#include <string>

namespace posthouse::gateway::pop3 {
namespace {

// Every way to cut the message gives the same.
std::string Send(absl::string_view message, std::optional<uint64_t> body_lines = std::nullopt) {
  std::string whole;
  for (size_t step = 1; step <= message.size() + 1; ++step) {
    Multiline lines(body_lines);
    std::string out;
    for (size_t i = 0; i < message.size(); i += step) {
      if (!lines.Feed(message.substr(i, step), &out)) break;
    }
    lines.Finish(&out);
    if (step > 1) EXPECT_EQ(out, whole) << "in steps of " << step;
    whole = out;
  }
  return whole;
}

// RFC 1939 §3
TEST(MultilineTest, StuffsAndTerminates) {
  const std::pair<const char*, const char*> kCases[] = {
      {"", ".\r\n"},
      {"a\r\n", "a\r\n.\r\n"},
      {"a", "a\r\n.\r\n"},
      {"a\r", "a\r\n.\r\n"},
      {".", "..\r\n.\r\n"},
      {".\r\n", "..\r\n.\r\n"},
      {"..\r\n.a\r\n", "...\r\n..a\r\n.\r\n"},
      {"a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"},
      {"a\n.\nb\n", "a\r\n..\r\nb\r\n.\r\n"},  // bare LF is no way around the stuffing
      {"a\r.\r\n", "a\r.\r\n.\r\n"},
      {"\r\n\r\n", "\r\n\r\n.\r\n"},
      {"\n\n", "\r\n\r\n.\r\n"},
      {"a.b\r\n", "a.b\r\n.\r\n"},
      {"a\r\r\n", "a\r\r\n.\r\n"},
  };
  for (const auto& [in, out] : kCases) EXPECT_EQ(Send(in), out) << in;
}

// RFC 1939 §7
TEST(MultilineTest, TopStopsAfterItsLines) {
  const char* message = "H: 1\r\n.H: 2\r\n\r\none\r\n.two\r\nthree\r\n";
  EXPECT_EQ(Send(message, 0), "H: 1\r\n..H: 2\r\n\r\n.\r\n");
  EXPECT_EQ(Send(message, 1), "H: 1\r\n..H: 2\r\n\r\none\r\n.\r\n");
  EXPECT_EQ(Send(message, 2), "H: 1\r\n..H: 2\r\n\r\none\r\n..two\r\n.\r\n");
  EXPECT_EQ(Send(message, 9), "H: 1\r\n..H: 2\r\n\r\none\r\n..two\r\nthree\r\n.\r\n");
  EXPECT_EQ(Send("H: 1\r\n", 0), "H: 1\r\n.\r\n");
  EXPECT_EQ(Send("H: 1\n\nx\ny\n", 1), "H: 1\r\n\r\nx\r\n.\r\n");
}

}  // namespace
}  // namespace posthouse::gateway::pop3
