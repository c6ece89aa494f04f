// SEARCH: from the parsed program to the mailbox service's, and the answer back.
// Pure: no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/mail_formats/imap/command.h"
#include "services/gateway/imap/selected.h"

namespace posthouse::mailbox::v1 {
class SearchKey;
}

namespace posthouse::gateway {

// Sequence numbers become UIDs by the session's view. `saved` is the result that
// "$" stands for (RFC 5182). kInvalidArgument: a sequence number beyond the end.
absl::Status TranslateSearch(const imap::SearchKey& key, const Selected& view, const imap::NumberSet& saved,
                             mail::SearchKey* out);

// True for the charsets understood: US-ASCII and UTF-8 (RFC 9051 §6.4.4).
bool IsKnownCharset(absl::string_view charset);

// What to say of `found`, which are UIDs or sequence numbers. The long list of a
// plain SEARCH is written in pieces: call until it returns false.
class SearchAnswer {
 public:
  SearchAnswer(const imap::SearchArgs& args, std::string tag, bool uid, imap::NumberSet found, uint64_t modseq);
  bool Next(std::string& out, size_t limit);

 private:
  void Extended(std::string& out) const;

  const bool extended_;
  const imap::SearchArgs args_;
  const std::string tag_;
  const bool uid_;
  const imap::NumberSet found_;
  const uint64_t modseq_;
  size_t range_ = 0;
  uint32_t number_ = 0;
  bool started_ = false;
};

}  // namespace posthouse::gateway
