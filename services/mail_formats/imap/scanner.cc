#include "services/mail_formats/imap/scanner.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

namespace posthouse::imap {
namespace {

// RFC 9051 §9: atom-specials = "(" / ")" / "{" / SP / CTL / list-wildcards /
//                              quoted-specials / resp-specials
// 8-bit bytes are let through here; who needs ASCII looks again.
bool IsAtomChar(char c) {
  const auto u = static_cast<unsigned char>(c);
  if (u <= 0x20 || u == 0x7f) return false;
  switch (c) {
    case '(':
    case ')':
    case '{':
    case '%':
    case '*':
    case '"':
    case '\\':
    case ']':
      return false;
    default:
      return true;
  }
}
bool IsAStringChar(char c) { return IsAtomChar(c) || c == ']'; }
bool IsListChar(char c) { return IsAStringChar(c) || c == '%' || c == '*'; }
bool IsTagChar(char c) { return IsAStringChar(c) && c != '+'; }

constexpr struct {
  absl::string_view name;
  uint32_t bit;
} kFlags[] = {{"\\Seen", kSeen},
              {"\\Answered", kAnswered},
              {"\\Flagged", kFlagged},
              {"\\Deleted", kDeleted},
              {"\\Draft", kDraft}};

}  // namespace

bool AddFlag(absl::string_view name, FlagSet* flags) {
  if (name.empty()) return false;
  if (name.front() == '\\') {
    for (const auto& flag : kFlags) {
      if (absl::EqualsIgnoreCase(name, flag.name)) {
        flags->system |= flag.bit;
        return true;
      }
    }
    return false;
  }
  for (const std::string& keyword : flags->keywords) {
    if (absl::EqualsIgnoreCase(keyword, name)) return true;
  }
  flags->keywords.emplace_back(name);
  return true;
}

void Scanner::Fail(absl::string_view what) {
  if (!ok()) return;
  status_ = absl::InvalidArgumentError(absl::StrCat(what, " at byte ", position_ + 1));
}

bool Scanner::Skip(char c) {
  if (!ok() || AtEnd() || text_[position_] != c) return false;
  ++position_;
  return true;
}

bool Scanner::SkipWord(absl::string_view word) {
  if (!ok() || !absl::StartsWithIgnoreCase(Rest(), word)) return false;
  const size_t after = position_ + word.size();
  if (after < text_.size() && IsAtomChar(text_[after]) && text_[after] != '[' && text_[after] != '<') return false;
  position_ = after;
  return true;
}

void Scanner::Expect(char c) {
  if (ok() && !Skip(c)) Fail(c == ' ' ? "expected a space" : absl::StrCat("expected ", absl::string_view(&c, 1)));
}

void Scanner::Space() {
  Expect(' ');
  while (Skip(' ')) {
  }
}

bool Scanner::More() {
  if (!Skip(' ')) return false;
  while (Skip(' ')) {
  }
  return !AtEnd() && Peek() != ')';
}

bool Scanner::SkipOpen() {
  if (!Skip('(')) return false;
  while (Skip(' ')) {
  }
  return true;
}

void Scanner::Open() {
  if (!SkipOpen()) Expect('(');
}

bool Scanner::SkipClose() {
  const size_t start = position_;
  while (Skip(' ')) {
  }
  if (Skip(')')) return true;
  position_ = start;
  return false;
}

void Scanner::Close() {
  if (!SkipClose()) Expect(')');
}

void Scanner::End() {
  while (Skip(' ')) {
  }
  if (ok() && !AtEnd()) Fail("unexpected arguments");
}

std::string Scanner::Run(bool (*allowed)(char), absl::string_view what) {
  if (!ok()) return "";
  size_t end = position_;
  while (end < text_.size() && allowed(text_[end])) ++end;
  if (end == position_) {
    Fail(absl::StrCat("expected ", what));
    return "";
  }
  std::string run(text_.substr(position_, end - position_));
  position_ = end;
  return run;
}

std::string Scanner::Tag() {
  std::string tag = Run(IsTagChar, "a tag");
  if (tag.size() > 128) Fail("tag too long");
  return tag;
}
std::string Scanner::Atom() { return Run(IsAtomChar, "an atom"); }
std::string Scanner::UpperAtom() { return absl::AsciiStrToUpper(Atom()); }

std::string Scanner::ItemName() {
  return absl::AsciiStrToUpper(
      Run([](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '-'; }, "an item name"));
}

std::string Scanner::AString() {
  const char c = Peek();
  return c == '"' || c == '{' ? String() : Run(IsAStringChar, "a string");
}

std::string Scanner::ListMailbox() {
  const char c = Peek();
  return c == '"' || c == '{' ? String() : Run(IsListChar, "a mailbox pattern");
}

std::string Scanner::String() {
  if (Peek() == '"') return Quoted();
  if (Peek() == '{') return Literal();
  Fail("expected a string");
  return "";
}

bool Scanner::NString(std::string* value) {
  if (SkipWord("NIL")) return false;
  *value = String();
  return ok();
}

// quoted = DQUOTE *QUOTED-CHAR DQUOTE; QUOTED-CHAR = any but " and \, / "\" quoted-specials
std::string Scanner::Quoted() {
  std::string value;
  size_t at = position_ + 1;
  for (; at < text_.size() && text_[at] != '"'; ++at) {
    if (text_[at] == '\\') ++at;
    if (at >= text_.size()) break;
    if (text_[at] == '\r' || text_[at] == '\n') break;
    value.push_back(text_[at]);
  }
  if (at >= text_.size() || text_[at] != '"') {
    Fail("unterminated quoted string");
    return "";
  }
  position_ = at + 1;
  return value;
}

uint64_t Scanner::LiteralHeader() {
  Expect('{');
  const uint64_t size = Number64();
  Skip('+');  // LITERAL+ and LITERAL- (RFC 7888)
  Expect('}');
  Expect('\r');
  Expect('\n');
  return ok() ? size : 0;
}

std::string Scanner::Literal() {
  const uint64_t size = LiteralHeader();
  if (!ok()) return "";
  if (size > text_.size() - position_) {
    Fail("literal is incomplete");
    return "";
  }
  std::string value(text_.substr(position_, size));
  position_ += size;
  return value;
}

uint64_t Scanner::Number64() {
  if (!ok()) return 0;
  uint64_t value = 0;
  const size_t start = position_;
  for (; position_ < text_.size() && absl::ascii_isdigit(text_[position_]); ++position_) {
    const uint64_t digit = text_[position_] - '0';
    // RFC 9051 §9: number64 is at most 63 bits.
    if (value > (static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - digit) / 10) {
      Fail("number too large");
      return 0;
    }
    value = value * 10 + digit;
  }
  if (position_ == start) Fail("expected a number");
  return value;
}

uint32_t Scanner::Number() {
  const uint64_t value = Number64();
  if (value <= std::numeric_limits<uint32_t>::max()) return static_cast<uint32_t>(value);
  Fail("number too large");
  return 0;
}

uint32_t Scanner::NzNumber() {
  const uint32_t value = Number();
  if (ok() && value == 0) Fail("zero is not allowed");
  return value;
}

SequenceSet Scanner::Set() {
  SequenceSet set;
  if (Skip('$')) {
    set.saved_result = true;
    return set;
  }
  do {
    UidSet::Range range;
    range.first = Skip('*') ? SequenceSet::kStar : NzNumber();
    range.last = range.first;
    if (Skip(':')) range.last = Skip('*') ? SequenceSet::kStar : NzNumber();
    set.ranges.push_back(range);
  } while (Skip(','));
  return set;
}

// flag = "\" atom / keyword (an atom)
void Scanner::Flag(FlagSet* flags) {
  std::string name;
  if (Skip('\\')) name = "\\";
  name += Atom();
  if (!ok()) return;
  if (std::any_of(name.begin(), name.end(), [](char c) { return !absl::ascii_isascii(c); })) {
    Fail("flags are ASCII");
  } else if (name.size() > 256) {
    Fail("flag too long");
  } else if (absl::EqualsIgnoreCase(name, "\\Recent")) {
    flags->recent = true;
  } else if (!AddFlag(name, flags)) {
    Fail("unknown system flag");
  }
}

FlagSet Scanner::FlagList() {
  FlagSet flags;
  Open();
  if (SkipClose()) return flags;
  do {
    Flag(&flags);
  } while (More());
  Close();
  return flags;
}

int Scanner::Digits(int at_least, int at_most) {
  if (!ok()) return 0;
  int value = 0;
  int count = 0;
  while (count < at_most && position_ < text_.size() && absl::ascii_isdigit(text_[position_])) {
    value = value * 10 + (text_[position_++] - '0');
    ++count;
  }
  if (count < at_least) Fail("expected a number");
  return value;
}

int Scanner::Month() {
  static constexpr absl::string_view kMonths = "janfebmaraprmayjunjulaugsepoctnovdec";
  const std::string name = ok() ? absl::AsciiStrToLower(Rest().substr(0, 3)) : "";
  const size_t at = name.size() == 3 ? kMonths.find(name) : absl::string_view::npos;
  if (at == absl::string_view::npos || at % 3 != 0) {
    Fail("expected a month");
    return 1;
  }
  position_ += 3;
  return static_cast<int>(at / 3) + 1;
}

DateTime Scanner::QuotedDateTime() {
  Expect('"');
  Skip(' ');  // date-day-fixed = (SP DIGIT) / 2DIGIT
  const int day = Digits(1, 2);
  Expect('-');
  const int month = Month();
  Expect('-');
  const int year = Digits(4, 4);
  Expect(' ');
  const int hour = Digits(2, 2);
  Expect(':');
  const int minute = Digits(2, 2);
  Expect(':');
  const int second = Digits(2, 2);
  Expect(' ');
  const bool west = Peek() == '-';
  if (!west && Peek() != '+') Fail("expected a zone");
  if (ok()) ++position_;
  const int zone_hours = Digits(2, 2);
  const int zone_minutes = Digits(2, 2);
  Expect('"');
  if (!ok()) return {};
  const absl::CivilSecond time(year, month, day, hour, minute, second);
  if (time.day() != day || time.month() != month || hour > 23 || minute > 59 || second > 60 || zone_minutes > 59 ||
      zone_hours > 15) {
    Fail("no such date");
    return {};
  }
  const int zone = (zone_hours * 60 + zone_minutes) * (west ? -1 : 1);
  return {absl::ToUnixSeconds(absl::FromCivil(time, absl::UTCTimeZone())) - int64_t{60} * zone, zone};
}

int64_t Scanner::Date() {
  const bool quoted = Skip('"');
  const int day = Digits(1, 2);
  Expect('-');
  const int month = Month();
  Expect('-');
  const int year = Digits(4, 4);
  if (quoted) Expect('"');
  if (!ok()) return 0;
  const absl::CivilDay date(year, month, day);
  if (date.day() != day || date.month() != month) {
    Fail("no such date");
    return 0;
  }
  return date - absl::CivilDay(1970, 1, 1);
}

}  // namespace posthouse::imap
