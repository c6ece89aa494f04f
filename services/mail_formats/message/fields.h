// Header field bodies: folding, encoded words, message ids, word lists. No function fails;
// unreadable parts are skipped or kept as text. MIME parameters: mime_value.h.
//
// Threads: stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace posthouse::message {

// Removes CRLF (or LF) before a blank (RFC 5322 §2.2.3), the line end at the end,
// and blanks around. A line end that is not a fold becomes a blank, too, so the result
// never has CR or LF. NUL stays.
std::string Unfold(absl::string_view raw);

// Unfolds, decodes RFC 2047 encoded words anywhere (in quoted strings too: real
// mail does that), and turns raw 8-bit bytes into UTF-8. Always valid UTF-8.
std::string DecodeText(absl::string_view raw);

// "<a@b> <c@d>" in order, without the angle brackets, at most `max`. Words without
// brackets count only when there is no id in brackets and they contain "@".
std::vector<std::string> ParseMessageIds(absl::string_view raw, size_t max = 1000);

// Comma-separated words, comments removed (Content-Language).
std::vector<std::string> ParseWordList(absl::string_view raw);

}  // namespace posthouse::message
