// DataEncoder: encodes a message for DATA: dot-stuffing (RFC 5321 §4.5.2), and CRLF "."
// CRLF at the end. The pieces may be cut anywhere.
//
// A bare CR or LF in the stored message (from an IMAP client) becomes CRLF: a sender
// must never send one (RFC 5321 §2.3.8), and no receiver may see the end of data
// inside the message. Threads: one session.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::smtp {

class DataEncoder {
 public:
  void Encode(absl::string_view piece, std::string* out);
  // The end of data, with the CRLF before it when the message lacks its last one.
  void Finish(std::string* out);

 private:
  bool line_start_ = true;
  bool cr_ = false;  // a CR is held back until the byte after it is known
};

}  // namespace posthouse::smtp
