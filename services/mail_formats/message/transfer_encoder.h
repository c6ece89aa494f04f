// TransferEncoder: quoted-printable and base64 (RFC 2045 §6.7, §6.8), written as a stream:
// lines of at most 76 characters, 7-bit, without control characters. Memory: one line.
//
// Two modes take a body that is encoded already, but badly: it has 8-bit bytes, or lines
// that are too long. What such a body decodes to stays the same.
// Threads: one at a time.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::message {

class TransferEncoder {
 public:
  enum class Mode {
    kQuotedPrintable,        // of text: CRLF and bare LF are line ends and stay
    kBase64,                 // of bytes
    kRepairQuotedPrintable,  // input is quoted-printable
    kRepairBase64,           // input is base64
  };
  explicit TransferEncoder(Mode mode) : mode_(mode) {}
  void Feed(absl::string_view chunk, std::string* out);
  // Writes what is held back. Base64 ends without a line end.
  void Finish(std::string* out);

 private:
  void QuotedPrintable(char c, std::string* out);
  void Put(absl::string_view token, std::string* out);
  void Escape(char c, std::string* out);
  void EndLine(std::string* out);
  void Base64Line(absl::string_view encoded, std::string* out);

  const Mode mode_;
  size_t column_ = 0;
  bool cr_ = false;      // a CR whose LF may follow
  char blank_ = '\0';    // a blank that may end the line
  std::string escape_;   // repair: "=" or "=X"
  std::string pending_;  // base64: less than a line
  bool first_line_ = true;
};

// Quoted-printable of a whole text.
std::string EncodeQuotedPrintable(absl::string_view text);

}  // namespace posthouse::message
