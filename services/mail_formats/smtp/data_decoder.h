// DataDecoder: decodes the octets after DATA, or of BDAT chunks, into the message.
//
//            "."              CR               LF
//   kLine ───────▶ kDot ───────────▶ kDotCr ───────▶ kEnd     exactly CRLF "." CRLF
//     ▲ │ other      │ other: the dot was stuffed  │ other
//   LF│ ▼            ▼                             ▼
//   kCr ◀──CR── kText ◀────────────────────────────┘
//
// RFC 5321 §4.1.1.4: only CRLF "." CRLF ends the data, and only a CRLF makes the
// next dot a stuffed one. A bare CR, a bare LF and a NUL (§2.3.8, §4.5.2) are never
// line ends here. The policy decides about a message that has one:
//   kReject     the message must be refused (violation() says why); decoding goes on
//               to the end of the data, so that the next command is found
//   kNormalize  bare LF becomes CRLF, bare CR too (dropped before CRLF), NUL is dropped
//
// Streaming: memory is O(1); a call appends at most twice the bytes of its input.
// Threads: one session.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::smtp {

enum class BareLinePolicy { kReject, kNormalize };
// How the client marks the end of the message.
enum class DataFormat {
  kDotStuffed,  // DATA
  kChunk,       // BDAT: no dot-stuffing; Finish() ends the message
};

class DataDecoder {
 public:
  enum class Violation { kNone, kBareLf, kBareCr, kNul };

  DataDecoder(DataFormat format, BareLinePolicy policy);

  // Decodes from the front of `input` and appends the message to `out`. Returns how
  // many bytes were used: all of them unless done(); the rest is the next command.
  size_t Feed(absl::string_view input, std::string* out);
  // The end of the last chunk: a message always ends in CRLF.
  void Finish(std::string* out);

  bool done() const { return state_ == State::kEnd; }
  Violation violation() const { return violation_; }  // the first; set under kReject only

 private:
  enum class State { kLine, kText, kCr, kDot, kDotCr, kEnd };

  void Bare(Violation what, std::string* out);
  size_t Text(absl::string_view input, std::string* out);

  const DataFormat format_;
  const BareLinePolicy policy_;
  State state_ = State::kLine;
  Violation violation_ = Violation::kNone;
};

absl::string_view ViolationName(DataDecoder::Violation violation);  // "bare LF"

}  // namespace posthouse::smtp
