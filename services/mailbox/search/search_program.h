// SearchProgram: a compiled search key. The caller supplies what it knows about a message, and
// Evaluate() answers kUnknown when that does not decide. No I/O. Threads: a value.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mail_formats/message/search.h"
#include "services/mailbox/rows/folder_index.h"

namespace posthouse::mailbox::v1 {
class SearchKey;
}

namespace posthouse::mailbox {

enum class Verdict { kNo, kYes, kUnknown };

// What the caller knows about one message.
struct SearchFacts {
  const MessageMeta* meta = nullptr;
  absl::string_view keyword_bits;
  bool have_row = false;
  ObjectId blob;
  absl::string_view thread_id;
  int64_t save_date = 0;
  bool have_header = false;
  absl::string_view header;  // all fields that the program asks for, as in the message
  std::optional<int64_t> sent_day;
  const std::vector<bool>* texts = nullptr;  // one for each of text_terms()
};

class SearchProgram {
 public:
  // kInvalidArgument: an unknown key, more than 10,000 keys, or more than 250 BODY and TEXT keys.
  static absl::StatusOr<SearchProgram> Compile(const v1::SearchKey& key, const std::vector<std::string>& keywords,
                                               int64_t now_seconds);
  SearchProgram(SearchProgram&&) noexcept;
  SearchProgram& operator=(SearchProgram&&) noexcept;
  ~SearchProgram();

  Verdict Evaluate(const SearchFacts& facts) const;

  bool needs_row() const { return needs_row_; }
  bool needs_header() const { return needs_header_; }
  // Some fields are not in the cache: the caller must read the message's own header.
  bool needs_whole_header() const { return needs_whole_header_; }
  bool uses_modseq() const { return uses_modseq_; }
  const std::vector<message::MessageSearch::Term>& text_terms() const { return terms_; }

 private:
  struct Node;
  SearchProgram();
  absl::StatusOr<std::unique_ptr<Node>> Build(const v1::SearchKey& key, const std::vector<std::string>& keywords,
                                              int64_t now_seconds, int depth);
  Verdict Evaluate(const Node& node, const SearchFacts& facts) const;

  std::unique_ptr<Node> root_;
  std::vector<message::MessageSearch::Term> terms_;
  size_t keys_ = 0;
  bool needs_row_ = false;
  bool needs_header_ = false;
  bool needs_whole_header_ = false;
  bool uses_modseq_ = false;
};

// Calls `field` with each field of a header block; false stops.
void ForEachField(absl::string_view header,
                  absl::FunctionRef<bool(absl::string_view name, absl::string_view raw_value)> field);

}  // namespace posthouse::mailbox
