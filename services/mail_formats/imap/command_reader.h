// CommandReader: turns the bytes of an IMAP client into whole commands.
//
// It does no I/O: Feed() bytes, call Next() until it says kNeedInput. A command
// is one string with its literals inside, as the parser reads them:
// `a1 LOGIN {3}\r\njoe "pw"`, without the final CRLF. Memory is bounded by
// `max_bytes` (kMaxIdBytes for ID) plus the bytes that were fed and not yet read. Longer lines and larger
// literals are discarded as they arrive; then Next() returns kRefused.
//
//            line ends with {n}          bytes came
//   kText ───────────────────▶ kLiteral ────────────▶ kText ─▶ kCommand
//     │ too long, NUL            │ {n+} too large
//     └──────────▶ kSkipLine ◀───┴─ kSkipLiteral          ─▶ kRefused
//
// The reader does not collect the message of APPEND (RFC 9051 §6.3.12): after kMessage
// the caller takes it in pieces or refuses it.
// Departs from RFC 9051 §2.2: a bare LF ends a line too, as every server accepts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::imap {

class CommandReader {
 public:
  enum class Event {
    kNeedInput,
    kCommand,   // text() is a command; or, after kMessage, what followed the message
    kContinue,  // a synchronising literal is accepted: send "+ ...", then call Next()
    kMessage,   // text() ends with the literal of APPEND's message: Accept or Refuse it
    kRefused,   // why() and tag() are for the reply; reading goes on after the command
  };

  // What ID may take in every state, whatever `max_bytes` is: 30 pairs of 30 and 1024 octets
  // (RFC 2971 §3.3), each of which may be quoted with backslashes.
  static constexpr size_t kMaxIdBytes = 64 * 1024;

  // `max_bytes`: one command with its literals (RFC 2683 §3.2.1.5 asks for 8000 at least).
  explicit CommandReader(size_t max_bytes) : max_bytes_(max_bytes) {}

  void Feed(std::string bytes);
  // True when all bytes that were fed are read.
  bool drained() const { return position_ == input_.size(); }

  Event Next();
  // One line as it is, without literals: an answer to AUTHENTICATE or IDLE.
  Event NextLine();

  const std::string& text() const { return text_; }
  std::string TakeText();
  // The tag of the refused command; "*" when there is none that could be used.
  std::string tag() const;
  absl::string_view why() const { return why_; }

  // After kMessage.
  bool message_pending() const { return state_ == State::kMessage && !after_message_; }  // neither accepted nor refused
  uint64_t message_bytes() const { return literal_left_; }
  bool message_synchronising() const { return synchronising_; }
  // The message will be taken with TakeMessage() until message_bytes() is 0; then
  // Next() gives the rest of the line as kCommand.
  void AcceptMessage();
  // A non-synchronising message is discarded with the rest of its command: Next()
  // gives kRefused when that is done (RFC 7888 §4). A synchronising one never comes:
  // the command ends here.
  void RefuseMessage();
  // At most `max` of the bytes fed; empty: feed more.
  std::string TakeMessage(size_t max);

  // Drops the bytes that are not read yet (RFC 9051 §6.2.1: after STARTTLS).
  void Discard();
  void set_max_bytes(size_t max_bytes) { max_bytes_ = max_bytes; }
  // Frees memory while the client is idle. Requires drained().
  void Release();

 private:
  enum class State { kText, kLiteral, kMessage, kSkipLiteral, kSkipLine };
  struct Literal {
    uint64_t size = 0;
    bool synchronising = true;
    size_t header_start = 0;
  };

  void Start();
  bool TakeLine();
  Event OnLine();
  Event OnLiteral(const Literal& literal);
  void Skip(absl::string_view why);
  bool SkipLiteral();
  bool SkipLine();
  size_t Limit(absl::string_view coming) const;
  static bool FindLiteral(absl::string_view line, Literal* literal);

  size_t max_bytes_;
  std::string input_;
  size_t position_ = 0;
  State state_ = State::kText;
  bool fresh_ = true;  // the last command was handed out: the next call begins a new one
  std::string text_;
  size_t fragment_ = 0;  // where in text_ the present line begins
  uint64_t literal_left_ = 0;
  bool synchronising_ = false;
  bool after_message_ = false;
  absl::string_view why_;
  std::string skipped_tail_;  // end of a line being skipped: a literal may follow
};

}  // namespace posthouse::imap
