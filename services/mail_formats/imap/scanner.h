// Scanner: the lexical level of IMAP, RFC 9051 §9, over one whole command with
// its literals inside (see CommandReader).
//
// The first error sticks: after it every method returns an empty value and
// consumes nothing, so callers look at status() once, at the end; loops must test
// ok(). Threads: none of its own. The text must outlive the scanner.
//
// Departs from RFC 9051 §9: behind the name of the command any number of blanks stands for one,
// and blanks may stand at the ends of a list and of the command, as clients send them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/mail_formats/imap/sequence_set.h"

namespace posthouse::imap {

// System flags (RFC 9051 §2.3.2); the bits of posthouse.mailbox.v1.Flag.
enum SystemFlag : uint32_t {
  kSeen = 1,
  kAnswered = 2,
  kFlagged = 4,
  kDeleted = 8,
  kDraft = 16,
};

// A list of flags: system flags as bits, keywords by name.
struct FlagSet {
  uint32_t system = 0;
  std::vector<std::string> keywords;  // as written, without duplicates (compared without case)
  bool recent = false;                // "\Recent" was among them; it cannot be stored (RFC 3501 §2.3.2)
};

// date-time (RFC 9051 §9).
struct DateTime {
  int64_t seconds = 0;   // since 1970 UTC
  int zone_minutes = 0;  // east of UTC
};

class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }
  void Fail(absl::string_view what);

  bool AtEnd() const { return position_ == text_.size(); }
  char Peek() const { return ok() && position_ < text_.size() ? text_[position_] : '\0'; }
  absl::string_view Rest() const { return text_.substr(position_); }

  // Consumes `c` if it is next.
  bool Skip(char c);
  // Consumes `word` (upper case) in any case, if it is next and no atom char follows.
  bool SkipWord(absl::string_view word);
  void Expect(char c);
  void Space();
  // Behind an argument or an item of a list: consumes blanks. True: there were some, and another
  // one follows.
  bool More();
  // "(" and ")" of a list, with the blanks inside them.
  bool SkipOpen();
  void Open();
  bool SkipClose();
  void Close();
  void End();

  std::string Tag();
  std::string Atom();
  std::string UpperAtom();  // in upper case: names of commands, items, options
  // Letters, digits, "." and "-" in upper case: "BODY.PEEK" of "BODY.PEEK[1]<0.9>".
  std::string ItemName();
  // astring = 1*ASTRING-CHAR / string
  std::string AString();
  std::string String();  // quoted / literal
  // nstring; false: NIL
  bool NString(std::string* value);
  // list-mailbox = 1*list-char / string
  std::string ListMailbox();
  uint32_t Number();
  uint32_t NzNumber();
  uint64_t Number64();
  SequenceSet Set();
  void Flag(FlagSet* flags);
  // "(" [flag *(SP flag)] ")"
  FlagSet FlagList();
  // date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
  DateTime QuotedDateTime();
  // date = date-text / DQUOTE date-text DQUOTE; days since 1970.
  int64_t Date();
  // "{n}" or "{n+}" and CRLF, whose bytes are not part of the text (APPEND's message).
  uint64_t LiteralHeader();

 private:
  std::string Quoted();
  std::string Literal();
  std::string Run(bool (*allowed)(char), absl::string_view what);
  int Digits(int at_least, int at_most);
  int Month();

  absl::string_view text_;
  size_t position_ = 0;
  absl::Status status_;
};

// Adds a flag by name: "\Seen" and the like to `system`, others as keyword. False:
// not a flag that can be stored (unknown "\..." or "\Recent").
bool AddFlag(absl::string_view name, FlagSet* flags);

}  // namespace posthouse::imap
