// MIME field bodies with parameters: Content-Type (RFC 2045 §5.1) and Content-Disposition
// (RFC 2183 §2). No function fails; unreadable parameters are skipped.
//
// Threads: stateless. Values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace posthouse::message {

// One parameter as the field body has it.
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

}  // namespace posthouse::message
