// Content-Transfer-Encoding: base64 and quoted-printable, decoded as a stream.
//
// Decoding never fails: bytes outside the encoding are skipped (base64) or kept
// (quoted-printable), as mail clients do. Memory: a few bytes.
//
// Threads: a decoder belongs to one caller at a time.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::message {

// The numbers are stored (part_table.h): never reused.
enum class Encoding : uint8_t {
  kIdentity = 0,  // 7bit, 8bit, binary, absent, and what we do not know
  kBase64 = 1,
  kQuotedPrintable = 2,
  // Not RFC 2045's, and not understood: RFC 3516 §4.3 asks for UNKNOWN-CTE.
  kUnknown = 3,
};

// "base64" in any case, surrounded by blanks and comments or not.
Encoding ParseEncoding(absl::string_view value);

// A decoder for the body of one part.
class TransferDecoder {
 public:
  explicit TransferDecoder(Encoding encoding) : encoding_(encoding) {}
  // Appends what `chunk` decodes to; the chunk may end anywhere.
  void Feed(absl::string_view chunk, std::string* out);
  // Appends the bytes of an unfinished last line or quantum.
  void Finish(std::string* out);

 private:
  void Base64(absl::string_view chunk, std::string* out);
  void QuotedPrintable(absl::string_view chunk, std::string* out);
  void QuotedPrintableByte(char c, std::string* out);
  const Encoding encoding_;
  uint32_t bits_ = 0;  // base64: bits not yet written
  int bit_count_ = 0;
  std::string pending_;  // quoted-printable: "=", "=X", or trailing blanks
};

// Decodes a whole body.
std::string DecodeTransfer(Encoding encoding, absl::string_view bytes);
std::string DecodeBase64(absl::string_view bytes);

}  // namespace posthouse::message
