// Charsets to UTF-8, as a stream: utf-8, us-ascii, iso-8859-1 and windows-1252
// here, all others through iconv(3). Decoding never fails: invalid bytes of a charset
// become U+FFFD; bytes of an unknown charset are read as UTF-8 where they are valid,
// else as windows-1252.
//
// Threads: a decoder belongs to one caller at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::message {

// A decoder for the bytes of one text.
class CharsetDecoder {
 public:
  // `charset` as it stands in the mail, any case; empty means us-ascii.
  explicit CharsetDecoder(absl::string_view charset);
  ~CharsetDecoder();
  CharsetDecoder(CharsetDecoder&&) noexcept;

  // Appends UTF-8 (always valid); a character split between chunks is kept.
  void Feed(absl::string_view chunk, std::string* out);
  void Finish(std::string* out);
  // False: the charset is unknown, so SEARCH CHARSET gets BADCHARSET (RFC 9051 §6.4.4).
  bool known() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The whole of `bytes`; as CharsetDecoder.
std::string ToUtf8(absl::string_view charset, absl::string_view bytes);

// Raw header bytes: valid UTF-8 stays; other bytes are read as windows-1252.
std::string GuessUtf8(absl::string_view bytes);

// Decodes one code point at `*pos` of valid or invalid UTF-8 and moves past it;
// U+FFFD for one bad byte.
uint32_t NextCodePoint(absl::string_view bytes, size_t* pos);

}  // namespace posthouse::message
