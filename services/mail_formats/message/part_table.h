// PartTable: the byte ranges of a message's parts, stored with the message. FETCH of a
// part is then a range read, and SEARCH knows which ranges to decode.
//
//   std::string row = PartTable::Build(message).Serialize();   // at delivery
//   absl::StatusOr<PartTable> table = PartTable::Parse(row);    // at FETCH
//   std::optional<SectionRange> where = table->Resolve({1, 2}, SectionKind::kHeader);
//
// Size: about 12-30 bytes a part; 10,000 parts are 300 KiB, more than a store row.
//
// Threads: a value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/mail_formats/message/parser.h"
#include "services/mail_formats/message/transfer.h"

namespace posthouse::message {

// Bytes [begin, end) of the message.
struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t size() const { return end - begin; }
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

// The kind of a section (RFC 9051 §6.4.5.1); same order as Section.Kind of the
// mailbox proto.
enum class SectionKind {
  kAll,              // BODY[] and BODY[1.2]
  kHeader,           // HEADER
  kHeaderFields,     // HEADER.FIELDS: read the range, then HeaderFilter
  kHeaderFieldsNot,  // HEADER.FIELDS.NOT: the same
  kText,             // TEXT
  kMime,             // MIME
};

struct SectionRange {
  ByteRange bytes;
  Encoding encoding = Encoding::kIdentity;  // of what `bytes` are; for BINARY
};

class PartTable {
 public:
  struct Entry {
    int32_t parent = -1;
    Part::Kind kind = Part::Kind::kText;
    Encoding encoding = Encoding::kIdentity;
    bool html = false;  // text/html
    bool attachment = false;
    uint64_t header_start = 0, body_start = 0, body_end = 0;
    std::string charset;             // of text; empty: us-ascii
    std::vector<uint32_t> children;  // not stored: derived
  };

  static PartTable Build(const Message& message);
  // kDataLoss when the bytes are not what Serialize() made.
  static absl::StatusOr<PartTable> Parse(absl::string_view stored);
  std::string Serialize() const;

  // The bytes of a section; nullopt: the message has no such part (NIL). `part`
  // is 1.2.3 (numbers from 1), empty for the message itself. Part 1 of a message
  // that is no multipart is its body (RFC 9051 §6.4.5.1).
  std::optional<SectionRange> Resolve(absl::Span<const uint32_t> part, SectionKind kind) const;

  uint64_t message_bytes() const { return message_bytes_; }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  // The part that a path names; -1: none; -2: the one empty part that an empty
  // multipart is shown to have.
  int FindPart(absl::Span<const uint32_t> part) const;
  uint64_t message_bytes_ = 0;
  std::vector<Entry> entries_;
};

// HEADER.FIELDS and HEADER.FIELDS.NOT over header bytes as they are read: passes
// the fields named (any case), folds and all, and the blank line at the end, which HEADER.FIELDS
// has also when the message has none (RFC 3501 §6.4.5). Memory: one field name.
class HeaderFilter {
 public:
  HeaderFilter(std::vector<std::string> names, bool except);
  // Appends what of `chunk` passes.
  void Feed(absl::string_view chunk, std::string* out);
  // Appends what is still held back, and for HEADER.FIELDS the blank line when there was none.
  void Finish(std::string* out);

 private:
  bool Passes() const;
  std::vector<std::string> names_;  // lower case, sorted
  const bool except_;
  enum class State { kName, kPass, kDrop, kEnd } state_ = State::kName;
  bool line_start_ = true;
  bool previous_passed_ = false;
  bool any_line_ = false;
  std::string held_;  // a line whose name is not complete
};

}  // namespace posthouse::message
