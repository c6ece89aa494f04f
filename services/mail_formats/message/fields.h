// Header field bodies: folding, encoded words, MIME parameters, message ids. No
// function fails; unreadable parts are skipped or kept as text.
#pragma once

#include <optional>
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

struct Param {
  std::string name;   // as sent, with "*0*" and the like
  std::string value;  // unquoted, not decoded
};

// "text/plain; charset=utf-8; name*=utf-8''%C3%A4" and Content-Disposition's form
// ("attachment; filename=x": then subtype is empty).
struct MimeValue {
  std::string type;  // as sent; empty when there is none
  std::string subtype;
  std::vector<Param> params;  // as sent, in order

  // Decoded parameter: RFC 2231 continuations and charset, or RFC 2047 (which is
  // forbidden there and common). nullopt: absent. UTF-8.
  std::optional<std::string> Get(absl::string_view name) const;
  // The same, but its bytes as they are, not converted (boundary).
  std::optional<std::string> GetRaw(absl::string_view name) const;
};

// The parameters with RFC 2231 continuations joined, each at the place of its first piece
// (RFC 2231 §7, RFC 9051 §7.5.2): name*0, name*1 become `name`; with an encoded piece among them
// (name*0*, name*1) they become `name*`, whose value is charset'language'percent-encoded. Other
// parameters, and pieces behind a gap, stay as sent.
std::vector<Param> JoinContinuations(const std::vector<Param>& params);

// RFC 2045 §5.1 with real life: missing semicolons, "=" surrounded by blanks,
// comments, unquoted values with specials, unterminated quotes. nullopt: no
// type/subtype can be read (then RFC 2045 §5.2 says text/plain).
std::optional<MimeValue> ParseContentType(absl::string_view raw);
std::optional<MimeValue> ParseDisposition(absl::string_view raw);

// "<a@b> <c@d>" in order, without the angle brackets, at most `max`. Words without
// brackets count only when there is no id in brackets and they contain "@".
std::vector<std::string> ParseMessageIds(absl::string_view raw, size_t max = 1000);

// Comma-separated words, comments removed (Content-Language).
std::vector<std::string> ParseWordList(absl::string_view raw);

// The base subject of RFC 5256 §2.1 (without Re:, Fwd:, [list], (fwd)), UTF-8; of the
// first 8 KiB.
std::string BaseSubject(absl::string_view raw_subject);

}  // namespace posthouse::message
