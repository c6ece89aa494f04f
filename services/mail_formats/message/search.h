// SEARCH without an index: substrings of decoded, case-folded text
// (RFC 9051 §6.4.4, towards i;unicode-casemap, RFC 5051), streaming.
//
//   MessageSearch search(table, {{"subject words", MessageSearch::Where::kText}});
//   for (ByteRange r : search.Ranges())      // ascending, what must be read
//     while (chunk of r) search.Feed(offset, chunk), stop early when search.Done();
//   search.Finish();  search.Matched(0)
//
// Memory: one header (at most 256 KiB) or a few KiB of text.
//
// Threads: a search belongs to one caller at a time; no I/O.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/mail_formats/message/part_table.h"

namespace posthouse::message {

// Simple case folding of UTF-8: ASCII, Latin, Greek, Cyrillic, Armenian, Georgian
// and fullwidth letters; other characters stay. Blanks and line ends become one
// blank, so that a phrase is found across a fold. Invalid bytes become U+FFFD.
std::string FoldCase(absl::string_view utf8);

// HEADER, SUBJECT, FROM, ...: whether the decoded field contains the text. An
// empty text matches any field (RFC 9051 §6.4.4).
bool FieldContains(absl::string_view raw_value, absl::string_view folded_text);

// FROM, TO, CC, BCC: whether one of the addresses as ENVELOPE shows them, without comments, folds and
// quotes (RFC 9051 §6.4.4: "in the envelope structure's FROM field"), contains the text.
bool AddressesContain(absl::string_view raw_value, absl::string_view folded_text);

class MessageSearch {
 public:
  enum class Where { kBody, kText };  // kText: headers too
  struct Term {
    std::string text;  // UTF-8, not folded; empty matches
    Where where = Where::kBody;
  };
  MessageSearch(const PartTable& table, const std::vector<Term>& terms);  // copies what it needs
  ~MessageSearch();

  // The ranges to read: ascending, not overlapping.
  const std::vector<ByteRange>& Ranges() const;
  // Bytes at `offset` of the message, ascending; ranges may come in pieces.
  void Feed(uint64_t offset, absl::string_view bytes);
  void Finish();
  bool Done() const;  // every term matched: no need to read on
  bool Matched(size_t term) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace posthouse::message
