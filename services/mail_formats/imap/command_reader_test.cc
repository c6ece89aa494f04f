#include "services/mail_formats/imap/command_reader.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace posthouse::imap {
namespace {

using Event = CommandReader::Event;

// Plays `input` in pieces of `step` bytes and writes down what happens.
std::string Play(absl::string_view input, size_t step, size_t max_bytes = 100) {
  CommandReader reader(max_bytes);
  std::string seen;
  size_t at = 0;
  while (true) {
    switch (reader.Next()) {
      case Event::kNeedInput:
        if (at >= input.size()) return seen;
        reader.Feed(std::string(input.substr(at, step)));
        at += step;
        break;
      case Event::kCommand:
        absl::StrAppend(&seen, "<", reader.text(), ">");
        break;
      case Event::kContinue:
        seen += "+";
        break;
      case Event::kRefused:
        absl::StrAppend(&seen, "!", reader.tag(), " ", std::string(reader.why()), "!");
        break;
      case Event::kMessage: {
        absl::StrAppend(&seen, "[", reader.text(), "]");
        reader.AcceptMessage();
        std::string message;
        while (reader.message_bytes() > 0) {
          const std::string piece = reader.TakeMessage(4);
          message += piece;
          if (!piece.empty()) continue;
          if (at >= input.size()) return seen + "...";
          reader.Feed(std::string(input.substr(at, step)));
          at += step;
        }
        absl::StrAppend(&seen, "=", message, "=");
        break;
      }
    }
  }
}

TEST(CommandReaderTest, Table) {
  const std::string long_line(150, 'x');
  const struct {
    std::string input;
    std::string seen;
  } kCases[] = {
      {"a NOOP\r\n", "<a NOOP>"},
      {"a NOOP\n", "<a NOOP>"},
      {"\r\n\r\na NOOP\r\n\r\nb NOOP\r\n", "<a NOOP><b NOOP>"},  // empty lines are ignored
      {"a LOGIN {3}\r\njoe {2}\r\npw\r\n", "++<a LOGIN {3}\r\njoe {2}\r\npw>"},
      {"a LOGIN {3+}\r\njoe {2+}\r\npw\r\n", "<a LOGIN {3+}\r\njoe {2+}\r\npw>"},
      {"a LOGIN {4+}\r\n\r\n\r\n x\r\n", "<a LOGIN {4+}\r\n\r\n\r\n x>"},
      {"a LOGIN {0+}\r\n\r\n", "<a LOGIN {0+}\r\n>"},
      // RFC 7888 §4: too large a non-synchronising literal is read and thrown away.
      {"a LOGIN {200+}\r\n" + std::string(200, 'z') + " {3+}\r\nabc tail\r\nb NOOP\r\n",
       "!a literal too large!<b NOOP>"},
      {"a LOGIN {200}\r\nb NOOP\r\n", "!a literal too large!<b NOOP>"},
      {"a LOGIN {99999999999999999999999}\r\nb NOOP\r\n", "<a LOGIN {99999999999999999999999}><b NOOP>"},
      {"a " + long_line + "\r\nb NOOP\r\n", "!a command too long!<b NOOP>"},
      {"a " + long_line + " {5+}\r\nb \r\n\r\nc NOOP\r\n", "!a command too long!<c NOOP>"},
      {"a " + long_line + " {5}\r\nc NOOP\r\n", "!a command too long!<c NOOP>"},
      {std::string("a NO\0OP\r\nb NOOP\r\n", 17), "!a NUL is not allowed!<b NOOP>"},
      {std::string("a X {1+}\r\n\0\r\nb NOOP\r\n", 21), "!a NUL is not allowed!<b NOOP>"},
      {"{5+} " + long_line + "\r\n", "!* command too long!"},
      {"a APPEND INBOX {5}\r\nhello\r\nb NOOP\r\n", "[a APPEND INBOX {5}\r\n]=hello=<><b NOOP>"},
      {"a append INBOX (\\Seen) {5+}\r\nhello junk\r\n", "[a append INBOX (\\Seen) {5+}\r\n]=hello=< junk>"},
      {"a APPEND  {5}\r\nINBOX  {5+}\r\nhello\r\n", "+[a APPEND  {5}\r\nINBOX  {5+}\r\n]=hello=<>"},
      {"a APPEND {5}\r\nINBOX {5+}\r\nhello\r\n", "+[a APPEND {5}\r\nINBOX {5+}\r\n]=hello=<>"},
      {"a APPEND INBOX {0+}\r\n\r\n", "[a APPEND INBOX {0+}\r\n]==<>"},
      // A second message is not announced, and is not read as commands either.
      {"a APPEND INBOX {2+}\r\nhi {8+}\r\nx NOOP\r\n\r\nb NOOP\r\n",
       "[a APPEND INBOX {2+}\r\n]=hi=!* one message only!<b NOOP>"},
      {"a APPEND INBOX {2+}\r\nhi {8}\r\nb NOOP\r\n", "[a APPEND INBOX {2+}\r\n]=hi=< {8}><b NOOP>"},
  };
  for (const auto& c : kCases) {
    for (const size_t step : {size_t{1}, size_t{2}, size_t{7}, size_t{10000}}) {
      EXPECT_EQ(Play(c.input, step), c.seen) << "step " << step << ": " << c.input;
    }
  }
}

// RFC 2971 §3.3
TEST(CommandReaderTest, IdMayBeLongerThanOtherCommands) {
  std::string quoted = "a ID (";
  std::string literals = "a ID (";
  for (int i = 0; i < 30; ++i) {
    const std::string blank(i == 0 ? 0 : 1, ' ');
    absl::StrAppend(&quoted, blank, "\"", std::string(30, 'k'), "\" \"", std::string(1024, 'v'), "\"");
    absl::StrAppend(&literals, blank, "{30+}\r\n", std::string(30, 'k'), " {1024+}\r\n", std::string(1024, 'v'));
  }
  for (std::string command : {quoted, literals}) {
    command += ")";
    for (const size_t step : {size_t{1}, size_t{700}, size_t{100000}}) {
      EXPECT_EQ(Play(command + "\r\n", step, 8192), "<" + command + ">") << step;
    }
  }
  const std::string too_long(CommandReader::kMaxIdBytes, 'x');
  EXPECT_EQ(Play("a ID (" + too_long + ")\r\nb NOOP\r\n", 16384, 8192), "!a command too long!<b NOOP>");
  EXPECT_EQ(Play("a IDLE " + quoted + "\r\nb NOOP\r\n", 16384, 8192), "!a command too long!<b NOOP>");
  EXPECT_EQ(Play("a ID ({70000+}\r\n" + std::string(70000, 'x') + ")\r\nb NOOP\r\n", 16384, 8192),
            "!a literal too large!<b NOOP>");
}

TEST(CommandReaderTest, ARefusedMessageIsDiscarded) {
  CommandReader reader(100);
  reader.Feed("a APPEND x {1000+}\r\n" + std::string(1000, 'm') + "\r\nb NOOP\r\n");
  ASSERT_EQ(reader.Next(), Event::kMessage);
  EXPECT_EQ(reader.message_bytes(), 1000u);
  EXPECT_FALSE(reader.message_synchronising());
  reader.RefuseMessage();
  EXPECT_EQ(reader.Next(), Event::kRefused);
  EXPECT_EQ(reader.Next(), Event::kCommand);
  EXPECT_EQ(reader.text(), "b NOOP");
}

TEST(CommandReaderTest, ARefusedSynchronisingMessageNeverComes) {
  CommandReader reader(100);
  reader.Feed("a APPEND x {1000}\r\n");
  ASSERT_EQ(reader.Next(), Event::kMessage);
  EXPECT_TRUE(reader.message_synchronising());
  reader.RefuseMessage();
  reader.Feed("b NOOP\r\n");
  EXPECT_EQ(reader.Next(), Event::kCommand);
  EXPECT_EQ(reader.text(), "b NOOP");
}

TEST(CommandReaderTest, RawLinesKnowNoLiterals) {
  CommandReader reader(20);
  reader.Feed("DONE\r\na {3}\r\n" + std::string(30, 'x') + "\r\nlast\r\n");
  EXPECT_EQ(reader.NextLine(), Event::kCommand);
  EXPECT_EQ(reader.text(), "DONE");
  EXPECT_EQ(reader.NextLine(), Event::kCommand);
  EXPECT_EQ(reader.text(), "a {3}");
  EXPECT_EQ(reader.NextLine(), Event::kRefused);
  EXPECT_EQ(reader.NextLine(), Event::kCommand);
  EXPECT_EQ(reader.text(), "last");
  EXPECT_EQ(reader.NextLine(), Event::kNeedInput);
}

// RFC 9051 §6.2.1: what came in the clear with STARTTLS is not a command.
TEST(CommandReaderTest, DiscardForgetsWhatWasPipelined) {
  CommandReader reader(100);
  reader.Feed("a STARTTLS\r\nb LOGIN x y\r\nc LOG");
  EXPECT_EQ(reader.Next(), Event::kCommand);
  reader.Discard();
  EXPECT_TRUE(reader.drained());
  reader.Feed("d NOOP\r\n");
  EXPECT_EQ(reader.Next(), Event::kCommand);
  EXPECT_EQ(reader.text(), "d NOOP");
}

}  // namespace
}  // namespace posthouse::imap
