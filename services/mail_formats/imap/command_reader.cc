#include "services/mail_formats/imap/command_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace posthouse::imap {
namespace {

constexpr size_t kTagBytes = 256;  // kept of a command that is discarded
constexpr size_t kTailBytes = 32;  // enough for " {18446744073709551615+}\r"

// True when `line` begins with "tag SP `name` SP".
bool IsCommand(absl::string_view line, absl::string_view name) {
  const size_t space = line.find(' ');
  if (space == absl::string_view::npos) return false;
  line.remove_prefix(space + 1);
  return line.size() > name.size() && absl::StartsWithIgnoreCase(line, name) && line[name.size()] == ' ';
}

// True when `line` is "tag SP APPEND SP" and no more: the literal is the mailbox name.
bool IsAppendWithoutMailbox(absl::string_view line) {
  const absl::string_view words = absl::StripTrailingAsciiWhitespace(line);
  const size_t space = words.find(' ');
  return space != absl::string_view::npos && absl::EqualsIgnoreCase(words.substr(space + 1), "APPEND");
}

bool IsTagChar(char c) {
  // RFC 9051 §9: tag = 1*<any ASTRING-CHAR except "+">
  return c > ' ' && c < 0x7f && std::strchr("(){%*\"\\+", c) == nullptr;
}

}  // namespace

void CommandReader::Feed(std::string bytes) {
  if (drained()) {
    input_ = std::move(bytes);
    position_ = 0;
    return;
  }
  input_.erase(0, position_);
  position_ = 0;
  input_.append(bytes);
}

void CommandReader::Start() {
  text_.clear();
  fragment_ = 0;
  fresh_ = false;
  after_message_ = false;
  why_ = "";
}

// Bytes that the command in text_, followed by `coming`, may have.
size_t CommandReader::Limit(absl::string_view coming) const {
  if (max_bytes_ >= kMaxIdBytes) return max_bytes_;
  std::string start = text_.substr(0, kTagBytes);
  if (start.size() < kTagBytes) absl::StrAppend(&start, coming.substr(0, kTagBytes - start.size()));
  return IsCommand(start, "ID") ? kMaxIdBytes : max_bytes_;
}

// Moves input to text_ up to LF. True: a line is there, without its line end.
bool CommandReader::TakeLine() {
  const absl::string_view rest = absl::string_view(input_).substr(position_);
  const size_t lf = rest.find('\n');
  const size_t take = lf == absl::string_view::npos ? rest.size() : lf;
  const size_t bytes = text_.size() + take;
  if (bytes > max_bytes_ + 1 && bytes > Limit(rest) + 1) {  // one more, for the CR
    Skip("command too long");
    if (text_.size() < kTagBytes) text_.append(rest.data(), std::min(take, kTagBytes));
    return false;
  }
  text_.append(rest.data(), take);
  position_ += take;
  if (lf == absl::string_view::npos) return false;
  ++position_;
  if (text_.size() > fragment_ && text_.back() == '\r') text_.pop_back();
  return true;
}

// RFC 9051 §9: literal = "{" number64 ["+"] "}" CRLF *CHAR8
bool CommandReader::FindLiteral(absl::string_view line, Literal* literal) {
  if (line.size() < 3 || line.back() != '}') return false;
  const size_t open = line.rfind('{');
  if (open == absl::string_view::npos) return false;
  absl::string_view number = line.substr(open + 1, line.size() - open - 2);
  literal->synchronising = number.empty() || number.back() != '+';
  if (!literal->synchronising) number.remove_suffix(1);
  literal->header_start = open;
  return !number.empty() && std::all_of(number.begin(), number.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(number, &literal->size);
}

CommandReader::Event CommandReader::Next() {
  if (fresh_) Start();
  while (true) {
    switch (state_) {
      case State::kText:
        if (TakeLine()) {
          const Event event = OnLine();
          if (event != Event::kNeedInput) return event;
        } else if (state_ == State::kText) {
          return Event::kNeedInput;
        }
        break;
      case State::kLiteral: {
        const size_t take = std::min<uint64_t>(literal_left_, input_.size() - position_);
        text_.append(input_, position_, take);
        position_ += take;
        literal_left_ -= take;
        if (literal_left_ > 0) return Event::kNeedInput;
        fragment_ = text_.size();
        state_ = State::kText;
        break;
      }
      case State::kMessage:
        if (literal_left_ > 0) return Event::kNeedInput;
        state_ = State::kText;
        break;
      case State::kSkipLiteral:
        if (!SkipLiteral()) return Event::kNeedInput;
        break;
      case State::kSkipLine:
        if (!SkipLine()) return Event::kNeedInput;
        if (state_ == State::kSkipLine) {
          state_ = State::kText;
          fresh_ = true;
          return Event::kRefused;
        }
        break;
    }
  }
}

// A line is complete; kNeedInput: go on reading this command.
CommandReader::Event CommandReader::OnLine() {
  const absl::string_view line = absl::string_view(text_).substr(fragment_);
  Literal literal;
  if (FindLiteral(line, &literal)) {
    if (!after_message_) return OnLiteral(literal);
    if (!literal.synchronising) {  // a second message: it must not be read as commands
      why_ = "one message only";
      literal_left_ = literal.size;
      state_ = State::kSkipLiteral;
      return Event::kNeedInput;
    }
  }
  if (text_.empty() && !after_message_) return Event::kNeedInput;  // empty lines between commands are ignored
  fresh_ = true;
  // RFC 9051 §9: NUL is in no CHAR; literal8 with NULs belongs to BINARY.
  if (text_.find('\0') != std::string::npos) {
    why_ = "NUL is not allowed";
    return Event::kRefused;
  }
  return Event::kCommand;
}

CommandReader::Event CommandReader::OnLiteral(const Literal& literal) {
  synchronising_ = literal.synchronising;
  literal_left_ = literal.size;
  const bool is_message = IsCommand(text_, "APPEND") &&
                          !IsAppendWithoutMailbox(absl::string_view(text_).substr(0, fragment_ + literal.header_start));
  if (is_message && text_.find('\0') == std::string::npos) {
    text_.append("\r\n");
    state_ = State::kMessage;
    return Event::kMessage;
  }
  const size_t limit = Limit("");
  if (literal.size > limit || text_.size() + 2 + literal.size > limit) {
    why_ = "literal too large";
    if (synchronising_) {  // RFC 9051 §4.3: without "+" the client does not send it
      fresh_ = true;
      return Event::kRefused;
    }
    skipped_tail_.clear();
    state_ = State::kSkipLiteral;
    return Event::kNeedInput;
  }
  text_.append("\r\n");
  state_ = State::kLiteral;
  return synchronising_ ? Event::kContinue : Event::kNeedInput;
}

CommandReader::Event CommandReader::NextLine() {
  if (fresh_) Start();
  while (true) {
    if (state_ == State::kText) {
      if (TakeLine()) {
        fresh_ = true;
        return Event::kCommand;
      }
      if (state_ == State::kText) return Event::kNeedInput;
    } else {
      // Only an overlong line leads here; a literal announced in it is not one.
      const size_t lf = input_.find('\n', position_);
      if (lf == std::string::npos) {
        position_ = input_.size();
        return Event::kNeedInput;
      }
      position_ = lf + 1;
      state_ = State::kText;
      fresh_ = true;
      return Event::kRefused;
    }
  }
}

void CommandReader::Skip(absl::string_view why) {
  why_ = why;
  state_ = State::kSkipLine;
  skipped_tail_ = text_.size() > kTailBytes ? text_.substr(text_.size() - kTailBytes) : text_;
  text_.resize(std::min(text_.size(), kTagBytes));
}

bool CommandReader::SkipLiteral() {
  const size_t take = std::min<uint64_t>(literal_left_, input_.size() - position_);
  position_ += take;
  literal_left_ -= take;
  if (literal_left_ > 0) return false;
  skipped_tail_.clear();
  state_ = State::kSkipLine;
  return true;
}

// True: a line was skipped; state_ is kSkipLiteral when a literal follows it.
bool CommandReader::SkipLine() {
  const absl::string_view rest = absl::string_view(input_).substr(position_);
  const size_t lf = rest.find('\n');
  const absl::string_view taken = rest.substr(0, lf);
  skipped_tail_.append(taken.data(), taken.size());
  if (skipped_tail_.size() > kTailBytes) skipped_tail_.erase(0, skipped_tail_.size() - kTailBytes);
  position_ += taken.size();
  if (lf == absl::string_view::npos) return false;
  ++position_;
  absl::string_view line = skipped_tail_;
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  Literal literal;
  if (FindLiteral(line, &literal) && !literal.synchronising) {
    literal_left_ = literal.size;
    state_ = State::kSkipLiteral;
  }
  return true;
}

void CommandReader::AcceptMessage() {
  text_.clear();
  fragment_ = 0;
  after_message_ = true;
}

void CommandReader::RefuseMessage() {
  why_ = "message refused";
  if (synchronising_) {
    literal_left_ = 0;
    state_ = State::kText;
    fresh_ = true;
  } else {
    state_ = State::kSkipLiteral;
  }
}

std::string CommandReader::TakeMessage(size_t max) {
  const size_t available = input_.size() - position_;
  const size_t take = std::min<uint64_t>({max, available, literal_left_});
  literal_left_ -= take;
  if (position_ == 0 && take == input_.size()) return std::exchange(input_, std::string());
  std::string piece = input_.substr(position_, take);
  position_ += take;
  if (drained()) {
    input_.clear();
    position_ = 0;
  }
  return piece;
}

std::string CommandReader::TakeText() { return std::exchange(text_, std::string()); }

std::string CommandReader::tag() const {
  const size_t space = text_.find(' ');
  if (space == std::string::npos || space == 0 || space > 128) return "*";
  const std::string tag = text_.substr(0, space);
  return std::all_of(tag.begin(), tag.end(), IsTagChar) ? tag : "*";
}

void CommandReader::Discard() {
  input_.clear();
  position_ = 0;
  state_ = State::kText;
  fresh_ = true;
}

void CommandReader::Release() {
  if (!drained()) return;
  input_ = std::string();
  position_ = 0;
  if (fresh_) text_ = std::string();
}

}  // namespace posthouse::imap
