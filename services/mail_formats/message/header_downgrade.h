// Header fields for hosts that take 7-bit lines of limited length only: encoded words for
// text (RFC 2047), RFC 2231 values for parameters. Threads: stateless.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::message {

// A field with raw 8-bit bytes, as 7-bit. `field`: "Name: value\r\n" with its folds. Bytes
// that are not UTF-8 are read as windows-1252. In an address, and where nothing can be
// read, such a byte becomes "?": no encoding exists for it. The result is folded.
std::string EncodeField(absl::string_view field);

// `field` with its lines folded at blanks (RFC 5322 §2.2.3) to `wanted` bytes where possible,
// and to `most` in any case: where a line has no blank, anywhere. Without line ends.
std::string FoldField(absl::string_view field, size_t wanted, size_t most);

}  // namespace posthouse::message
