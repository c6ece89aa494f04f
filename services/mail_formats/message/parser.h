// Parser: one pass over a message of RFC 5322 and MIME (RFC 2045, 2046), in chunks.
//
// The parser keeps header fields (bounded) and byte offsets, but no bodies. It never
// fails: an unreadable part becomes text/plain, as in Dovecot.
//
//   Parser parser;
//   while (more) parser.Feed(chunk);
//   Message message = parser.Finish();
//
// Errors of real mail, and what the parser makes of them:
//   bare LF, mixed line ends        a line ends at LF; sizes are of the bytes as they are
//   a header line without a colon   kept in the header (Field with an empty name)
//   "From " line on top             the same
//   no blank line after the header  header until the end, or until a delimiter of a parent
//   NUL, raw 8-bit                  bytes like others
//   multipart without boundary      text/plain
//   boundary never appears          multipart without children
//   close delimiter missing         the part ends with its parent
//   boundary a prefix of another    the longest that matches wins; of equals the innermost
//   parent's delimiter inside       ends all parts below
//   too deep, too many parts        not looked into; the last part holds the rest
//
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/mail_formats/message/mime_value.h"
#include "services/mail_formats/message/transfer.h"

namespace posthouse::message {

// Bounds of what the parser keeps. What is beyond them is counted and not kept.
struct Limits {
  size_t max_depth = 100;  // nested multiparts and messages
  size_t max_parts = 10000;
  size_t max_header_bytes = 256 * 1024;         // kept of one header; the rest only counts
  size_t max_total_header_bytes = 1024 * 1024;  // kept of all headers together
  size_t max_fields = 2000;                     // kept of one header
  size_t sample_bytes = 16 * 1024;              // kept of the first text part's body, for the preview
};

struct Field {
  std::string name;     // as sent; empty: a line that is no field
  std::string value;    // after the colon, folds and all, without the last line end
  uint64_t offset = 0;  // of the name, from the message's start
  uint64_t bytes = 0;   // with folds and the last line end
};

// A MIME entity. The child of a message/rfc822 part is the message in it.
struct Part {
  // The numbers are stored (part_table.h): never reused.
  enum class Kind : uint8_t { kOther = 0, kText = 1, kMultipart = 2, kMessage = 3 };
  Kind kind = Kind::kText;
  int parent = -1;
  std::vector<uint32_t> children;

  uint64_t header_start = 0;  // [header_start, body_start): header and its blank line
  uint64_t body_start = 0;    // [body_start, body_end): without the delimiter's line end
  uint64_t body_end = 0;
  uint64_t lines = 0;  // line ends in the body

  // All fields of the message itself; Content-* of a MIME part, and of a message
  // in a message also what ENVELOPE needs.
  std::vector<Field> fields;
  // Content-Type as sent, or its default: text/plain; charset=us-ascii, in a
  // multipart/digest message/rfc822.
  MimeValue type;
  Encoding encoding = Encoding::kIdentity;
  bool attachment = false;  // Content-Disposition: attachment

  // The first field of that name (any case); null: absent.
  const Field* Find(absl::string_view name) const;
};

struct Message {
  uint64_t bytes = 0;
  bool truncated = false;   // a limit was hit: the structure is not all of it
  std::vector<Part> parts;  // pre-order; [0] is the message itself, always there
  // The first bytes (not decoded) of the first text/plain and text/html bodies
  // that are not attachments: part index (0 can be one) and bytes.
  struct Sample {
    int part = -1;
    std::string bytes;
  };
  Sample plain, html;

  const Part& root() const { return parts.front(); }
};

class Parser {
 public:
  explicit Parser(Limits limits = {});
  ~Parser();
  Parser(Parser&&) noexcept;
  void Feed(absl::string_view chunk);
  Message Finish();  // once; the parser is spent

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Parses a whole message.
Message Parse(absl::string_view bytes, const Limits& limits = {});

}  // namespace posthouse::message
